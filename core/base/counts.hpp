// SPDX-License-Identifier: Apache-2.0
// Counts as people read them, in agreement with their noun: 1 wave, 2 waves.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace strata {

/// "1,234,567".
std::string human_count(std::int64_t count);
/// "1 wave", "2,000 waves"; `plural` where an s is not enough.
std::string counted(std::int64_t count, std::string_view what, std::string_view plural = "");
/// "1 row", "2000 rows": digits as they are, where a message points into a file.
std::string plain_count(std::int64_t count, std::string_view what);

}  // namespace strata
