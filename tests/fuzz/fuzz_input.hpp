// SPDX-License-Identifier: Apache-2.0
// What every fuzz target does with its bytes: an input is rejected with an InputError, or it is read,
// written, read again and written to the same text. Everything else ends the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>

#include "core/base/check.hpp"

namespace strata::fuzz {

/// `rewrite` reads a stream and returns the canonical text of what it read.
template <typename Rewrite>
int try_input(const std::uint8_t* data, std::size_t size, const Rewrite& rewrite) {
  std::istringstream in(std::string(reinterpret_cast<const char*>(data), size));
  std::string once;
  try {
    once = rewrite(in);
  } catch (const InputError&) {
    return 0;
  }
  std::istringstream again(once);
  if (rewrite(again) != once) std::abort();
  return 0;
}

}  // namespace strata::fuzz
