// SPDX-License-Identifier: Apache-2.0
// The program's words, as text: every file of tests/golden holds command lines and exactly what they print. A
// file runs in an empty folder, from top to bottom:
//   # a comment, at the top only
//   @ NAME TEXT          writes a file of one line
//   ~ NAME: OLD -> NEW   replaces the first OLD of a file
//   $ strata ...         a command; its stdout follows, each line of stderr after "! ", and an exit code that
//   is
//                        not 0 in brackets
// STRATA_UPDATE_GOLDEN=1 rewrites the files instead of comparing; read the difference before you commit it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

const std::filesystem::path kFolder = STRATA_SOURCE_DIR "/tests/golden";

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() == ".test") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// What a command printed, in the form of the golden files.
std::string transcript(const Finished& finished) {
  std::string text = finished.out;
  if (!text.empty() && text.back() != '\n') text += "\n(no newline at the end)\n";
  std::istringstream lines(finished.err);
  for (std::string line; std::getline(lines, line);) text += "! " + line + "\n";
  if (finished.code != 0) text += "[exit " + std::to_string(finished.code) + "]\n";
  return text;
}

/// Runs a golden file; returns it as it would be if everything it holds were right.
std::string rerun(const std::string& text) {
  const Workspace work;
  std::string result;
  std::istringstream lines(text);
  bool top = true;
  for (std::string line; std::getline(lines, line);) {
    const std::string rest = line.size() > 2 ? line.substr(2) : "";
    if (line.rfind("$ strata", 0) == 0) {
      const std::string arguments = rest.substr(6);
      result += line + "\n" + transcript(work.strata(arguments));
      top = false;
    } else if (line.rfind("@ ", 0) == 0) {
      const auto space = rest.find(' ');
      work.write(rest.substr(0, space), rest.substr(space + 1) + "\n");
      result += line + "\n";
      top = false;
    } else if (line.rfind("~ ", 0) == 0) {
      const auto colon = rest.find(": "), arrow = rest.find(" -> ");
      work.edit(rest.substr(0, colon), rest.substr(colon + 2, arrow - colon - 2), rest.substr(arrow + 4));
      result += line + "\n";
      top = false;
    } else if (top) {
      result += line + "\n";
    }
  }
  return result;
}

class Golden : public testing::TestWithParam<std::string> {};

TEST_P(Golden, CommandsPrintExactlyWhatTheFileSays) {
  const std::filesystem::path path = kFolder / (GetParam() + ".test");
  const std::string expected = file_text(path);
  ASSERT_NE(expected.find("$ strata"), std::string::npos) << path << " runs nothing";
  const std::string actual = rerun(expected);
  const char* update = std::getenv("STRATA_UPDATE_GOLDEN");
  if (update != nullptr && std::string(update) == "1") {
    std::ofstream(path, std::ios::binary) << actual;
    return;
  }
  EXPECT_EQ(actual, expected) << "STRATA_UPDATE_GOLDEN=1 rewrites " << path;
}

INSTANTIATE_TEST_SUITE_P(Files, Golden, testing::ValuesIn(golden_names()),
                         [](const auto& each) { return each.param; });

}  // namespace
}  // namespace strata::test
