// SPDX-License-Identifier: Apache-2.0
// Fuzzes every reader of length files (text, CSV, JSON, JSON lines, .npy, Megatron's .idx): whatever is read,
// written as text, reads as the same lengths.
#include "tests/fuzz/fuzz_input.hpp"
#include "traces/lengths/length_source.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return strata::fuzz::try_input(data, size, [](std::istream& in) {
    std::string text = "length\n";  // without a name, lengths that rise could be offsets
    for (const std::int64_t length : strata::read_length_source(in, "lengths").lengths) {
      text += std::to_string(length) + "\n";
    }
    return text;
  });
}
