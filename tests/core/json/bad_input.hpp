// SPDX-License-Identifier: Apache-2.0
// What a reader says about a bad input, and editing a good one into a bad one.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "core/base/check.hpp"

namespace strata::test {

/// The message of the InputError that `read` throws; another outcome fails the test.
template <typename Read>
std::string input_error(const Read& read) {
  try {
    read();
  } catch (const InputError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no InputError";
  return "no InputError";
}

/// `text` with the first `from` replaced; `from` must occur.
inline std::string edited(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  if (at == std::string::npos) {
    ADD_FAILURE() << "the text to edit does not contain " << from;
    return text;
  }
  return text.replace(at, from.size(), to);
}

}  // namespace strata::test
