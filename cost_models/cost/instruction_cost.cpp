// SPDX-License-Identifier: Apache-2.0
#include "cost_models/cost/instruction_cost.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/check.hpp"
#include "core/base/overloaded.hpp"
#include "cost_models/cost/attention_cost.hpp"

namespace strata {
namespace {

const Buffer& buffer_at(const RankProgram& program, std::int32_t index) {
  STRATA_CHECK(index >= 0 && static_cast<std::size_t>(index) < program.buffers.size(),
               "rank {} names buffer {} of {}", program.rank, index, program.buffers.size());
  return program.buffers[static_cast<std::size_t>(index)];
}

/// Bytes of `rows` rows of `heads` heads.
std::int64_t row_bytes(const Buffer& buffer, std::int64_t rows, HeadRange heads) {
  return rows * buffer.bytes_of_heads(heads);
}

InstructionCost row_cost(const RowRate& rate, std::int64_t ranges, std::int64_t bytes,
                         const CostProfile& profile) {
  InstructionCost cost;
  cost.work_ns = whole_ns(rate.launch_ns + static_cast<double>(ranges) * rate.range_ns +
                          static_cast<double>(bytes) / rate.bytes_per_second * 1e9);
  cost.memory_bytes = bytes;
  if (profile.row_chunk_bytes > 0) {
    cost.parallelism =
        std::max<std::int64_t>(1, (bytes + profile.row_chunk_bytes - 1) / profile.row_chunk_bytes);
  }
  return cost;
}

/// Every target byte is read once per `target_reads` and written once; every source byte read once.
InstructionCost copy_cost(const RankProgram& program, const std::vector<RowCopy>& copies,
                          std::int64_t target_reads, const RowRate& rate, const CostProfile& profile) {
  if (copies.empty()) return {};
  std::int64_t bytes = 0;
  for (const RowCopy& copy : copies) {
    const Buffer& source = buffer_at(program, copy.source);
    const Buffer& target = buffer_at(program, copy.target);
    bytes +=
        (2 + target_reads) * row_bytes(source.is_message() ? target : source, copy.row_count, copy.heads);
  }
  return row_cost(rate, static_cast<std::int64_t>(copies.size()), bytes, profile);
}

InstructionCost merge_cost(const RankProgram& program, const MergePartials& merge,
                           const CostProfile& profile) {
  if (merge.ranges.empty()) return {};
  std::int64_t bytes = 0, ranges = 0;
  for (const MergeRange& range : merge.ranges) {
    const auto add = [&](std::int32_t buffer) {
      bytes += row_bytes(buffer_at(program, buffer), range.row_count, range.heads);
    };
    add(merge.out);
    add(merge.lse);
    for (const MergeRange::Part& part : range.parts) {
      add(part.out);
      add(part.lse);
      ++ranges;
    }
  }
  return row_cost(profile.merge, ranges, bytes, profile);
}

const RowRate& token_rate(TokenWorkKind kind, const CostProfile& profile) {
  switch (kind) {
    case TokenWorkKind::delta:
      return profile.delta;
    case TokenWorkKind::cast:
      return profile.cast;
    case TokenWorkKind::zero:
      return profile.zero;
    case TokenWorkKind::linear:
      break;
  }
  STRATA_CHECK(false, "token work kind {} is not a row operation", static_cast<int>(kind));
}

InstructionCost token_cost(const RankProgram& program, const TokenWork& work, const CostProfile& profile,
                           bool include_linear) {
  if (work.kind == TokenWorkKind::linear) {
    InstructionCost cost{.scales_with_speed = true};
    if (!include_linear) return cost;
    cost.work_ns = (work.flops / FlopsPerSecond{profile.linear_flops_per_second}).ns;
    cost.parallelism = std::max<std::int64_t>(1, work.tokens);
    // The one rate of linear work is that of the types the profile covers.
    if (!covers_type(profile, program.element_type)) cost.extrapolated_ns = cost.work_ns;
    return cost;
  }
  std::int64_t bytes = 0;
  for (const std::int32_t index : {work.target, work.source, work.other}) {
    if (index >= 0) bytes += buffer_at(program, index).bytes().count;
  }
  return bytes == 0 ? InstructionCost{} : row_cost(token_rate(work.kind, profile), 1, bytes, profile);
}

}  // namespace

InstructionCost instruction_cost(const RankProgram& program, const Operation& op, Pass pass,
                                 const ModelShape& model, const CostProfile& profile, bool include_linear) {
  return std::visit(
      Overloaded{
          [](const Exchange&) { return InstructionCost{}; },
          [](const Collective&) { return InstructionCost{}; },
          [&](const CopyRows& copy) { return copy_cost(program, copy.copies, 0, profile.copy, profile); },
          [&](const Attention& launch) {
            return attention_cost(launch.blocks, launch.merge, pass, program.element_type, model, profile);
          },
          [&](const AttentionBackward& launch) {
            return attention_cost(launch.blocks, true, pass, program.element_type, model, profile);
          },
          [&](const MergePartials& merge) { return merge_cost(program, merge, profile); },
          [&](const AccumulateGradient& sum) {
            return copy_cost(program, sum.additions, 1, profile.add, profile);
          },
          [&](const TokenWork& work) { return token_cost(program, work, profile, include_linear); },
      },
      op);
}

}  // namespace strata
