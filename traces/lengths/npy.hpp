// SPDX-License-Identifier: Apache-2.0
// NumPy's .npy files, the part that length lists and Megatron's index caches use: little-endian integers in C
// order. Format: numpy.lib.format, versions 1.0 to 3.0. Pickled objects, floats and big-endian data are
// refused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <istream>
#include <string>
#include <string_view>
#include <vector>

namespace strata {

/// An array's values widened to 64 bits, first index slowest.
struct NpyIntegers {
  std::string item_type;             ///< as the file names it: "<i4", "<u4", "|u1", ...
  std::vector<std::int64_t> shape;   ///< one entry per dimension
  std::vector<std::int64_t> values;  ///< as many as the product of the shape
  bool operator==(const NpyIntegers&) const = default;
};

/// Whether `prefix` starts as every .npy file does.
bool is_npy(std::string_view prefix);

/// Reads a whole array of `dimensions` dimensions. InputError naming `name` and what is wrong: magic,
/// version, header text, item type, order, shape, a size that differs from what the header announces, a value
/// above 2^63 - 1.
NpyIntegers read_npy_integers(std::istream& in, const std::string& name, std::size_t dimensions);
NpyIntegers read_npy_integers(const std::filesystem::path& path, std::size_t dimensions);

}  // namespace strata
