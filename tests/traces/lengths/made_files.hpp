// SPDX-License-Identifier: Apache-2.0
// Small binary files made byte by byte, independently of the readers under test, and the recorded samples.
#pragma once

#include <cstdint>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

namespace strata::test {

inline std::string sample_path(const std::string& file) {
  return std::string(STRATA_SOURCE_DIR) + "/traces/samples/" + file;
}

inline std::string file_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// `value` as `bytes` bytes, least significant first.
inline std::string little(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>((value >> (8 * i)) & 0xff);
  return text;
}

/// What an .idx says; bytes() writes it whether it is consistent or not.
struct MadeIndex {
  std::string magic = std::string("MMIDIDX\0\0", 9);
  std::uint64_t version = 1;
  int token_type = 8;
  std::vector<std::int64_t> lengths;
  std::vector<std::int64_t> offsets;    ///< empty: as the lengths say, 2 bytes a token
  std::vector<std::int64_t> documents;  ///< empty: one per sequence
  bool modes = false;

  std::string bytes() const {
    std::vector<std::int64_t> at = offsets, first = documents;
    if (at.empty()) {
      std::int64_t end = 0;
      for (const std::int64_t length : lengths) {
        at.push_back(end);
        end += 2 * length;
      }
    }
    if (first.empty()) {
      first.resize(lengths.size() + 1);
      std::iota(first.begin(), first.end(), 0);
    }
    std::string text = magic + little(version, 8) + static_cast<char>(token_type);
    text += little(lengths.size(), 8) + little(first.size(), 8);
    for (const std::int64_t length : lengths) text += little(static_cast<std::uint64_t>(length), 4);
    for (const std::int64_t offset : at) text += little(static_cast<std::uint64_t>(offset), 8);
    for (const std::int64_t document : first) text += little(static_cast<std::uint64_t>(document), 8);
    if (modes) text += std::string(lengths.size(), '\1');
    return text;
  }
};

/// A .npy file around `header` (a Python dictionary) and the bytes of its items.
inline std::string made_npy(const std::string& header, const std::string& items, int version = 1) {
  const std::string text = header + "\n";
  return "\x93NUMPY" + little(static_cast<std::uint64_t>(version), 2) +
         little(text.size(), version == 1 ? 2 : 4) + text + items;
}

/// One dimension of int32.
inline std::string made_npy(const std::vector<std::int64_t>& values) {
  std::string items;
  for (const std::int64_t value : values) items += little(static_cast<std::uint64_t>(value), 4);
  return made_npy(
      "{'descr': '<i4', 'fortran_order': False, 'shape': (" + std::to_string(values.size()) + ",), }", items);
}

}  // namespace strata::test
