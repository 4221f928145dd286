// SPDX-License-Identifier: Apache-2.0
// Names that files and the command line give go to the terminal as text: what a terminal would obey is
// escaped, writing of any language is kept.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A byte that a terminal obeys, anywhere but at the end of a line.
bool has_control(const std::string& text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f; });
}

class ShownNames : public ::testing::Test {
 protected:
  void SetUp() override {
    work_.write("b.jsonl", "{\"step\": 0, \"packs\": [[40, 24, 33]]}\n");
    work_.write("topology.json", work_.expect(0, "topo cpu:1x4 --json").out);
  }
  void expect_shown(const std::string& arguments, int code, const std::string& shown) const {
    for (const char* more : {"", " --json"}) {
      const Finished finished = work_.strata(arguments + more);
      EXPECT_EQ(finished.code, code) << arguments << more << '\n' << finished.err;
      EXPECT_FALSE(has_control(finished.out + finished.err)) << arguments << more;
      EXPECT_TRUE(contains(finished.out + finished.err, shown)) << finished.out << finished.err;
    }
  }
  Workspace work_;
};

TEST_F(ShownNames, ATopologysNameCannotColourTheTerminal) {
  work_.edit("topology.json", "cpu:1x4", "\\u001b[31mred\\u009b caf\u00e9");
  const std::string shown = "\\x1b[31mred\\u009b caf\u00e9";
  expect_shown("topo topology.json", 0, shown);
  expect_shown("plan --batch b.jsonl --topology topology.json --model tiny -o p.json", 0, shown);
  const Finished compared =
      work_.expect(0, "compare --batches b.jsonl --topology topology.json --model tiny");
  EXPECT_TRUE(contains(compared.out, shown)) << compared.out;
  for (const char* command : {"lint", "explain", "simulate", "run"}) {
    const Finished finished = work_.expect(0, std::string(command) + " p.json");
    EXPECT_FALSE(has_control(finished.out + finished.err)) << command;
  }
}

TEST_F(ShownNames, ANameCannotBeASecondLine) {
  work_.edit("topology.json", "cpu:1x4", "x\\ncheck passed (full)");
  const Finished finished = work_.expect(2, "topo topology.json");
  EXPECT_EQ(finished.err, "strata: topology.json: name: found a text of several lines, expected one line\n");
}

TEST_F(ShownNames, AFieldsNameInAMessageIsText) {
  work_.edit("topology.json", "\"name\"", "\"\\u001b]0;title\\u0007\"");
  const Finished finished = work_.expect(2, "topo topology.json");
  EXPECT_FALSE(has_control(finished.err)) << finished.err;
}

TEST_F(ShownNames, KeysOfEveryLanguageAreKept) {
  work_.write("rows.jsonl", "{\"length\":5,\"gr\u00f6\u00dfe\":1,\"a\\n\\u001b[2J\":2}\n");
  const std::string read = work_.expect(0, "inspect rows.jsonl").out;
  EXPECT_TRUE(contains(read, "keys not used: gr\u00f6\u00dfe, a\\n\\x1b[2J\n")) << read;
  work_.write("rows.jsonl", "{\"length\":5,\"gr\u00f6\u00dfe_rank\":1}\n");
  const std::string refused = work_.expect(2, "inspect rows.jsonl").err;
  EXPECT_TRUE(contains(refused, "line 1: gr\u00f6\u00dfe_rank: found")) << refused;
}

TEST_F(ShownNames, NamesOfFilesAreText) {
  const std::vector<std::pair<std::string, std::string>> names = {
      {"no\x1b[31mred", "no\\x1b[31mred"}, {"b\xe9.json", "b\\xe9.json"}, {"Zürich-東京", "Zürich-東京"}};
  for (const auto& [name, shown] : names) {
    for (const char* command : {"lint", "topo", "inspect", "explain", "run"}) {
      const Finished finished = work_.strata(std::vector<std::string>{command, name});
      EXPECT_EQ(finished.code, 2);
      EXPECT_TRUE(contains(finished.err, shown)) << finished.err;
      EXPECT_FALSE(has_control(finished.err)) << finished.err;
    }
    const Finished planned =
        work_.strata({"plan", "--batch", "b.jsonl", "--topology", "cpu:1x4", "--model", "tiny", "-o", name});
    EXPECT_EQ(planned.code, 0) << planned.err;
    EXPECT_TRUE(contains(planned.out, "wrote " + shown + "\n")) << planned.out;
    const Finished listed = work_.strata(std::vector<std::string>{"lint", name, "--json"});
    EXPECT_EQ(listed.code, 0);
    EXPECT_EQ(member(parsed(listed.out), "plan").string(),
              name.find('\xe9') == std::string::npos ? name : "b\\xe9.json");
  }
}

TEST_F(ShownNames, AnArgumentIsOneLine) {
  const Finished finished = work_.strata(std::vector<std::string>{"lint", "a\nb.json"});
  EXPECT_EQ(finished.code, 2);
  EXPECT_EQ(finished.err,
            "strata: found 'a\\nb.json' on the command line, expected arguments without line ends\n");
}

TEST_F(ShownNames, UnknownOptionsAndValuesAreText) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"pl\x1b[2Jan"},
        {"lint", "--\x1b[2J"},
        {"run", "p.json", "--check", "\x1b[2J"},
        {"plan", "--batch", "b.jsonl", "--topology", "\x1b[2J", "-o", "p.json"},
        {"plan", "--batch", "b.jsonl", "--topology", "cpu:1x4", "--model", "\x1b[2J", "-o", "p.json"},
        {"plan", "--batch", "b.jsonl", "--topology", "cpu:1x4", "--strategy", "\x1b[2J", "-o", "p.json"}}) {
    const Finished finished = work_.strata(words);
    EXPECT_EQ(finished.code, 2);
    EXPECT_FALSE(has_control(finished.err)) << finished.err;
    EXPECT_TRUE(contains(finished.err, "\\x1b[2J")) << finished.err;
    EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
  }
}

}  // namespace
}  // namespace strata::test
