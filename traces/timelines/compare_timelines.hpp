// SPDX-License-Identifier: Apache-2.0
// Compares predicted and measured instruction by instruction. Both timelines are joined on (wave, layer,
// pass, rank, instruction). Repeats are reduced by the median. With three or more the first is a warm-up and
// left out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/program/timeline.hpp"
#include "traces/timelines/program_lookup.hpp"

namespace strata {

/// The time of a shorter instruction is mostly that of the clock and the scheduler of the machine.
inline constexpr std::int64_t kDefaultNoiseFloorNs = 2000;

/// Relative errors are (predicted - measured) / measured of durations: end - matched for Exchange and
/// Collective, so that a late peer is not scored as a slow link, end - posted for everything else. Quantiles
/// by nearest rank.
struct ErrorSummary {
  std::int64_t count = 0;
  std::int64_t predicted_ns = 0, measured_ns = 0;  ///< sums
  double mean = 0, median = 0, p95 = 0, max = 0;   ///< absolute relative errors; the mean is the MAPE
  double bias = 0;                                 ///< signed, of the sums
  bool operator==(const ErrorSummary&) const = default;
};

/// `kind`: core's kind_name.
struct KindError {
  std::string kind;
  ErrorSummary error;
  bool operator==(const KindError&) const = default;
};

/// `error` is over the rank's instructions above the floor. The ends are when its last instruction ended.
struct RankError {
  std::int32_t rank = 0;
  ErrorSummary error;
  std::int64_t predicted_end_ns = 0, measured_end_ns = 0;
  bool operator==(const RankError&) const = default;
};

struct StepError {
  std::int64_t predicted_ns = 0, measured_ns = 0;  ///< makespans, median over the repeats
  double relative_error = 0;                       ///< signed
  bool operator==(const StepError&) const = default;
};

/// The chain of measured instructions, each the last that the next one waited for, that ends with the step.
/// What lies between them (a busy core, the host) is `gap_ns`.
struct CriticalPathError {
  std::int64_t instructions = 0;  ///< of which those predicted too are compared
  std::int64_t gap_ns = 0;
  ErrorSummary error;            ///< all compared, above the floor or not
  std::vector<KindError> kinds;  ///< the same by kind, ascending
  bool operator==(const CriticalPathError&) const = default;
};

struct TimelineComparison {
  std::string predicted_source, measured_source, plan_digest;
  std::int32_t repeats = 0;  ///< measured repeats that count
  bool warm_up_excluded = false;
  std::int64_t noise_floor_ns = 0;
  std::int64_t matched = 0, only_predicted = 0, only_measured = 0;  ///< instructions
  std::vector<std::string> unmatched_examples;                      ///< the first few, in words
  StepError step;
  std::vector<KindError> kinds;  ///< measured at or above the floor, kinds ascending
  ErrorSummary below_floor;      ///< the others, all kinds
  std::vector<RankError> ranks;
  CriticalPathError critical_path;
};

/// InputError when the timelines belong to different plans, when only one of them includes linear work, when
/// they name instructions that `programs` do not have, or when no instruction is in both.
TimelineComparison compare_timelines(const Timeline& predicted, const Timeline& measured,
                                     WavePrograms programs,
                                     std::int64_t noise_floor_ns = kDefaultNoiseFloorNs);

/// Tables of at most 100 columns.
std::string to_text(const TimelineComparison& comparison);

}  // namespace strata
