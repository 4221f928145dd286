// SPDX-License-Identifier: Apache-2.0
// Fuzzes the shorthands of the command line, a word a line: FILE:LINE, sizes, strategies, named machines and
// models. Every reader gets every word.
#include <string>

#include "core/base/check.hpp"
#include "core/problem/batch_json.hpp"
#include "core/problem/model_shape.hpp"
#include "core/problem/topology.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/fuzz/fuzz_input.hpp"
#include "tools/inputs.hpp"

namespace {

template <typename Read>
void try_word(const Read& read) {
  try {
    read();
  } catch (const strata::InputError&) {
    return;
  }
}

void try_readers(const std::string& word) {
  try_word([&] {
    const strata::BatchReference place = strata::parse_batch_reference(word);
    const bool whole = place.line == 0 && place.path == word;
    STRATA_CHECK(whole || (place.line > 0 && word.starts_with(place.path + ":")), "'{}' became '{}' and {}",
                 word, place.path, place.line);
  });
  try_word(
      [&] { STRATA_CHECK(strata::tools::parse_bytes(word, "size").count > 0, "'{}' is no size", word); });
  try_word([&] { strata::strategies_named({word}); });
  try_word([&] { validate(strata::named_topology(word), "topology"); });
  try_word([&] { validate(strata::named_model(word), "model"); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::istringstream lines(std::string(reinterpret_cast<const char*>(data), size));
  for (std::string word; std::getline(lines, word);) try_readers(word);
  return 0;
}
