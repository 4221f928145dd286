// SPDX-License-Identifier: Apache-2.0
#include "executor/gathered_results.hpp"

#include <algorithm>

#include "core/base/check.hpp"
#include "executor/kernel_arguments.hpp"
#include "kernels/functors/row_chunks.hpp"

namespace strata {

std::string_view to_string(ResultTensor tensor) {
  switch (tensor) {
    case ResultTensor::o:
      return "o";
    case ResultTensor::lse:
      return "lse";
    case ResultTensor::dq:
      return "dq";
    case ResultTensor::dk:
      return "dk";
    case ResultTensor::dv:
      return "dv";
  }
  STRATA_CHECK(false, "result tensor {} has no name", static_cast<int>(tensor));
}

std::vector<PlacedDocument> placed_documents(const SequenceLayout& placement) {
  std::vector<TokenSpan> spans;
  for (const auto& rank : placement.spans) spans.insert(spans.end(), rank.begin(), rank.end());
  std::sort(spans.begin(), spans.end());
  std::vector<PlacedDocument> documents;
  for (const TokenSpan& span : spans) {
    if (documents.empty() || documents.back().document != span.document)
      documents.push_back({span.document, 0});
    STRATA_CHECK(span.begin == documents.back().length,
                 "document {}: tokens {}..{} are not placed exactly once", span.document,
                 documents.back().length, span.begin);
    documents.back().length = span.end;
  }
  return documents;
}

GatheredResults::GatheredResults(const ModelShape& model, const SequenceLayout& placement,
                                 std::span<const LocalResults> results)
    : model_(model), results_(results) {
  STRATA_CHECK(results.size() == placement.spans.size(), "results of {} ranks, placement of {}",
               results.size(), placement.spans.size());
  for (std::size_t rank = 0; rank < placement.spans.size(); ++rank) {
    std::int64_t row = 0;
    for (const TokenSpan& span : placement.spans[rank]) {
      pieces_.push_back({span.document, span.begin, span.end, static_cast<std::int32_t>(rank), row});
      row += span.length();
    }
  }
  std::sort(pieces_.begin(), pieces_.end(), [](const Piece& a, const Piece& b) {
    return std::pair(a.document, a.begin) < std::pair(b.document, b.begin);
  });
}

std::int32_t GatheredResults::width(ResultTensor tensor) const {
  switch (tensor) {
    case ResultTensor::lse:
      return 1;
    case ResultTensor::o:
    case ResultTensor::dv:
      return model_.value_head_dim;
    case ResultTensor::dq:
    case ResultTensor::dk:
      return model_.head_dim;
  }
  STRATA_CHECK(false, "result tensor {} has no width", static_cast<int>(tensor));
}

const GatheredResults::Piece& GatheredResults::find(std::int32_t document, std::int64_t token) const {
  const auto after =
      std::upper_bound(pieces_.begin(), pieces_.end(), std::pair(document, token),
                       [](const std::pair<std::int32_t, std::int64_t>& key, const Piece& piece) {
                         return key < std::pair(piece.document, piece.begin);
                       });
  const bool found =
      after != pieces_.begin() && std::prev(after)->document == document && token < std::prev(after)->end;
  STRATA_CHECK(found, "token {} of document {} is nobody's", token, document);
  return *std::prev(after);
}

std::int32_t GatheredResults::owner(std::int32_t document, std::int64_t token) const {
  return find(document, token).rank;
}

void GatheredResults::read(ResultTensor tensor, std::int32_t document, std::int64_t token, std::int32_t head,
                           double* out) const {
  const Piece& piece = find(document, token);
  const LocalResults& local = results_[static_cast<std::size_t>(piece.rank)];
  const bool of_kv = tensor == ResultTensor::dk || tensor == ResultTensor::dv;
  const std::int64_t heads = of_kv ? model_.kv_heads : model_.query_heads;
  const std::int64_t full_width = of_kv ? model_.head_dim + model_.value_head_dim : width(tensor);
  const std::int64_t row = piece.row + token - piece.begin;
  const std::int64_t first =
      (row * heads + head) * full_width + (tensor == ResultTensor::dv ? model_.head_dim : 0);
  const std::vector<std::byte>& bytes = tensor == ResultTensor::o     ? local.o
                                        : tensor == ResultTensor::lse ? local.lse
                                        : tensor == ResultTensor::dq  ? local.dq
                                                                      : local.dkv;
  const kernels::Element element =
      tensor == ResultTensor::lse ? kernels::Element::f32 : kernel_element(model_.element_type);
  const std::int64_t size = kernels::element_bytes(element);
  const std::int32_t count = width(tensor);
  STRATA_CHECK(static_cast<std::int64_t>(bytes.size()) >= (first + count) * size,
               "rank {} returned {} bytes of {}", piece.rank, bytes.size(), to_string(tensor));
  const std::byte* data = bytes.data() + first * size;
  for (std::int32_t i = 0; i < count; ++i) {
    out[i] = static_cast<double>(kernels::load_element(data + i * size, element));
  }
}

}  // namespace strata
