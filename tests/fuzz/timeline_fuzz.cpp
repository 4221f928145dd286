// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of timeline files.
#include "core/program/timeline_json.hpp"
#include "tests/fuzz/fuzz_input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return strata::fuzz::try_input(data, size, [](std::istream& in) {
    std::ostringstream out;
    strata::write_timeline(strata::read_timeline(in, "timeline"), out);
    return out.str();
  });
}
