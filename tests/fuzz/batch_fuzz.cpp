// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of batch files.
#include "core/batch_json.hpp"
#include "tests/fuzz/fuzz_input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return strata::fuzz::try_input(data, size, [](std::istream& in) {
    std::string lines;
    for (const strata::Batch& batch : strata::read_batches(in, "batch", -1))
      lines += strata::to_json(batch) + "\n";
    return lines;
  });
}
