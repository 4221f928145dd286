// SPDX-License-Identifier: Apache-2.0
// docs/plan-format.md names every rule that lint prints, no other, and every limit of the verifier. The rules
// are read from the verifier's source: the first argument of what reports a violation.
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <set>
#include <string>

#include "core/base/check.hpp"
#include "core/plan/plan_json.hpp"
#include "core/verify/verify_detail.hpp"
#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

const std::filesystem::path kRoot = STRATA_SOURCE_DIR;

std::set<std::string> matches(const std::string& text, const std::regex& pattern) {
  std::set<std::string> found;
  for (std::sregex_iterator at(text.begin(), text.end(), pattern), end; at != end; ++at)
    found.insert((*at)[1]);
  return found;
}

/// Every source that can report a violation.
/// All that reports violations.
std::string verifier_source() {
  std::string text;
  for (const char* room : {"planner/audit", "core/verify", "core/program"}) {
    for (const auto& entry : std::filesystem::directory_iterator(kRoot / room))
      text += file_text(entry.path());
  }
  return text;
}

TEST(PlanFormat, NamesEveryRuleThatLintPrints) {
  const std::string reporters =
      "add|differs|fail|report|program_violation|check_span|check_heads|check_rank|push_back";
  const std::regex reported("(?:" + reporters + R"re()\(\s*\{?"([a-z_]+)",)re");
  const std::set<std::string> rules = matches(verifier_source(), reported);
  EXPECT_GE(rules.size(), 30U) << "violations are reported in another way now";
  const std::string document = file_text(kRoot / "docs/plan-format.md");
  for (const std::string& rule : rules) {
    EXPECT_NE(document.find("`" + rule + "`"), std::string::npos)
        << rule << " is missing in docs/plan-format.md";
  }
}

TEST(PlanFormat, NamesNoRuleThatLintDoesNotKnow) {
  // "**What.** (`rule`, `rule`)." opens each paragraph of rules.
  const std::string document = file_text(kRoot / "docs/plan-format.md");
  const std::string source = verifier_source();
  std::size_t count = 0;
  for (const std::string& list : matches(document, std::regex(R"re(\n\*\*[^*\n]+\*\* \(([^)]*)\)\.)re"))) {
    for (const std::string& rule : matches(list, std::regex("`([a-z_]+)`"))) {
      ++count;
      EXPECT_NE(source.find('"' + rule + '"'), std::string::npos) << rule;
    }
  }
  EXPECT_GE(count, 40U);
}

TEST(PlanFormat, StatesTheVerifiersLimits) {
  const std::string document = file_text(kRoot / "docs/plan-format.md");
  EXPECT_EQ(kMaxQueryHeads, 4096);
  EXPECT_EQ(detail::kMaxLanes, 16);
  EXPECT_EQ(detail::kMaxDocumentRanks, std::int64_t{1} << 26);
  EXPECT_EQ(detail::kMaxDocumentTokens, (std::int64_t{1} << 31) - 1);
  for (const char* limit : {"| query heads | 4,096 |", "| lanes | 16 |",
                            "| document numbers x ranks | 2^26 |", "| tokens of a document | 2^31 - 1 |"}) {
    EXPECT_NE(document.find(limit), std::string::npos) << limit;
  }
}

/// A corpus of an older version would be refused at its first line, and nothing behind it fuzzed.
TEST(PlanFormat, IsTheOneOfThePlansThatAreFuzzed) {
  for (const char* target : {"plan_fuzz", "lint_fuzz", "audit_fuzz"}) {
    int read = 0;
    for (const auto& entry : std::filesystem::directory_iterator(kRoot / "tests/fuzz/corpus" / target)) {
      try {
        read_plan(entry.path().string());
        ++read;
      } catch (const InputError&) {
        continue;  // what the fuzzer made of a plan
      }
    }
    EXPECT_GT(read, 0) << target;
  }
}

}  // namespace
}  // namespace strata::test
