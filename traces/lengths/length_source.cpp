// SPDX-License-Identifier: Apache-2.0
#include "traces/lengths/length_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <string_view>

#include "core/base/check.hpp"
#include "core/base/closest_name.hpp"
#include "core/base/counts.hpp"
#include "core/base/foreign_format.hpp"
#include "traces/lengths/length_formats.hpp"
#include "traces/lengths/length_rows.hpp"
#include "traces/lengths/line_reader.hpp"
#include "traces/lengths/megatron_index.hpp"
#include "traces/lengths/npy.hpp"

namespace strata {

namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

void check_length(std::int64_t tokens, std::size_t item, const std::string& name) {
  if (tokens < 1 || tokens > kLongestDocument) {
    throw InputError(fmt::format("{}: item {}", name, item), fmt::to_string(tokens),
                     fmt::format("a length, an integer from 1 to {}", kLongestDocument));
  }
}

LengthSource read_npy_lengths(std::istream& in, const std::string& name, const LengthOptions& options) {
  if (options.line > 0) refuse_line(name, options.line, "an .npy array has no lines");
  NpyIntegers array = read_npy_integers(in, name, 1);
  return plain_list_source(std::move(array.values), options.reading, ".npy array", array.item_type + " item",
                           name);
}

LengthSource read_index_lengths(std::istream& in, const std::string& name, const LengthOptions& options) {
  if (options.line > 0) refuse_line(name, options.line, "a Megatron .idx has no lines");
  if (options.reading != LengthReading::automatic) refuse_needless_reading(name);
  MegatronIndex index = read_megatron_index(in, name);
  for (std::size_t i = 0; i < index.document_lengths.size(); ++i)
    check_length(index.document_lengths[i], i, name);
  const MegatronIndexSummary& summary = index.summary;
  LengthSource source;
  source.description =
      fmt::format("Megatron .idx, {} in {} of {} tokens{}", plain_count(summary.document_count, "document"),
                  plain_count(summary.sequence_count, "sequence"), summary.token_type,
                  summary.has_modes ? ", multimodal" : "");
  source.lengths = std::move(index.document_lengths);
  return source;
}

InputError foreign_error(const std::string& name, const ForeignFormat& foreign) {
  return {name, foreign.found,
          fmt::format("lengths as text, CSV, JSON, JSON lines, .npy or .idx ({})", foreign.advice)};
}

bool names_the_first_line(const InputError& error, const std::string& name) {
  const std::string& where = error.where();
  if (where == name || where == name + ":1") return true;
  const std::string first = name + ": line 1";
  return where.starts_with(first) &&
         (where.size() == first.size() || where[first.size()] < '0' || where[first.size()] > '9');
}

/// Megatron's index cache holds numbers of documents, places and a description, under names of its own.
bool is_index_cache(const std::filesystem::path& path) {
  const std::string file = path.filename().string();
  constexpr std::array<std::string_view, 8> kEnds = {
      "_doc_idx.npy",        "_sample_idx.npy",   "_shuffle_idx.npy",   ".dsc",
      "-document_index.npy", "-sample_index.npy", "-shuffle_index.npy", "-description.txt"};
  return std::any_of(kEnds.begin(), kEnds.end(), [&](std::string_view end) { return file.ends_with(end); });
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

LengthSource read_by_content(std::istream& in, const std::string& name, const LengthOptions& options) {
  std::array<char, kForeignPrefix> start;
  in.read(start.data(), start.size());
  std::string_view prefix(start.data(), static_cast<std::size_t>(in.gcount()));
  in.clear();
  in.seekg(0);
  if (prefix.empty()) throw InputError(name, "an empty file", "lengths");
  if (is_npy(prefix)) return read_npy_lengths(in, name, options);
  // Any file that begins like an index is read as one, so that a damaged magic is reported as such.
  if (prefix.starts_with("MMIDIDX")) return read_index_lengths(in, name, options);
  if (const auto foreign = foreign_binary(prefix)) throw foreign_error(name, *foreign);
  if (prefix.starts_with(kByteOrderMark)) {
    prefix.remove_prefix(kByteOrderMark.size());
    in.seekg(static_cast<std::streamoff>(kByteOrderMark.size()));
  }
  const std::string_view kept = prefix;
  const std::size_t first = kept.find_first_not_of(" \t\r\n");
  try {
    if (first != std::string_view::npos && kept[first] == '[') return read_json_lengths(in, name, options);
    if (first != std::string_view::npos && kept[first] == '{')
      return read_json_lines_lengths(in, name, options);
    return read_text_lengths(in, name, options);
  } catch (const InputError& error) {
    // What the file is helps more than its first line; a fault further on is named as it is.
    const auto foreign = foreign_text(kept);
    if (!foreign || !names_the_first_line(error, name)) throw;
    throw foreign_error(name, *foreign);
  }
}

/// A name that is to be ignored and that the file does not have is misspelt, or of another file.
void check_ignored(const LengthSource& source, const std::string& name, const LengthOptions& options) {
  for (const std::string& key : options.ignored_keys) {
    if (source.ignored_keys.count(key) > 0) continue;
    std::vector<std::string_view> known = names_of(source.used_keys);
    known.insert(known.end(), source.unused_keys.begin(), source.unused_keys.end());
    throw InputError("--ignore-keys", quoted_excerpt(key),
                     fmt::format("names that rows of {} have{}", name, did_you_mean(key, known)));
  }
}

}  // namespace

LengthSource plain_list_source(std::vector<std::int64_t> values, LengthReading reading,
                               std::string_view format, std::string_view item, const std::string& name) {
  LengthSource source;
  const DocumentList list = read_documents(values, reading, false, name);
  std::string as;
  if (reading == LengthReading::offsets) as = ", read as offsets of the documents of a pack";
  if (reading == LengthReading::positions) as = ", read as positions in the documents of a pack";
  source.description = fmt::format("{} of {}{}", format, plain_count(values.size(), item), as);
  if (as.empty()) {
    for (std::size_t i = 0; i < values.size(); ++i) check_length(values[i], i, name);
    source.lengths = std::move(values);
    return source;
  }
  RowCollector collector(name);
  LengthRow row;
  row.kind = RowKind::pack;
  row.packs.push_back(list.documents);
  collector.add(std::move(row), name);
  const std::string description = source.description;
  source = std::move(collector).finish();
  source.description = description;
  return source;
}

void refuse_line(const std::string& name, std::int64_t line, std::string_view why) {
  throw InputError(fmt::format("{}:{}", name, line), fmt::format("a line number, but {}", why),
                   "the file without a line number");
}

void check_line(const std::string& name, std::int64_t line, std::int64_t lines) {
  if (line <= lines) return;
  throw InputError(name, plain_count(static_cast<std::size_t>(lines), "line"),
                   fmt::format("a line {}", line));
}

void refuse_needless_reading(const std::string& name) {
  throw InputError("--lengths-are", fmt::format("{}, which says itself what its numbers are", name),
                   "a list without names, or no such option");
}

LengthSource read_length_source(std::istream& in, const std::string& name, const LengthOptions& options) {
  if (in.tellg() == std::istream::pos_type(-1)) {
    std::istringstream whole = whole_pipe(in, name);
    return read_length_source(whole, name, options);
  }
  LengthSource source = read_by_content(in, name, options);
  check_ignored(source, name, options);
  for (const Batch& batch : source.batches) {
    for (const auto& pack : batch.packs)
      source.lengths.insert(source.lengths.end(), pack.begin(), pack.end());
  }
  if (source.lengths.empty()) throw InputError(name, "no lengths", "at least one");
  return source;
}

LengthSource read_length_source(const std::filesystem::path& path, const LengthOptions& options) {
  std::ifstream in = open_input(path);
  if (is_index_cache(path)) {
    throw InputError(path.string(), "a part of Megatron's index cache, which holds no lengths",
                     "the .idx of the data set, or recorded batches");
  }
  // Whatever it begins with: the message must be about the magic.
  if (path.extension() == ".idx") {
    LengthSource source = read_index_lengths(in, path.string(), options);
    check_ignored(source, path.string(), options);
    return source;
  }
  return read_length_source(in, path.string(), options);
}

}  // namespace strata
