// SPDX-License-Identifier: Apache-2.0
// What users brought and is not mended yet, as sentences that are true today. A change that mends one breaks
// its test here, which then says the right thing instead.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

/// One step of `count` free documents of one to a hundred tokens.
std::string many_documents(int count) {
  std::string text = "{\"step\":0,\"documents\":[";
  for (int i = 0; i < count; ++i) text += fmt::format("{}{}", i == 0 ? "" : ",", 1 + i * 37 % 100);
  return text + "]}\n";
}

std::int64_t step_time(const Workspace& work, const std::string& arguments) {
  work.expect(0, "plan --batch b.jsonl --model llama3_8b -o p.json " + arguments);
  return member(parsed(work.read("p.json")), "predicted.step_time_ns").integer(0, std::int64_t{1} << 62);
}

/// Known: placing buffers compares each with all earlier ones, so 8,000 documents take four times as long as
/// 4,000. No test asserts on time; that the plan is right at a size which is still quick, this one does.
TEST(KnownCase, ManyDocumentsUnderUlyssesTakeTimeInTheirSquareAndAreRight) {
  const Workspace work;
  work.write("b.jsonl", many_documents(400));
  work.expect(0, "plan --batch b.jsonl --topology dgx_h100:1 --model llama3_8b --strategy ulysses -o p.json");
  work.expect(0, "lint p.json");
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
