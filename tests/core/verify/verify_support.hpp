// SPDX-License-Identifier: Apache-2.0
// For the verifier's tests: break one thing in a good wave and see that exactly one rule names it.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/verify/verify_schedule.hpp"
#include "tests/support/hand_built_waves.hpp"

namespace strata::test {

inline std::string listed(const std::vector<Violation>& violations) {
  std::string text;
  for (const Violation& violation : violations) {
    text += violation.rule + " at " + violation.place + ": " + violation.message + "\n";
  }
  return text.empty() ? "no violation\n" : text;
}

inline std::vector<Violation> verify(const Wave& wave, const ModelShape& model = hand_built_model()) {
  return verify_wave(wave, model, wave.placement.rank_count(), "waves[0]");
}

/// All violations are of `rule`, the first is at `place` (below "waves[0]") and says `text`.
inline void expect_only(const std::vector<Violation>& violations, const std::string& rule,
                        const std::string& place, const std::string& text) {
  ASSERT_FALSE(violations.empty()) << "expected " << rule << " at " << place;
  for (const Violation& violation : violations) EXPECT_EQ(violation.rule, rule) << listed(violations);
  EXPECT_EQ(violations.front().place, "waves[0]" + place) << listed(violations);
  EXPECT_NE(violations.front().message.find(text), std::string::npos) << listed(violations);
}

}  // namespace strata::test
