// SPDX-License-Identifier: Apache-2.0
// What calibration cases took, read off the timeline of whatever executor ran them: raw durations, a file of
// them, and a table. Nothing is fitted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/problem/model_shape.hpp"
#include "core/program/timeline.hpp"
#include "tools/calibration/calibration_cases.hpp"
#include "tools/output.hpp"

namespace strata::tools {

inline constexpr int kSamplesFormatVersion = 1;

/// Durations in nanoseconds, in the order in which they were measured. Without exchange they are one rank's,
/// from the instruction's start to its end on that rank's clock; an exchange's count from the moment at which
/// its last rank was ready to the end of the last rank.
struct SampleSeries {
  std::int32_t rank = -1;  ///< -1: all ranks of the exchange together
  std::vector<std::int64_t> durations_ns;
};

struct Sample {
  CalibrationCase what;
  std::vector<SampleSeries> series;
  std::int64_t median_ns = 0, min_ns = 0, max_ns = 0;  ///< over all series

  /// FLOP/s for attention; else bytes per second, of one rank's memory or of what one rank sends.
  double rate() const;
};

/// One sample per case. The first pass of every repeat in either direction is a warm-up and left out. So a
/// timeline of R repeats and L layers has R * (L - 1) durations for every rank; L must be at least 2.
/// STRATA_CHECKs that the timeline has every event.
std::vector<Sample> read_samples(const CalibrationPart& part, const Timeline& timeline);

/// What one model shape was measured with.
struct MeasuredModel {
  ModelShape model;
  std::string kernel;  ///< of attention: "cpu", "tensor_core" or "plain"
  std::vector<Sample> samples;
};

struct SamplesFile {
  /// `instruction_set` is that of the CPU, which also makes the inputs.
  std::string executor, device, instruction_set;
  std::string date;  ///< YYYY-MM-DD
  RankPlaces places;
  std::int32_t threads = 1;  ///< of every process that computes on CPU cores
  std::int32_t repeats = 1, layers = 2;
  /// Bound on how far the ranks' clocks were apart, the largest of all runs.
  std::int64_t clock_error_ns = 0;
  std::vector<MeasuredModel> models;
};

/// The document, as docs/schemas/samples.schema.json describes it.
std::string samples_text(const SamplesFile& file);
/// One table each of attention, operations on rows and exchanges; those without rows are left out.
std::string samples_table(const SamplesFile& file);

}  // namespace strata::tools
