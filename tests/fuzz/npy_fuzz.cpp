// SPDX-License-Identifier: Apache-2.0
// Fuzzes the .npy reader with arrays of the two shapes that index caches have. An array that is read fits its
// shape.
#include <sstream>

#include "core/base/check.hpp"
#include "traces/lengths/npy.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const std::size_t dimensions : {1, 2}) {
    std::istringstream in(std::string(reinterpret_cast<const char*>(data), size));
    try {
      const strata::NpyIntegers array = strata::read_npy_integers(in, "array", dimensions);
      std::int64_t count = 1;
      for (const std::int64_t extent : array.shape) count *= extent;
      STRATA_CHECK(std::ssize(array.values) == count && array.shape.size() == dimensions,
                   "an array of {} dimensions has {} values, not {}", dimensions, count, array.values.size());
    } catch (const strata::InputError&) {
      continue;
    }
  }
  return 0;
}
