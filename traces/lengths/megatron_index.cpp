// SPDX-License-Identifier: Apache-2.0
#include "traces/lengths/megatron_index.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "core/base/check.hpp"
#include "traces/lengths/line_reader.hpp"
#include "traces/lengths/little_endian.hpp"

namespace strata {

namespace {

constexpr std::string_view kMagic("MMIDIDX\0\0", 9);
constexpr std::int64_t kHeaderBytes = 34;
/// A sequence costs 12 bytes, so no file that fits a 63-bit size has more.
constexpr std::uint64_t kMostEntries = std::uint64_t{1} << 58;

struct TokenType {
  std::string_view name;
  std::int64_t bytes;
};
/// By code; the codes are part of the format.
constexpr std::array<TokenType, 9> kTokenTypes = {{{"", 0},
                                                   {"uint8", 1},
                                                   {"int8", 1},
                                                   {"int16", 2},
                                                   {"int32", 4},
                                                   {"int64", 8},
                                                   {"float64", 8},
                                                   {"float32", 4},
                                                   {"uint16", 2}}};

/// One array of the file, read in pieces through a stream that other cursors share.
template <typename Stored>
class ArrayCursor {
 public:
  ArrayCursor(std::istream& in, const std::string& name, std::int64_t offset, std::int64_t count)
      : in_(in), name_(name), offset_(offset), left_(count) {}

  /// The next element; the caller asks for no more than there are.
  Stored next() {
    if (used_ == held_) refill();
    const Stored value =
        load_little_endian<Stored>(bytes_.data() + static_cast<std::size_t>(used_) * sizeof(Stored));
    ++used_;
    return value;
  }

 private:
  static constexpr std::int64_t kItems = 1 << 13;

  void refill() {
    held_ = std::min(kItems, left_);
    STRATA_CHECK(held_ > 0, "an array of an .idx is read within its {} elements left", left_);
    const auto size = static_cast<std::streamsize>(held_ * std::int64_t{sizeof(Stored)});
    in_.seekg(offset_);
    in_.read(bytes_.data(), size);
    if (in_.gcount() != size) throw InputError(name_, "a read error", "a readable file");
    offset_ += size;
    left_ -= held_;
    used_ = 0;
  }

