// SPDX-License-Identifier: Apache-2.0
// Numbers that follow from a wave alone, without programs or a simulation.
#pragma once

#include <cstdint>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/problem/model_shape.hpp"
#include "core/problem/route_table.hpp"

namespace strata {

/// Payload bytes of one row and head of `tensor` on the wire, as comm_schedule.hpp states them.
std::int64_t wire_bytes(TensorKind tensor, const ModelShape& model);

/// Payload of the tensor kv, forward, one layer, summed over the targets.
Bytes kv_bytes(const CommSchedule& schedule, const ModelShape& model);
/// Payload of all transfers and reductions of one pass of one layer, by the level of the route.
LevelBytes bytes_by_level(const CommSchedule& schedule, const ModelShape& model, const RouteTable& routes);

/// Allowed pairs x query heads that each rank computes in one forward pass of one layer.
std::vector<std::int64_t> rank_pairs(const CommSchedule& schedule, const ModelShape& model,
                                     std::int32_t rank_count);
/// Largest / mean; 1 when all are zero.
double imbalance(const std::vector<std::int64_t>& loads);
/// Transfers and reductions; a multicast counts once.
std::int64_t transfer_count(const CommSchedule& schedule);

}  // namespace strata
