// SPDX-License-Identifier: Apache-2.0
#include "tests/support/recorded_packs.hpp"

#include <cstdlib>
#include <fstream>
#include <string>

namespace strata::testing {

std::vector<std::vector<std::int64_t>> recorded_packs() {
  std::ifstream file(std::string(STRATA_SOURCE_DIR) + "/traces/samples/codeparrot_128k_all.jsonl");
  std::vector<std::vector<std::int64_t>> packs;
  for (std::string line; std::getline(file, line);) {
    const std::string key = "\"seqlens\":[";
    const auto at = line.find(key);
    if (at == std::string::npos) continue;
    std::vector<std::int64_t>& pack = packs.emplace_back();
    for (const char* text = line.c_str() + at + key.size(); *text != ']';) {
      char* end = nullptr;
      pack.push_back(std::strtoll(text, &end, 10));
      if (end == text) return {};
      text = *end == ',' ? end + 1 : end;
    }
  }
  return packs;
}

}  // namespace strata::testing
