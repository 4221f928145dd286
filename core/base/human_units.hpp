// SPDX-License-Identifier: Apache-2.0
// Times and sizes as people read them: three to four significant digits and a unit.
#pragma once

#include <string>

#include "core/base/units.hpp"

namespace strata {

/// "812 ns", "3.25 us", "14.0 ms", "2.50 s".
std::string human(Duration duration);
/// "0 B", "512 B", "1.50 KiB", "3.25 GiB".
std::string human(Bytes bytes);

}  // namespace strata
