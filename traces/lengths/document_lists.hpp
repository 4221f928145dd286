// SPDX-License-Identifier: Apache-2.0
// The ways in which a list of numbers says where the documents of a pack are, each turned into tokens per
// document: offsets, starts, positions and document numbers. `where` stands for the list in messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace strata {

/// How a list without a telling name is read.
enum class LengthReading {
  automatic,  ///< as lengths, refused where it could as well be offsets or positions
  lengths,
  offsets,
  positions
};
/// "lengths", "offsets" or "positions"; empty: automatic. InputError otherwise, naming the option.
LengthReading parse_length_reading(const std::string& text);

struct DocumentList {
  std::vector<std::int64_t> documents;  ///< tokens; a document of 0 tokens is kept
  std::int64_t padding = 0;             ///< tokens of the list that belong to no document
};

/// `values` without what fills a buffer of fixed size. That is a trailing run of one negative value (-1,
/// -1000), or zeros behind a value that is not zero.
std::span<const std::int64_t> without_fill(std::span<const std::int64_t> values);

/// Takes lengths as they are. Fill at the end is dropped. InputError for a negative length.
DocumentList documents_of_lengths(std::span<const std::int64_t> lengths, const std::string& where);
/// Takes the differences of offsets. Fill at the end and a repeated last value are dropped. With `from_zero`
/// the first offset must be 0; otherwise a missing 0 is added. InputError for offsets that fall or are below
/// 0.
DocumentList documents_of_offsets(std::span<const std::int64_t> offsets, bool from_zero,
                                  const std::string& where);
/// Each document ends where the next begins, the last at `row_tokens`. InputError for starts that do not rise
/// from 0 or lie beyond the row.
DocumentList documents_of_starts(std::span<const std::int64_t> starts, std::int64_t row_tokens,
                                 const std::string& where);
/// A document begins at the first position and wherever positions restart. InputError for a position that
/// neither follows the one before nor restarts at the least one. InputError for several restarts at the end,
/// which may be padding, unless with `padding_known` the caller has taken it away.
DocumentList documents_of_positions(std::span<const std::int64_t> positions, bool padding_known,
                                    const std::string& where);
/// Takes each run of equal numbers as a document. Negative numbers are padding, and so is 0 at the end, or
/// (`zero_pads`) anywhere. InputError for a number that returns after another and for padding inside the row.
DocumentList documents_of_numbers(std::span<const std::int64_t> numbers, bool zero_pads,
                                  const std::string& where);

/// The two readings of document numbers whose first that is not negative is 0. Some programs count documents
/// from 0, and others pad with 0. Only something else tells the two apart.
struct ZeroReadings {
  std::size_t begin = 0, end = 0;               ///< where the leading zeros are
  std::vector<std::int64_t> counted_from_zero;  ///< tokens of every run of equal numbers, 0 among them
  std::vector<std::int64_t> zero_pads;          ///< the same without the runs of 0
};
/// Nothing where the numbers do not begin with 0.
std::optional<ZeroReadings> zero_readings(std::span<const std::int64_t> numbers);
/// Whether positions rise by 1 within every run of equal numbers from `least` on, and not over the end of a
/// run.
bool positions_follow_numbers(std::span<const std::int64_t> positions, std::span<const std::int64_t> numbers,
                              std::int64_t least);

/// The guard against offsets or positions taken for lengths. A list is refused, naming both readings and the
/// option, when one of these holds:
/// - it begins with 0 and does not fall (at least 2 numbers);
/// - every number is one more than the one before or equals the first, which is 0 or 1 (at least 4 numbers,
///   one rise);
/// - it rises strictly (at least 4 numbers: random lengths do so once in 24, then in 120, ...).
///
/// With `named` the key says lengths, so that only the first of these makes the list doubtful.
void refuse_doubtful_lengths(std::span<const std::int64_t> values, bool named, const std::string& where);

/// Reads a list of numbers as `reading` says; automatic refuses what is doubtful.
DocumentList read_documents(std::span<const std::int64_t> values, LengthReading reading, bool named,
                            const std::string& where);

}  // namespace strata
