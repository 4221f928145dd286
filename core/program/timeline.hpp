// SPDX-License-Identifier: Apache-2.0
// What happened, or would happen: one event per executed instruction, from the simulator and from every
// executor alike, so that both can be joined on their key.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/program/rank_program.hpp"

namespace strata {

/// Key: (repeat, wave, layer, pass, rank, instruction). Times count from the start of the repeat.
struct TimelineEvent {
  std::int32_t repeat = 0, wave = 0, layer = 0;
  Pass pass = Pass::forward;
  std::int32_t rank = 0, instruction = 0;
  std::int64_t posted_ns = 0;   ///< started: dependencies met and stream free
  std::int64_t matched_ns = 0;  ///< exchanges: the last participant arrived; otherwise equal to posted_ns
  std::int64_t end_ns = 0;
  std::int64_t bytes = 0;  ///< payload sent
  double flops = 0;
  bool operator==(const TimelineEvent&) const = default;
};

/// Orders events by their key.
bool key_less(const TimelineEvent& a, const TimelineEvent& b);

/// The device of `rank` when devices serve equal blocks of neighbouring ranks.
constexpr std::int32_t device_of_equal_blocks(std::int32_t rank, std::int32_t devices, std::int32_t ranks) {
  return static_cast<std::int32_t>(std::int64_t{rank} * devices / ranks);
}

struct Timeline {
  std::string source;                 ///< "simulator", "cpu", "mpi", ...
  std::string plan_digest;            ///< of the plan that was run
  std::int32_t device_count = 1;      ///< physical devices that served the ranks
  std::int32_t cores_per_device = 1;  ///< execution units of each, as Device::cores: 1 for a GPU
  std::int32_t rank_count = 0;
  std::int32_t layers = 1;
  std::int32_t repeats = 1;
  bool linear_included = false;       ///< whether TokenWork.linear took time
  std::int64_t clock_error_ns = 0;    ///< bound on how far the ranks' clocks are apart; 0: one clock
  std::vector<TimelineEvent> events;  ///< sorted by key
  /// [rank] the device that served it; empty: see device_of_equal_blocks.
  std::vector<std::int32_t> rank_device = {};
  bool operator==(const Timeline&) const = default;

  /// The device that served `rank`.
  std::int32_t device(std::int32_t rank) const;
  /// End of the last event of `repeat`.
  Duration makespan(std::int32_t repeat = 0) const;
};

}  // namespace strata
