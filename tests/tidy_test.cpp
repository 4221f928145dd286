// SPDX-License-Identifier: Apache-2.0
// Holds the source tree to its own rules: layering by include path, lengths, wrapped headers, unfinished
// words, dead files. Each rule is run over the whole tree, and first over a few lines that break it, so that
// a rule which cannot fail is noticed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "tests/tidy_rules.hpp"

namespace strata::tidy {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 12> kFolders = {".ci",         "benchmarks", "cmake",    "core",
                                                       "cost_models", "docs",       "executor", "kernels",
                                                       "planner",     "tests",      "tools",    "traces"};

bool is_ours(const fs::path& path) {
  const std::string extension = path.extension().string();
  const bool script = extension.empty() && path.filename() != "LICENSE";
  return script || path.filename() == "CMakeLists.txt" || extension == ".cmake" || extension == ".cpp" ||
         extension == ".hpp" || extension == ".inl" || extension == ".cu" || extension == ".cuh" ||
         extension == ".py";
}

std::vector<SourceFile> read_tree() {
  const fs::path root = STRATA_SOURCE_DIR;
  std::vector<fs::path> paths = {root / "CMakeLists.txt"};
  for (const std::string_view folder : kFolders) {
    if (!fs::exists(root / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (entry.is_regular_file() && is_ours(entry.path())) paths.push_back(entry.path());
    }
  }
  std::sort(paths.begin(), paths.end());
  std::vector<SourceFile> tree;
  for (const fs::path& path : paths) {
    std::ifstream stream(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    tree.push_back(source_file(fs::relative(path, root).generic_string(), text));
  }
  return tree;
}

const std::vector<SourceFile>& tree() {
  static const std::vector<SourceFile> kTree = read_tree();
  return kTree;
}

std::string describe(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& each : findings) text += fmt::format("{}:{}: {}\n", each.path, each.line, each.message);
  return text;
}

void expect_clean(std::vector<Finding> (*rule)(const SourceFile&)) {
  for (const SourceFile& file : tree()) {
    const std::vector<Finding> findings = rule(file);
    EXPECT_TRUE(findings.empty()) << describe(findings);
  }
}

std::string lines(int count, std::string_view line) {
  std::string text;
  for (int i = 0; i < count; ++i) text += line;
  return text;
}

TEST(TidyTree, HasTheFilesThatTheRulesAreAbout) {
  const auto has = [](std::string_view path) {
    return std::any_of(tree().begin(), tree().end(),
                       [&](const SourceFile& file) { return file.path == path; });
  };
  for (const char* path : {"CMakeLists.txt", "core/base/units.hpp", "kernels/simd.inl", "tests/tidy_test.cpp",
                           "tools/test", ".ci/run"}) {
    EXPECT_TRUE(has(path)) << path;
  }
}

TEST(TidyTree, FollowsTheLayeringTable) { expect_clean(check_layering); }
TEST(TidyTree, KeepsEverySourceInARoom) { expect_clean(check_rooms); }
TEST(TidyTree, KeepsTheDomainOutOfBaseAndJson) { expect_clean(check_domain_words); }
TEST(TidyTree, KeepsWrappedHeadersInTheirWrappers) { expect_clean(check_wrapped_headers); }
TEST(TidyTree, IncludesEveryHeaderFirstInItsOwnSource) { expect_clean(check_own_header_first); }
TEST(TidyTree, KeepsFilesAndLinesShort) { expect_clean(check_lengths); }
TEST(TidyTree, KeepsFunctionsShort) { expect_clean(check_function_lengths); }
TEST(TidyTree, HasNoWordsOfUnfinishedWork) { expect_clean(check_words); }
TEST(TidyTree, OpensEveryFileWithItsLicence) { expect_clean(check_opening); }
TEST(TidyTree, HasNoDeadFiles) {
  const std::vector<Finding> findings = check_no_dead_files(tree());
  EXPECT_TRUE(findings.empty()) << describe(findings);
}

/// Findings for a file at `path` that includes `header`.
std::size_t layering_findings(const char* path, std::string_view header) {
  return check_layering(source_file(path, fmt::format("#include \"{}\"\n", header))).size();
}

TEST(TidyRules, LayeringRejectsAnUpwardInclude) {
  const auto findings =
      check_layering(source_file("core/plan/a.cpp", "\n#include \"planner/search/b.hpp\"\n"));
  EXPECT_EQ(
      describe(findings),
      "core/plan/a.cpp:2: core/plan may not include planner/search/b.hpp: move the code or pass a value\n");
  EXPECT_EQ(layering_findings("kernels/a.cpp", "core/base/b.hpp"), 1U);
  EXPECT_EQ(layering_findings("executor/a.cpp", "planner/search/b.hpp"), 1U);
  EXPECT_EQ(layering_findings("tools/a.cpp", "tests/b.hpp"), 1U);
}

TEST(TidyRules, EveryRoomHasItsRule) {
  EXPECT_EQ(layering_findings("core/base/a.hpp", "core/problem/batch.hpp"), 1U);
  EXPECT_EQ(layering_findings("core/json/a.hpp", "core/problem/batch.hpp"), 1U);
  EXPECT_EQ(layering_findings("core/problem/a.hpp", "core/schedule/wave.hpp"), 1U);
  EXPECT_EQ(layering_findings("core/program/a.hpp", "core/schedule/wave.hpp"), 1U);
  EXPECT_EQ(layering_findings("core/schedule/a.hpp", "core/program/rank_program.hpp"), 1U);
  EXPECT_EQ(layering_findings("core/lowering/a.hpp", "core/plan/plan.hpp"), 1U);
  EXPECT_EQ(layering_findings("core/plan/a.hpp", "core/verify/verify_schedule.hpp"), 1U);
  EXPECT_EQ(layering_findings("cost_models/simulator/a.hpp", "core/lowering/lower.hpp"), 1U);
  EXPECT_EQ(layering_findings("cost_models/bounds/a.hpp", "cost_models/simulator/simulator.hpp"), 1U);
  EXPECT_EQ(layering_findings("planner/realise/a.hpp", "cost_models/profile/cost_profile.hpp"), 1U);
  EXPECT_EQ(layering_findings("planner/strategies/a.hpp", "core/program/rank_program.hpp"), 1U);
  EXPECT_EQ(layering_findings("planner/report/a.hpp", "planner/search/plan_batch.hpp"), 1U);
  EXPECT_EQ(layering_findings("traces/lengths/a.hpp", "traces/timelines/b.hpp"), 1U);
}

TEST(TidyRules, LayeringRejectsAPathWithoutItsFolder) {
  EXPECT_EQ(layering_findings("core/base/a.cpp", "units.hpp"), 1U);
  EXPECT_EQ(layering_findings("core/base/a.cpp", "../base/units.hpp"), 1U);
}

TEST(TidyRules, LayeringAcceptsWhatTheTableAllows) {
  EXPECT_EQ(layering_findings("core/base/a.cpp", "core/base/b.hpp"), 0U);
  EXPECT_EQ(layering_findings("core/verify/a.cpp", "core/lowering/lower.hpp"), 0U);
  EXPECT_EQ(layering_findings("planner/search/a.cpp", "cost_models/simulator/b.hpp"), 0U);
  EXPECT_EQ(layering_findings("tests/a.cpp", "planner/search/b.hpp"), 0U);
  EXPECT_TRUE(check_layering(source_file("kernels/a.cpp", "#include \"hwy/highway.h\"\n#include <core/x>\n"))
                  .empty());
}

TEST(TidyRules, ASourceOutsideTheRoomsIsFound) {
  EXPECT_EQ(check_rooms(source_file("core/a.cpp", "")).size(), 1U);
  EXPECT_EQ(check_rooms(source_file("planner/attic/a.hpp", "")).size(), 1U);
  EXPECT_TRUE(check_rooms(source_file("core/base/a.cpp", "")).empty());
  EXPECT_TRUE(check_rooms(source_file("core/CMakeLists.txt", "")).empty());
  EXPECT_TRUE(check_rooms(source_file("kernels/a.cpp", "")).empty());
}

TEST(TidyRules, AWordOfTheDomainIsFoundInCodeOnly) {
  const auto findings_of = [](const char* path, const char* text) {
    return check_domain_words(source_file(path, text)).size();
  };
  EXPECT_EQ(findings_of("core/base/a.cpp", "int rank = 0;\n"), 1U);
  EXPECT_EQ(findings_of("core/base/a.cpp", "int first_ranks = 0;\n"), 1U);
  EXPECT_EQ(findings_of("core/json/a.cpp", "struct TopologyReader;\n"), 1U);
  EXPECT_EQ(findings_of("core/base/a.cpp", "// the rank\nauto text = \"rank\"; int franking = 0;\n"), 0U);
  EXPECT_EQ(findings_of("core/problem/a.cpp", "int rank = 0;\n"), 0U);
}

TEST(TidyRules, WrappedHeadersAreRejectedInHeadersAndElsewhere) {
  const std::string json = "#include <nlohmann/json.hpp>\n";
  EXPECT_EQ(check_wrapped_headers(source_file("core/json/json_document.hpp", json)).size(), 1U);
  EXPECT_EQ(check_wrapped_headers(source_file("planner/a.cpp", json)).size(), 1U);
  EXPECT_TRUE(check_wrapped_headers(source_file("core/json/json_document.cpp", json)).empty());
  EXPECT_EQ(check_wrapped_headers(source_file("planner/a.cpp", "#include <unordered_map>\n")).size(), 1U);
  EXPECT_TRUE(check_wrapped_headers(source_file("traces/a.cpp", "#include <unordered_map>\n")).empty());
}

TEST(TidyRules, OwnHeaderStandsFirst) {
  EXPECT_EQ(
      check_own_header_first(source_file("core/a.cpp", "#include <map>\n#include \"core/a.hpp\"\n")).size(),
      1U);
  EXPECT_TRUE(
      check_own_header_first(source_file("core/a.cpp", "#include \"core/a.hpp\"\n#include <map>\n")).empty());
  EXPECT_TRUE(check_own_header_first(source_file("core/a.cpp", "#include \"core/b.hpp\"\n")).empty());
}

TEST(TidyRules, LengthCapsAreExact) {
  EXPECT_TRUE(check_lengths(source_file("core/a.cpp", lines(500, "\n"))).empty());
  EXPECT_EQ(check_lengths(source_file("core/a.cpp", lines(501, "\n"))).size(), 1U);
  EXPECT_TRUE(check_lengths(source_file("kernels/a.cu", lines(700, "\n"))).empty());
  EXPECT_EQ(check_lengths(source_file("kernels/a.cu", lines(701, "\n"))).size(), 1U);
  EXPECT_TRUE(check_lengths(source_file("core/a.cpp", std::string(110, 'a'))).empty());
  EXPECT_EQ(check_lengths(source_file("core/a.cpp", std::string(111, 'a'))).size(), 1U);
}

TEST(TidyRules, FragmentsThatAreIncludedPerInstructionSetFollowTheSameRules) {
  EXPECT_EQ(check_lengths(source_file("kernels/a.inl", std::string(111, 'a'))).size(), 1U);
  EXPECT_EQ(check_lengths(source_file("kernels/a.inl", lines(501, "\n"))).size(), 1U);
  EXPECT_EQ(check_layering(source_file("kernels/a.inl", "#include \"core/b.hpp\"\n")).size(), 1U);
  EXPECT_EQ(check_words(source_file("kernels/a.inl", "// TODO: later\n")).size(), 1U);
  const std::string function = "void f() {\n" + lines(69, "  g();\n") + "}\n";
  EXPECT_EQ(check_function_lengths(source_file("kernels/a.inl", function)).size(), 1U);
}

TEST(TidyRules, FunctionLengthCountsFromBraceToBrace) {
  const auto findings_of = [](const std::string& text) {
    return check_function_lengths(source_file("core/a.cpp", text)).size();
  };
  EXPECT_EQ(findings_of("int f(int a = 1) {\n" + lines(68, "  g();\n") + "}\n"), 0U);
  EXPECT_EQ(findings_of("int f(int a = 1) {\n" + lines(69, "  g();\n") + "}\n"), 1U);
  EXPECT_EQ(findings_of("struct A {\n  A() : a_{1}, b_{2} {\n" + lines(69, "g();\n") + "  }\n};\n"), 1U);
  EXPECT_EQ(findings_of("namespace a {\nint f() {\n" + lines(40, "\n") + "}\nint g() {\n" + lines(40, "\n") +
                        "}\n}\n"),
            0U);
}

TEST(TidyRules, FunctionLengthIgnoresTablesTypesCommentsAndLiterals) {
  const auto findings_of = [](const std::string& text) {
    return check_function_lengths(source_file("core/a.cpp", text)).size();
  };
  EXPECT_EQ(findings_of("const int kTable[] = {\n" + lines(90, "  1,\n") + "};\n"), 0U);
  EXPECT_EQ(findings_of("struct A {\n" + lines(90, "  int a;\n") + "};\n"), 0U);
  EXPECT_EQ(
      findings_of("int f() {\n  g(\"{\", '{', 1'000);  // {\n  /* {\n{ */\n}\n" + lines(90, "int a;\n")), 0U);
  EXPECT_EQ(findings_of("int f() {\n  g(R\"x(\n{\n)x\");\n}\n" + lines(90, "int a;\n") + "}\n"), 0U);
}

TEST(TidyRules, WordsOfUnfinishedWorkAreRejected) {
  const auto findings_of = [](const std::string& text) {
    return check_words(source_file("core/a.cpp", text)).size();
  };
  EXPECT_EQ(findings_of("// TODO: later\n"), 1U);
  EXPECT_EQ(findings_of("// TODO(#): later\n"), 1U);
  EXPECT_EQ(findings_of("// TODO(#12): later\n"), 0U);
  EXPECT_EQ(findings_of("mkdtemp(\"/tmp/a.XXXXXX\"); // TODO(#12), TODO\n"), 1U);
  EXPECT_EQ(findings_of("mkdtemp(\"/tmp/a.XXXXXX\");\n"), 0U);
  EXPECT_EQ(findings_of("// FIXME\n// XXX\n// Placeholder\n// Not implemented yet\n"), 4U);
  EXPECT_EQ(findings_of("using namespace std;\n"), 1U);
  EXPECT_EQ(findings_of("\tint a;\nint b; \nint c;\n"), 2U);
}

TEST(TidyRules, EveryFileOpensWithItsLicence) {
  const std::string licence = "// SPDX-License-Identifier: Apache-2.0\n";
  EXPECT_TRUE(check_opening(source_file("core/a.hpp", licence + "#pragma once\n")).empty());
  EXPECT_EQ(check_opening(source_file("core/a.hpp", licence)).size(), 1U);
  EXPECT_EQ(check_opening(source_file("core/a.cpp", "int a;\n")).size(), 1U);
  EXPECT_EQ(check_opening(source_file("core/a.cpp", "")).size(), 1U);
}

TEST(TidyRules, DeadFilesAreFound) {
  const SourceFile list =
      source_file("core/CMakeLists.txt", "strata_library(core\n  SOURCES\n    a.cpp\n    x/b.cpp)\n");
  const SourceFile user = source_file("core/a.cpp", "#include \"core/used.hpp\"\n");
  EXPECT_TRUE(
      check_no_dead_files({list, user, source_file("core/x/b.cpp", ""), source_file("core/used.hpp", "")})
          .empty());
  EXPECT_EQ(check_no_dead_files({list, source_file("core/b.cpp", "")}).size(), 1U);
  EXPECT_EQ(check_no_dead_files({list, source_file("core/y/b.cpp", "")}).size(), 1U);
  EXPECT_EQ(check_no_dead_files({list, user, source_file("core/unused.hpp", "")}).size(), 1U);
}

}  // namespace
}  // namespace strata::tidy