  std::istream& in_;
  const std::string& name_;
  std::int64_t offset_;
  std::int64_t left_;
  std::int64_t held_ = 0, used_ = 0;
  std::array<char, static_cast<std::size_t>(kItems) * sizeof(Stored)> bytes_;
};

std::int64_t count_at(const char* bytes, const std::string& name, std::string_view what) {
  const auto count = load_little_endian<std::uint64_t>(bytes);
  if (count > kMostEntries) {
    throw InputError(name, fmt::format("{} {}", count, what), fmt::format("at most {}", kMostEntries));
  }
  return static_cast<std::int64_t>(count);
}

MegatronIndexSummary read_header(std::istream& in, const std::string& name) {
  const std::int64_t size = remaining_bytes(in, name);
  std::array<char, static_cast<std::size_t>(kHeaderBytes)> header;
  in.read(header.data(), kHeaderBytes);
  const std::string_view seen(header.data(), static_cast<std::size_t>(in.gcount()));
  if (!is_megatron_index(seen)) {
    throw InputError(name,
                     fmt::format("a file that begins {}", quoted_excerpt(seen.substr(0, kMagic.size()))),
                     "the .idx magic \"MMIDIDX\\x00\\x00\"");
  }
  if (static_cast<std::int64_t>(seen.size()) < kHeaderBytes) {
    throw InputError(name, fmt::format("{} bytes", size),
                     fmt::format("an .idx header of {} bytes", kHeaderBytes));
  }
  if (const auto version = load_little_endian<std::uint64_t>(header.data() + 9); version != 1) {
    throw InputError(name, fmt::format(".idx version {}", version), "version 1");
  }
  const auto code = static_cast<unsigned char>(header[17]);
  if (code == 0 || code >= kTokenTypes.size()) {
    throw InputError(name, fmt::format("token type code {}", code), "1 to 8");
  }
  MegatronIndexSummary summary;
  summary.token_type = kTokenTypes[code].name;
  summary.bytes_per_token = kTokenTypes[code].bytes;
  summary.sequence_count = count_at(header.data() + 18, name, "sequences");
  const std::int64_t entries = count_at(header.data() + 26, name, "document index entries");
  if (summary.sequence_count == 0) throw InputError(name, "0 sequences", "at least one");
  if (entries < 2 || entries > summary.sequence_count + 1) {
    throw InputError(
        name, fmt::format("{} document index entries for {} sequences", entries, summary.sequence_count),
        fmt::format("2 to {}", summary.sequence_count + 1));
  }
  summary.document_count = entries - 1;
  const std::int64_t plain = kHeaderBytes + 12 * summary.sequence_count + 8 * entries;
  if (size != plain && size != plain + summary.sequence_count) {
    throw InputError(name,
                     fmt::format("{} bytes for {} sequences and {} document index entries", size,
                                 summary.sequence_count, entries),
                     fmt::format("{} bytes, or {} with modes", plain, plain + summary.sequence_count));
  }
  summary.has_modes = size != plain;
  return summary;
}

}  // namespace

bool is_megatron_index(std::string_view prefix) { return prefix.starts_with(kMagic); }

MegatronIndexSummary scan_megatron_index(std::istream& in, const std::string& name,
                                         const SequenceVisitor& visit) {
  MegatronIndexSummary summary = read_header(in, name);
  const std::int64_t sequences = summary.sequence_count;
  ArrayCursor<std::int32_t> lengths(in, name, kHeaderBytes, sequences);
  ArrayCursor<std::int64_t> offsets(in, name, kHeaderBytes + 4 * sequences, sequences);
  ArrayCursor<std::int64_t> documents(in, name, kHeaderBytes + 12 * sequences, summary.document_count + 1);

  std::int64_t expected_offset = 0;
  std::int64_t entry = 0;
  std::int64_t next_document = documents.next();
  if (next_document != 0) {
    throw InputError(name, fmt::format("document index entry 0 = {}", next_document), "0");
  }
  for (std::int64_t sequence = 0; sequence < sequences; ++sequence) {
    const std::int64_t tokens = lengths.next();
    if (tokens < 1) {
      throw InputError(name, fmt::format("sequence {} of {} tokens", sequence, tokens), "at least 1 token");
    }
    const std::int64_t offset = offsets.next();
    if (offset != expected_offset) {
      throw InputError(
          name, fmt::format("sequence {} at byte {} of the .bin", sequence, offset),
          fmt::format("byte {}, where the {} tokens before it end", expected_offset, summary.token_count));
    }
    if (tokens > (std::numeric_limits<std::int64_t>::max() - expected_offset) / summary.bytes_per_token) {
      throw InputError(name, fmt::format("more than 2^63 bytes of tokens at sequence {}", sequence), "fewer");
    }
    expected_offset += tokens * summary.bytes_per_token;
    const bool begins_document = sequence == next_document;
    if (begins_document) {
      next_document = documents.next();
      ++entry;
      const bool last = entry == summary.document_count;
      if (last ? next_document != sequences : next_document <= sequence || next_document >= sequences) {
        throw InputError(name, fmt::format("document index entry {} = {}", entry, next_document),
                         last ? fmt::format("{}, the number of sequences", sequences)
                              : fmt::format("{} to {}", sequence + 1, sequences - 1));
      }
    }
    summary.token_count += tokens;
    visit(tokens, begins_document);
  }
  return summary;
}

MegatronIndex read_megatron_index(std::istream& in, const std::string& name) {
  MegatronIndex index;
  index.summary = scan_megatron_index(in, name, [&](std::int64_t tokens, bool begins_document) {
    index.sequence_lengths.push_back(static_cast<std::int32_t>(tokens));
    if (begins_document) {
      index.document_lengths.push_back(tokens);
    } else {
      index.document_lengths.back() += tokens;
    }
  });
  return index;
}

MegatronIndex read_megatron_index(const std::filesystem::path& path) {
  std::ifstream in = open_input(path);
  return read_megatron_index(in, path.string());
}

}  // namespace strata
