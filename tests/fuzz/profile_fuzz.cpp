// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of cost profiles, those of files and those that plans embed.
#include <iterator>

#include "cost_models/profile/cost_profile.hpp"
#include "tests/fuzz/fuzz_input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return strata::fuzz::try_input(data, size, [](std::istream& in) {
    const std::string text(std::istreambuf_iterator<char>(in), {});
    return strata::profile_text(strata::read_profile(text, "profile"));
  });
}
