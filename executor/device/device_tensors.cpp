// SPDX-License-Identifier: Apache-2.0
#include "executor/device/device_tensors.hpp"

#include <algorithm>

#include "core/base/check.hpp"
#include "core/base/parallel_for.hpp"
#include "executor/kernel_arguments.hpp"
#include "executor/seeded_tensors.hpp"

namespace strata {

namespace {

/// Rows that one thread makes at a time.
constexpr std::int64_t kPieceRows = 256;

/// Neighbouring rows of one document.
struct Piece {
  TokenSpan span;
  std::int64_t row = 0;
};

std::vector<Piece> cut_rows(std::span<const TokenSpan> spans) {
  std::vector<Piece> pieces;
  std::int64_t row = 0;
  for (const TokenSpan& span : spans) {
    for (std::int64_t begin = span.begin; begin < span.end; begin += kPieceRows) {
      const std::int64_t end = std::min(begin + kPieceRows, span.end);
      pieces.push_back({{span.document, begin, end}, row});
      row += end - begin;
    }
  }
  return pieces;
}

}  // namespace

void upload_inputs(const RankProgram& program, std::span<const TokenSpan> spans, const ModelShape& model,
                   std::uint64_t seed, std::int32_t threads, std::byte* arena, Accelerator& device,
                   std::vector<std::byte>& staging) {
  const std::vector<Piece> pieces = cut_rows(spans);
  const std::int64_t rows = pieces.empty() ? 0 : pieces.back().row + pieces.back().span.length();
  const auto make = [&](InputTensor tensor, std::int32_t index) {
    if (index < 0) return;
    const Buffer& buffer = buffer_of(program, index);
    const InputShape shape = input_shape(model, tensor);
    STRATA_CHECK(buffer.heads == (HeadRange{0, shape.heads}) && buffer.width == shape.width,
                 "rank {}: input b{} does not have the model's shape", program.rank, index);
    STRATA_CHECK(rows == buffer.rows, "rank {}: {} tokens placed, {} rows held", program.rank, rows,
                 buffer.rows);
    staging.resize(static_cast<std::size_t>(buffer.bytes().count));
    parallel_for(std::ssize(pieces), threads, [&](std::int64_t i) {
      const Piece& piece = pieces[static_cast<std::size_t>(i)];
      std::vector<float> scratch(static_cast<std::size_t>(shape.heads) *
                                 static_cast<std::size_t>(shape.width));
      fill_rows(seed, tensor, piece.span, shape, buffer.type, staging.data() + piece.row * buffer.row_bytes(),
                scratch);
    });
    device.upload(buffer_data(program, index, arena), staging);
  };
  make(InputTensor::q, program.local.q);
  make(InputTensor::kv, program.local.kv);
  make(InputTensor::d_o, program.local.d_o);
}

LocalResults download_results(const RankProgram& program, const std::byte* arena, Accelerator& device) {
  LocalResults results;
  const auto fetch = [&](std::int32_t index, std::vector<std::byte>& target) {
    if (index < 0) return;
    const Buffer& buffer = buffer_of(program, index);
    target.resize(static_cast<std::size_t>(buffer.bytes().count));
    device.download(target, arena + buffer.arena_offset);
  };
  fetch(program.local.o, results.o);
  fetch(program.local.lse, results.lse);
  fetch(program.local.dq, results.dq);
  fetch(program.local.dkv, results.dkv);
  return results;
}

}  // namespace strata
