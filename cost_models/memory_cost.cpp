// SPDX-License-Identifier: Apache-2.0
#include "cost_models/memory_cost.hpp"

#include <algorithm>

#include "core/checked.hpp"

namespace strata {

Bytes retained_bytes(const RankProgram& program) {
  Bytes total;
  for (const Buffer& buffer : program.buffers) {
    const bool kept = buffer.role == BufferRole::q || buffer.role == BufferRole::kv ||
                      buffer.role == BufferRole::o || buffer.role == BufferRole::lse;
    if (!buffer.persistent || !kept) continue;
    total.count += (buffer.bytes().count + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
  }
  return total;
}

Bytes rank_memory(const RankProgram& program, std::int32_t layers) {
  return program.arena + retained_bytes(program) * std::max(0, layers - 1);
}

MemoryPeak memory_peak(const std::vector<std::vector<RankProgram>>& waves, std::int32_t layers) {
  MemoryPeak peak;
  for (const std::vector<RankProgram>& programs : waves) {
    for (const RankProgram& program : programs) {
      peak.peak = std::max(peak.peak, rank_memory(program, layers));
      peak.arena = std::max(peak.arena, program.arena);
    }
  }
  return peak;
}

Bytes least_token_memory(const ModelShape& model, std::int64_t tokens) {
  const std::int64_t element = element_bytes(model.element_type);
  const std::int64_t q = std::int64_t{model.query_heads} * model.head_dim * element;
  const std::int64_t kv = std::int64_t{model.kv_heads} * (model.head_dim + model.value_head_dim) * element;
  const std::int64_t o = std::int64_t{model.query_heads} * model.value_head_dim * element;
  const std::int64_t lse = std::int64_t{model.query_heads} * 4;
  return {checked_product(tokens, model.layers, q + kv + o + lse)};
}

}  // namespace strata
