// SPDX-License-Identifier: Apache-2.0
// Numbers that follow from a wave alone, without programs or a simulation.
#pragma once

#include <cstdint>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/problem/model_shape.hpp"
#include "core/problem/route_table.hpp"

namespace strata {

/// Payload of the tensor kv, forward, one layer, summed over the targets.
Bytes kv_bytes(const CommSchedule& schedule, const ModelShape& model);
/// Payload of all transfers and reductions of one pass of one layer, by the level of the route.
LevelBytes bytes_by_level(const CommSchedule& schedule, const ModelShape& model, const RouteTable& routes);

/// Allowed pairs x query heads that each rank computes in one forward pass of one layer.
std::vector<std::int64_t> rank_pairs(const CommSchedule& schedule, const ModelShape& model,
                                     std::int32_t rank_count);
/// Transfers and reductions; a multicast counts once.
std::int64_t transfer_count(const CommSchedule& schedule);

}  // namespace strata
