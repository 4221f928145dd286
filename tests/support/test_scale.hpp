// SPDX-License-Identifier: Apache-2.0
// How much a long test does. STRATA_TEST_SCALE=small, which the sanitizer runs set, asks for a sample.
#pragma once

#include <cstdlib>
#include <string_view>

namespace strata {

inline bool small_scale() {
  const char* scale = std::getenv("STRATA_TEST_SCALE");
  return scale != nullptr && std::string_view(scale) == "small";
}

}  // namespace strata
