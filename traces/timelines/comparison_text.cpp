// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <iterator>
#include <string>
#include <string_view>

#include "core/base/counts.hpp"
#include "traces/timelines/compare_timelines.hpp"

namespace strata {

namespace {

/// Columns stay in place: nobody needs the digits of an error beyond a hundredfold.
std::string percent(double value) { return value > 99.99 ? ">9999 %" : fmt::format("{:.1f} %", 100 * value); }
std::string signed_percent(double value) {
  return value > 99.99 ? percent(value) : fmt::format("{:+.1f} %", 100 * value);
}
std::string milliseconds(std::int64_t ns) {
  const std::int64_t microseconds = ((ns < 0 ? -ns : ns) + 500) / 1000;
  return fmt::format("{}{}.{:03}", ns < 0 ? "-" : "", microseconds / 1000, microseconds % 1000);
}

void add_header(std::string_view what, std::string& text) {
  text += fmt::format("{:<26}{:>8}{:>13}{:>13}{:>10}{:>10}{:>10}{:>10}\n", what, "count", "predicted ms",
                      "measured ms", "median", "p95", "max", "bias");
}

void add_row(std::string_view name, const ErrorSummary& error, std::string& text) {
  text +=
      fmt::format("{:<26}{:>8}{:>13}{:>13}{:>10}{:>10}{:>10}{:>10}\n", name, error.count,
                  milliseconds(error.predicted_ns), milliseconds(error.measured_ns), percent(error.median),
                  percent(error.p95), percent(error.max), signed_percent(error.bias));
}

}  // namespace

std::string to_text(const TimelineComparison& comparison) {
  const TimelineComparison& c = comparison;
  std::string text =
      fmt::format("step: predicted {} ms, measured {} ms, {}  ({}{})\n", milliseconds(c.step.predicted_ns),
                  milliseconds(c.step.measured_ns), signed_percent(c.step.relative_error),
                  plain_count(c.repeats, "repeat"), c.warm_up_excluded ? ", warm-up left out" : "");
  text += fmt::format("instructions: {} matched, {} only predicted, {} only measured\n", c.matched,
                      c.only_predicted, c.only_measured);
  for (const std::string& example : c.unmatched_examples) text += "  " + example + '\n';
  const std::int64_t unsaid = c.only_predicted + c.only_measured - std::ssize(c.unmatched_examples);
  if (unsaid > 0) text += fmt::format("  and {} more\n", unsaid);
  add_header("absolute relative error", text);
  for (const KindError& kind : c.kinds) add_row(kind.kind, kind.error, text);
  const double floor_us = static_cast<double>(c.noise_floor_ns) * 1e-3;
  if (c.below_floor.count > 0) add_row(fmt::format("shorter than {:g} us", floor_us), c.below_floor, text);
  for (const RankError& rank : c.ranks) add_row(fmt::format("rank {}", rank.rank), rank.error, text);
  add_row("critical path", c.critical_path.error, text);
  for (const KindError& kind : c.critical_path.kinds) add_row("  " + kind.kind, kind.error, text);
  text += fmt::format("critical path: {}, {} ms between them\n",
                      plain_count(c.critical_path.instructions, "instruction"),
                      milliseconds(c.critical_path.gap_ns));
  return text;
}

}  // namespace strata
