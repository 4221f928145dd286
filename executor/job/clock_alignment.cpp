// SPDX-License-Identifier: Apache-2.0
#include "executor/job/clock_alignment.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

namespace strata {

namespace {

constexpr std::string_view kWhat = "comparing clocks";
using Words = std::array<std::int64_t, 3>;

void send_words(Control& control, std::int32_t to, const Words& words) {
  control.send(to, std::as_bytes(std::span(words)), kWhat);
}

Words receive_words(Control& control, std::int32_t from) {
  const std::vector<std::byte> message = control.receive(from, kWhat);
  Words words{};
  STRATA_CHECK(message.size() == sizeof words, "a clock message of {} bytes", message.size());
  std::memcpy(words.data(), message.data(), sizeof words);
  return words;
}

/// Process 0's side: the best of the round trips to `other`, sent to it.
void serve_clock(Control& control, std::int32_t other) {
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  Words best{};
  for (std::int32_t round = 0; round < kClockRounds; ++round) {
    const std::int64_t begin = monotonic_ns();
    send_words(control, other, {});
    const std::int64_t theirs = receive_words(control, other)[0];
    const std::int64_t trip = monotonic_ns() - begin;
    if (trip >= least) continue;
    least = trip;
    best = {theirs, begin + trip / 2 - theirs, (trip + 1) / 2};
  }
  send_words(control, other, best);
}

}  // namespace

ClockSample measure_clock(Control& control) {
  if (control.process() == 0) {
    for (std::int32_t other = 1; other < control.processes(); ++other) serve_clock(control, other);
    return {monotonic_ns(), 0, 0};
  }
  for (std::int32_t round = 0; round < kClockRounds; ++round) {
    receive_words(control, 0);
    send_words(control, 0, {monotonic_ns(), 0, 0});
  }
  const Words best = receive_words(control, 0);
  return {best[0], best[1], best[2]};
}

std::int64_t ClockMap::to_reference(std::int64_t at_ns) const {
  const std::int64_t span = last.at_ns - first.at_ns;
  if (span <= 0) return at_ns + first.offset_ns;
  const double share = static_cast<double>(at_ns - first.at_ns) / static_cast<double>(span);
  const auto drift = static_cast<double>(last.offset_ns - first.offset_ns);
  return at_ns + first.offset_ns + static_cast<std::int64_t>(share * drift);
}

std::int64_t ClockMap::error_ns() const { return std::max(first.error_ns, last.error_ns); }

}  // namespace strata
