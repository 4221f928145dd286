// SPDX-License-Identifier: Apache-2.0
// A damaged file gives lengths or an InputError, nothing else: bytes of good files of every format are
// changed, cut out, doubled and swapped at random. Under the sanitizers the same test shows that nothing is
// read out of bounds.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>
#include <sstream>

#include "core/base/check.hpp"
#include "tests/traces/lengths/made_files.hpp"
#include "traces/lengths/batch_keys.hpp"
#include "traces/lengths/index_cache.hpp"
#include "traces/lengths/length_source.hpp"
#include "traces/lengths/npy.hpp"
#include "traces/lengths/steps.hpp"

namespace strata {
namespace {

std::vector<std::string> good_files() {
  test::MadeIndex index;
  index.lengths = {5, 7, 9, 300};
  index.documents = {0, 2, 4};
  test::MadeIndex modes = index;
  modes.modes = true;
  return {
      index.bytes(),
      modes.bytes(),
      test::made_npy({3, 4, 5}),
      test::made_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }", "123456", 2),
      "# lengths\n12\n7\n300\n",
      "id,input_length,output_length\n\"a\",3,4\nb,5,6\n",
      "[3, 4, 5]\n",
      "{\"length\": 3}\n{\"length\": 4}\n",
      "{\"batch\":0,\"seqlens\":[3,4]}\n{\"batch\":1,\"seqlens\":[7]}\n",
      "{\"step\":0,\"packs\":[[3,4],[5]]}\n",
      "{\"seq_lengths\":[3,4]}\n",
      "{\"cu_seqlens_q\":[0,9,17],\"cu_seqlens_q_padded\":[0,12,20],\"max_seqlen_q\":12}\n",
      "{\"input_ids\":[1,2,3,4],\"position_ids\":[0,1,0,1],\"attention_mask\":[1,1,2,2],\"doc_ids\":[7,7,8,8]"
      "}\n",
      "{\"input_ids\":[1,2,3,4],\"seq_start_id\":[0,2],\"loss_mask\":[1,1,1,1],\"count\":2}\n",
      "{\"cu_seqlens\":[0,3,5,-1],\"cu_seqlens_argmin\":3,\"dp_rank\":0,\"measured_ms\":1.5,\"step\":1}\n",
      "step,length,count,dp_rank\n0,5,3,0\n1,6,2,1\n"};
}

std::string damaged(std::string text) {
  const int changes = *rc::gen::inRange(1, 5);
  for (int i = 0; i < changes && !text.empty(); ++i) {
    const auto at = *rc::gen::inRange<std::size_t>(0, text.size());
    const auto length = *rc::gen::inRange<std::size_t>(1, 9);
    const auto byte = static_cast<char>(*rc::gen::inRange(0, 256));
    switch (*rc::gen::inRange(0, 5)) {
      case 0:
        text[at] = byte;
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(at, text.substr(at, length));
        break;
      case 3:
        text.insert(at, length, byte);
        break;
      default:
        text.resize(at);
        break;
    }
  }
  return text;
}

/// Whether `read` ends as it may: with a value or an InputError.
template <typename Read>
bool ends_well(const Read& read) {
  try {
    read();
  } catch (const InputError& error) {
    return std::string_view(error.what()).find('\n') == std::string_view::npos;
  }
  return true;
}

RC_GTEST_PROP(DamagedFiles, GiveLengthsOrOneLineOfError, ()) {
  const std::string text = damaged(*rc::gen::elementOf(good_files()));
  RC_ASSERT(ends_well([&] {
    std::istringstream in(text);
    const LengthSource source = read_length_source(in, "data");
    RC_ASSERT(!source.lengths.empty());
    for (const std::int64_t length : source.lengths) RC_ASSERT(length >= 1 && length <= 2147483647);
  }));
  RC_ASSERT(ends_well([&] {
    std::istringstream in(text);
    read_npy_integers(in, "data", 2);
  }));
}

/// Any JSON value that a row may have under any key.
std::string any_value() {
  static const std::vector<std::string> kNumbers = {
      "0", "1", "2", "3", "5", "-1", "-7", "1.5", "1e9", "2147483647", "9223372036854775807", "null"};
  const auto number = [] { return *rc::gen::elementOf(kNumbers); };
  const auto list = [&] {
    std::string text = "[";
    const int size = *rc::gen::inRange(0, 7);
    for (int i = 0; i < size; ++i) {
      const std::string item =
          *rc::gen::inRange(0, 6) == 0 ? number() : std::to_string(*rc::gen::inRange(0, 5) + i);
      text += (i == 0 ? "" : ",") + item;
    }
    return text + "]";
  };
  switch (*rc::gen::inRange(0, 8)) {
    case 0:
      return "\"text\"";
    case 1:
      return "[" + list() + "]";
    case 2:
      return "{\"count\":" + number() + "}";
    case 3:
    case 4:
      return number();
    default:
      return list();
  }
}

RC_GTEST_PROP(DamagedFiles, RowsOfAnyKeysAndValuesGiveLengthsOrOneLineOfError, ()) {
  std::string text;
  const int rows = *rc::gen::inRange(1, 4);
  for (int row = 0; row < rows; ++row) {
    std::set<std::string> keys;
    const int count = *rc::gen::inRange(1, 6);
    for (int i = 0; i < count; ++i) {
      const auto key = *rc::gen::inRange<std::size_t>(0, batch_keys().size());
      keys.emplace(batch_keys()[key].name);
    }
    std::string members;
    for (const std::string& key : keys)
      members += (members.empty() ? "\"" : ",\"") + key + "\":" + any_value();
    text += "{" + members + "}\n";
  }
  RC_ASSERT(ends_well([&] {
    std::istringstream in(text);
    const LengthSource source = read_length_source(in, "data");
    RC_ASSERT(!source.lengths.empty());
    for (const std::int64_t length : source.lengths) RC_ASSERT(length >= 1 && length <= 2147483647);
    RC_ASSERT(!form_steps(source, {}, "data").steps.empty());
  }));
}

RC_GTEST_PROP(DamagedFiles, AnIndexCacheOfAnyNumbersGivesPacksOrOneLineOfError, ()) {
  MegatronIndex index;
  index.sequence_lengths = {5, 4, 6};
  IndexCache cache{"run", {2, 0, 1}, {0, 0, 1, 1, 2, 3}, {1, 0}};
  for (auto* numbers : {&cache.document_index, &cache.sample_index, &cache.shuffle_index}) {
    if (*rc::gen::inRange(0, 3) == 0) continue;
    const auto at = *rc::gen::inRange<std::size_t>(0, numbers->size());
    (*numbers)[at] =
        *rc::gen::oneOf(rc::gen::inRange<std::int64_t>(-2, 8), rc::gen::arbitrary<std::int64_t>());
  }
  RC_ASSERT(ends_well([&] {
    scan_packs(index, cache, [](const RecordedPack& pack) {
      for (const std::int64_t piece : pack.pieces) RC_ASSERT(piece >= 1 && piece <= 6);
    });
  }));
}

}  // namespace
}  // namespace strata
