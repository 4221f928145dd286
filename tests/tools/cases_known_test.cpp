// SPDX-License-Identifier: Apache-2.0
// What users brought and is not mended yet, as sentences that are true today. A change that mends one breaks
// its test here, which then says the right thing instead.
#include <gtest/gtest.h>

#include <string>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

std::int64_t step_time(const Workspace& work, const std::string& arguments) {
  work.expect(0, "plan --batch b.jsonl --model llama3_8b -o p.json " + arguments);
  return member(parsed(work.read("p.json")), "predicted.step_time_ns").integer(0, std::int64_t{1} << 62);
}

/// Known: every strategy uses all ranks that there are.
TEST(KnownCase, SixtyFourRanksAreGivenMoreTimeThanThirtyTwoOfThem) {
  const Workspace work;
  work.write("b.jsonl", "{\"step\":0,\"documents\":[32768]}\n");
  const std::int64_t half = step_time(work, "--topology dgx_h100:8 --ranks 32");
  const std::int64_t all = step_time(work, "--topology dgx_h100:8 --ranks 64");
  EXPECT_GT(all, half) << "idle ranks are legal now: this case is mended";
}

}  // namespace
}  // namespace strata::test
