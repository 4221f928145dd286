// SPDX-License-Identifier: Apache-2.0
// How much a long test does. STRATA_TEST_SCALE=small, which the sanitizer runs set, asks for a sample; =full
// for what takes too long for every run of the suite.
#pragma once

#include <cstdlib>
#include <string_view>

namespace strata {

inline std::string_view test_scale() {
  const char* scale = std::getenv("STRATA_TEST_SCALE");
  return scale != nullptr ? scale : "";
}

inline bool small_scale() { return test_scale() == "small"; }
inline bool full_scale() { return test_scale() == "full"; }

}  // namespace strata
