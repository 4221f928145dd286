// SPDX-License-Identifier: Apache-2.0
#include "core/base/counts.hpp"

#include <fmt/format.h>

namespace strata {

std::string human_count(std::int64_t count) {
  const std::string digits = fmt::format("{}", count);
  std::string grouped;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const std::size_t left = digits.size() - i;
    if (i > 0 && left % 3 == 0 && digits[i - 1] != '-') grouped += ',';
    grouped += digits[i];
  }
  return grouped;
}

std::string counted(std::int64_t count, std::string_view what, std::string_view plural) {
  const std::string several = plural.empty() ? std::string(what) + "s" : std::string(plural);
  return fmt::format("{} {}", human_count(count), count == 1 ? std::string(what) : several);
}

std::string plain_count(std::int64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace strata
