// SPDX-License-Identifier: Apache-2.0
// Damaged Megatron indexes and other binary files through `strata inspect`: the recorded index with single
// bytes changed, cut or extended.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

/// `text` with bytes from `at` replaced.
std::string patched(std::string text, std::size_t at, const std::string& bytes) {
  return text.replace(at, bytes.size(), bytes);
}

struct Damage {
  std::string index, message;
};

TEST(BadIndex, IsRefusedByMagicVersionTypeAndSizes) {
  const std::string good = file_text(sample("codeparrot_content_document.idx"));
  ASSERT_EQ(good.size(), 400042U);
  const std::vector<Damage> damages = {
      {patched(good, 3, "X"),
       "found a file that begins \"MMIXIDX\\x00\\x00\", expected the .idx magic \"MMIDIDX\\x00\\x00\""},
      {patched(good, 9, "\x09"), "found .idx version 9, expected version 1"},
      {patched(good, 17, "\x63"), "found token type code 99, expected 1 to 8"},
      {patched(good, 18, "\x63"),
       "found 400042 bytes for 20067 sequences and 20001 document index entries, expected 400846 bytes, or "
       "420913 "
       "with modes"},
      {patched(good, 18, std::string(8, '\xff')),
       "found 18446744073709551615 sequences, expected at most 288230376151711744"},
      {patched(good, 26, "\x63\x63"),
       "found 25443 document index entries for 20000 sequences, expected 2 to 20001"},
      {patched(good, 34, std::string(4, '\xff')), "found sequence 0 of -1 tokens, expected at least 1 token"},
      {good.substr(0, 20), "found 20 bytes, expected an .idx header of 34 bytes"},
      {good.substr(0, 100'000),
       "found 100000 bytes for 20000 sequences and 20001 document index entries, expected 400042 bytes, or "
       "420042 "
       "with modes"},
      {good + "more",
       "found 400046 bytes for 20000 sequences and 20001 document index entries, expected 400042 bytes, or "
       "420042 "
       "with modes"},
  };
  const Workspace work;
  for (const Damage& damage : damages) {
    work.write("x.idx", damage.index);
    for (const char* command : {"inspect x.idx", "inspect x.idx --json"}) {
      const Finished finished = work.expect(2, command);
      EXPECT_EQ(finished.err, "strata: x.idx: " + damage.message + "\n");
      EXPECT_EQ(finished.out, "");
    }
  }
}

TEST(BadIndex, MissingAndForeignFilesAreNamedForWhatTheyAre) {
  const Workspace work;
  work.write("a.gz", "\x1f\x8b\x08 and more");
  work.write("a.parquet", "PAR1 and more");
  work.write("empty.txt", "");
  work.write("words.txt", "one\ntwo\n");
  const std::string any = ", expected lengths as text, CSV, JSON, JSON lines, .npy or .idx ";
  const std::vector<std::pair<std::string, std::string>> files = {
      {"no.idx", "no.idx: found no such file, expected a readable file"},
      {"no.txt", "no.txt: found no such file, expected a readable file"},
      {".", ".: found a folder, expected a readable file"},
      {"a.gz", "a.gz: found a gzip archive" + any + "(unpack it first)"},
      {"a.parquet",
       "a.parquet: found a Parquet file" + any + "(export its length column as text, CSV or .npy)"},
      {"empty.txt", "empty.txt: found an empty file, expected lengths"},
  };
  for (const auto& [file, message] : files) {
    EXPECT_EQ(work.expect(2, "inspect " + file).err, "strata: " + message + "\n");
  }
  EXPECT_EQ(work.expect(2, "inspect words.txt").err.rfind("strata: words.txt", 0), 0U);
}

}  // namespace
}  // namespace strata::test
