// SPDX-License-Identifier: Apache-2.0
// The rules that tidy_test.cpp holds the source tree to. Every rule is a plain function from a file to what
// is wrong with it, so that each can be tried on a few lines of text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace strata::tidy {

/// One text file of the tree. `path` is relative to the source root and uses forward slashes.
struct SourceFile {
  std::string path;
  std::vector<std::string> lines;
};

/// Splits `text` into the lines of a file called `path`.
SourceFile source_file(std::string path, std::string_view text);

/// Something wrong at `path`:`line` (1-based); `message` says what to do about it.
struct Finding {
  std::string path;
  int line = 0;
  std::string message;
};

/// Includes of our own files follow the layering table and name the folder.
std::vector<Finding> check_layering(const SourceFile& file);
/// Every source of a folder that consists of rooms lies in one of them.
std::vector<Finding> check_rooms(const SourceFile& file);
/// The code of core/base and core/json names nothing of the domain; comments and messages may.
std::vector<Finding> check_domain_words(const SourceFile& file);
/// JSON, CLI11 and Boost stay inside the few .cpp files that wrap them; hash containers stay out of the
/// planner.
std::vector<Finding> check_wrapped_headers(const SourceFile& file);
/// A .cpp includes the header of the same name first, which proves that the header compiles alone.
std::vector<Finding> check_own_header_first(const SourceFile& file);
/// File length, line length.
std::vector<Finding> check_lengths(const SourceFile& file);
/// Function length, by counting braces.
std::vector<Finding> check_function_lengths(const SourceFile& file);
/// Words that mean unfinished work, tabs, trailing blanks, `using namespace std`.
std::vector<Finding> check_words(const SourceFile& file);
/// The licence line, and `#pragma once` in headers.
std::vector<Finding> check_opening(const SourceFile& file);

/// Every .cpp and .cu stands in a CMakeLists.txt, every header is included by someone.
std::vector<Finding> check_no_dead_files(const std::vector<SourceFile>& tree);

}  // namespace strata::tidy
