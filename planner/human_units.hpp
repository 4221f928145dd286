// SPDX-License-Identifier: Apache-2.0
// Times, sizes and counts as people read them: three to four significant digits and a unit; 1 wave, 2 waves.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/units.hpp"

namespace strata {

/// "812 ns", "3.25 us", "14.0 ms", "2.50 s".
std::string human(Duration duration);
/// "0 B", "512 B", "1.50 KiB", "3.25 GiB".
std::string human(Bytes bytes);
/// "1,234,567".
std::string human_count(std::int64_t count);
/// "1 wave", "2,000 waves"; `plural` where an s is not enough.
std::string counted(std::int64_t count, std::string_view what, std::string_view plural = "");

}  // namespace strata
