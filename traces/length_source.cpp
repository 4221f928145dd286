// SPDX-License-Identifier: Apache-2.0
#include "traces/length_source.hpp"

#include <fmt/format.h>

#include <array>
#include <sstream>
#include <string_view>

#include "core/check.hpp"
#include "core/counts.hpp"
#include "traces/length_formats.hpp"
#include "traces/line_reader.hpp"
#include "traces/megatron_index.hpp"
#include "traces/npy.hpp"

namespace strata {

namespace {

struct ForeignFormat {
  std::string_view magic;
  std::string_view found;
  std::string_view advice;
};
/// Files that people try, with what helps them.
constexpr std::array<ForeignFormat, 5> kForeignFormats = {{
    {"\x1f\x8b", "a gzip file", "an unpacked file"},
    {"PK\x03\x04", "a zip or .npz file", "a single .npy, text or JSON file"},
    {"PAR1", "a Parquet file", "its length column exported as text, CSV or .npy"},
    {"ARROW1", "an Arrow file", "its length column exported as text, CSV or .npy"},
    {"\x80\x02", "a Python pickle", "the lengths exported as text, CSV or .npy"},
}};

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

void check_range(std::int64_t tokens, std::int64_t item, const std::string& name) {
  if (tokens < 1 || tokens > kLongestDocument) {
    throw InputError(fmt::format("{}: item {}", name, item), fmt::to_string(tokens),
                     fmt::format("a length, an integer from 1 to {}", kLongestDocument));
  }
}

LengthSource read_npy_lengths(std::istream& in, const std::string& name) {
  NpyIntegers array = read_npy_integers(in, name, 1);
  for (std::size_t i = 0; i < array.values.size(); ++i) {
    check_range(array.values[i], static_cast<std::int64_t>(i), name);
  }
  return {fmt::format(".npy array of {}", plain_count(array.values.size(), array.item_type + " item")),
          std::move(array.values),
          {}};
}

LengthSource read_index_lengths(std::istream& in, const std::string& name) {
  MegatronIndex index = read_megatron_index(in, name);
  for (std::size_t i = 0; i < index.document_lengths.size(); ++i) {
    check_range(index.document_lengths[i], static_cast<std::int64_t>(i), name);
  }
  const MegatronIndexSummary& summary = index.summary;
  return {
      fmt::format("Megatron .idx, {} in {} of {} tokens{}", plain_count(summary.document_count, "document"),
                  plain_count(summary.sequence_count, "sequence"), summary.token_type,
                  summary.has_modes ? ", multimodal" : ""),
      std::move(index.document_lengths),
      {}};
}

/// What a pipe brings, which cannot go back to its beginning when its format is known.
std::istringstream whole_pipe(std::istream& in, const std::string& name) {
  constexpr std::size_t kMost = std::size_t{1} << 30;
  std::string text;
  std::array<char, 65536> block;
  while (in.read(block.data(), block.size()) || in.gcount() > 0) {
    text.append(block.data(), static_cast<std::size_t>(in.gcount()));
    if (text.size() > kMost) throw InputError(name, "more than 1 GiB from a pipe", "a file, or less");
  }
  return std::istringstream(std::move(text));
}

LengthSource read_by_content(std::istream& in, const std::string& name) {
  std::array<char, 256> start;
  in.read(start.data(), start.size());
  std::string_view prefix(start.data(), static_cast<std::size_t>(in.gcount()));
  in.clear();
  in.seekg(0);
  if (prefix.empty()) throw InputError(name, "an empty file", "lengths");
  if (is_npy(prefix)) return read_npy_lengths(in, name);
  // Any file that begins like an index is read as one, so that a damaged magic is reported as such.
  if (prefix.starts_with("MMIDIDX")) return read_index_lengths(in, name);
  for (const ForeignFormat& foreign : kForeignFormats) {
    if (prefix.starts_with(foreign.magic)) {
      throw InputError(name, std::string(foreign.found), std::string(foreign.advice));
    }
  }
  if (prefix.starts_with(kByteOrderMark)) {
    prefix.remove_prefix(kByteOrderMark.size());
    in.seekg(static_cast<std::streamoff>(kByteOrderMark.size()));
  }
  const std::size_t first = prefix.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && prefix[first] == '[') return read_json_lengths(in, name);
  if (first != std::string_view::npos && prefix[first] == '{') return read_json_lines_lengths(in, name);
  return read_text_lengths(in, name);
}

}  // namespace

LengthSource read_length_source(std::istream& in, const std::string& name) {
  if (in.tellg() == std::istream::pos_type(-1)) {
    std::istringstream whole = whole_pipe(in, name);
    return read_length_source(whole, name);
  }
  LengthSource source = read_by_content(in, name);
  for (const Batch& batch : source.batches) {
    for (const auto& pack : batch.packs)
      source.lengths.insert(source.lengths.end(), pack.begin(), pack.end());
  }
  if (source.lengths.empty()) throw InputError(name, "no lengths", "at least one");
  return source;
}

LengthSource read_length_source(const std::filesystem::path& path) {
  std::ifstream in = open_input(path);
  if (path.extension() == ".idx") {  // whatever it begins with: the message must be about the magic
    LengthSource source = read_index_lengths(in, path.string());
    return source;
  }
  return read_length_source(in, path.string());
}

}  // namespace strata
