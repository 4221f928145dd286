// SPDX-License-Identifier: Apache-2.0
// Moves a rank's own tensors to and from a device: inputs are made on the host, the very values every other
// executor starts from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/problem/model_shape.hpp"
#include "core/problem/token_span.hpp"
#include "core/program/rank_program.hpp"
#include "executor/device/accelerator.hpp"
#include "executor/run.hpp"

namespace strata {

/// Fills the rank's own q, kv and d_o; `spans` are its rows in order. `staging` is memory to use again.
void upload_inputs(const RankProgram& program, std::span<const TokenSpan> spans, const ModelShape& model,
                   std::uint64_t seed, std::int32_t threads, std::byte* arena, Accelerator& device,
                   std::vector<std::byte>& staging);

LocalResults download_results(const RankProgram& program, const std::byte* arena, Accelerator& device);

}  // namespace strata
