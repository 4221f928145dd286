// SPDX-License-Identifier: Apache-2.0
#include "core/base/human_units.hpp"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace strata {

namespace {

std::string scaled(double value, double base, const std::array<std::string_view, 5>& units) {
  std::size_t unit = 0;
  while (value >= base && unit + 1 < units.size() && !units[unit + 1].empty()) {
    value /= base;
    ++unit;
  }
  if (unit == 0) return fmt::format("{:.0f} {}", value, units[unit]);
  return fmt::format("{:.{}f} {}", value, value < 10 ? 2 : value < 100 ? 1 : 0, units[unit]);
}

}  // namespace

std::string human(Duration duration) {
  return scaled(static_cast<double>(duration.ns), 1000, {"ns", "us", "ms", "s", ""});
}

std::string human(Bytes bytes) {
  return scaled(static_cast<double>(bytes.count), 1024, {"B", "KiB", "MiB", "GiB", "TiB"});
}

}  // namespace strata
