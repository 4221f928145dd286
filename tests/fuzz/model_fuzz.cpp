// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of model files.
#include "core/problem/model_json.hpp"
#include "tests/fuzz/fuzz_input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return strata::fuzz::try_input(
      data, size, [](std::istream& in) { return strata::to_json(strata::read_model(in, "model")); });
}
