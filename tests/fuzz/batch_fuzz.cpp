// SPDX-License-Identifier: Apache-2.0
// Fuzzes the readers of batch files: steps that are read, written in Strata's own form, read as the same
// steps.
#include "core/problem/batch_json.hpp"
#include "tests/fuzz/fuzz_input.hpp"
#include "traces/lengths/length_source.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return strata::fuzz::try_input(data, size, [](std::istream& in) {
    std::string lines;
    for (const strata::Batch& batch : strata::read_length_source(in, "batch").batches)
      lines += strata::to_json(batch) + "\n";
    if (lines.empty()) throw strata::InputError("batch", "lengths alone", "steps");
    return lines;
  });
}
