// SPDX-License-Identifier: Apache-2.0
// Cuts row operations into items for prepared_operation.cpp. The cut follows a fixed grid of target rows, so
// that all contributions to one row stay in one item, in the order listed: results never depend on threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "executor/prepared_operation.hpp"

namespace strata {

RowItems copy_items(const RankProgram& program, const CopyRows& copy, std::byte* arena, bool streamed);
RowItems sum_items(const RankProgram& program, const AccumulateGradient& sum, std::byte* arena);
RowItems merge_items(const RankProgram& program, const MergePartials& merge, std::byte* arena);
/// Any kind but linear.
RowItems token_work_items(const RankProgram& program, const TokenWork& work, std::byte* arena, bool streamed);
RowItems input_items(const RankProgram& program, std::span<const TokenSpan> spans, const ModelShape& model,
                     std::uint64_t seed, std::byte* arena);
RowItems copy_out_items(const RankProgram& program, std::span<const std::int32_t> buffers,
                        std::span<std::byte* const> targets, const std::byte* arena);

}  // namespace strata
