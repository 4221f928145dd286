// SPDX-License-Identifier: Apache-2.0
// What README.md shows is what the program prints. Blocks fenced as ```console are run, one after another in
// one folder: lines "$ strata ..." are commands, and what follows them must be lines of their output, in that
// order; lines may be left out. Numbers and units may differ, words and headings may not.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

struct Example {
  std::string command;  ///< without "strata"
  std::vector<std::string> shown;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// The examples of all console blocks, in order.
std::vector<Example> examples_of(const std::string& document) {
  const std::string prompt = "$ strata ";
  std::vector<Example> examples;
  bool inside = false, continued = false;
  for (const std::string& line : lines_of(document)) {
    if (line.starts_with("```")) {
      inside = line == "```console";
      continued = false;
    } else if (inside && continued) {
      examples.back().command.pop_back();
      examples.back().command += line;
      continued = line.ends_with('\\');
    } else if (inside && line.starts_with(prompt)) {
      examples.push_back({line.substr(prompt.size()), {}});
      continued = line.ends_with('\\');
    } else if (inside && !examples.empty() && !line.empty() && !line.starts_with("...")) {
      examples.back().shown.push_back(line);
    }
  }
  return examples;
}

/// The words of a line: numbers become '#', with the unit behind them, and any space is one.
std::string shape(const std::string& line) {
  static const std::vector<std::string> kUnits = {"ns", "us",  "ms",  "s",   "min", "h",
                                                  "B",  "KiB", "MiB", "GiB", "TiB"};
  std::string masked;
  for (std::size_t i = 0; i < line.size();) {
    if (std::isdigit(static_cast<unsigned char>(line[i])) == 0) {
      masked += line[i++];
      continue;
    }
    const auto part_of_number = [&](char c) {
      return std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '.' || c == ',';
    };
    while (i < line.size() && part_of_number(line[i])) ++i;
    if (line[i - 1] == ',' || line[i - 1] == '.') --i;
    masked += '#';
  }
  std::istringstream words(masked);
  std::string result, before;
  for (std::string word; words >> word; before = word) {
    std::string bare = word;
    while (!bare.empty() && std::ispunct(static_cast<unsigned char>(bare.back())) != 0) bare.pop_back();
    const bool unit = before == "#" && std::find(kUnits.begin(), kUnits.end(), bare) != kUnits.end();
    result += (result.empty() ? "" : " ") + (unit ? "unit" + word.substr(bare.size()) : word);
  }
  return result;
}

/// The first shown line that is not in the output where it should be; empty when all are.
std::string first_missing(const std::vector<std::string>& shown, const std::string& output) {
  const std::vector<std::string> printed = lines_of(output);
  std::size_t at = 0;
  for (const std::string& line : shown) {
    while (at < printed.size() && shape(printed[at]) != shape(line)) ++at;
    if (at++ == printed.size()) return line;
  }
  return "";
}

TEST(Readme, ItsExamplesPrintWhatTheyShow) {
  const Workspace work;
  std::filesystem::create_directory_symlink(STRATA_SOURCE_DIR "/traces", work.path("traces"));
  const std::vector<Example> examples = examples_of(file_text(STRATA_SOURCE_DIR "/README.md"));
  EXPECT_GE(examples.size(), 3U) << "README.md shows less than it did";
  for (const Example& example : examples) {
    const Finished finished = work.script(STRATA_BINARY " " + example.command);
    EXPECT_EQ(finished.code, 0) << "$ strata " << example.command << '\n' << finished.err;
    EXPECT_EQ(first_missing(example.shown, finished.out), "")
        << "$ strata " << example.command << "\nprints\n"
        << finished.out;
  }
}

TEST(Readme, OtherWordsHeadingsAndOrdersAreFound) {
  const std::vector<Example> examples = examples_of(
      "```\n$ strata no\n```\n```console\n$ strata topo cpu:1x4 \\\n  --quiet\ncpu:1x4: 1 "
      "node\n...\nend\n```\n");
  ASSERT_EQ(examples.size(), 1U);
  EXPECT_EQ(examples.front().command, "topo cpu:1x4   --quiet");
  EXPECT_EQ(examples.front().shown, (std::vector<std::string>{"cpu:1x4: 1 node", "end"}));
  const std::string output = "ring   12.5 ms  1.000x  chosen\nmoved 1,024 B: all\n";
  EXPECT_EQ(first_missing({"ring  3 s     1.2x   chosen", "moved 7 MiB: all"}, output), "");
  EXPECT_EQ(first_missing({"moved 7 MiB: all", "ring  3 s  1.2x  chosen"}, output),
            "ring  3 s  1.2x  chosen");
  EXPECT_EQ(first_missing({"moved 7 MiB: most"}, output), "moved 7 MiB: most");
  EXPECT_EQ(first_missing({"ring  3 apples  1.2x  chosen"}, output), "ring  3 apples  1.2x  chosen");
}

}  // namespace
}  // namespace strata::test
