// SPDX-License-Identifier: Apache-2.0
#include "core/base/check.hpp"

#include <string_view>

namespace strata {

namespace {

std::string one_line(const std::string& where, const std::string& found, const std::string& expected) {
  std::string text = where.empty() ? std::string() : where + ": ";
  text += "found " + found;
  if (!expected.empty()) text += ", expected " + expected;
  return text;
}

}  // namespace

InputError::InputError(std::string where, std::string found, std::string expected)
    : std::runtime_error(one_line(where, found, expected)),
      where_(std::move(where)),
      found_(std::move(found)),
      expected_(std::move(expected)) {}

void throw_internal_error(const char* condition, const char* file, int line, const std::string& sentence) {
  std::string_view path(file);
  if (const auto slash = path.find_last_of('/'); slash != std::string_view::npos) {
    path.remove_prefix(slash + 1);
  }
  throw InternalError(fmt::format("{} [{} at {}:{}]", sentence, condition, path, line));
}

}  // namespace strata
