// SPDX-License-Identifier: Apache-2.0
// Counts in the descriptions and messages of this folder: digits as they are, and no "1 rows".
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace strata {

/// "1 row", "2000 rows".
template <typename Integer>
std::string plain_count(Integer count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace strata
