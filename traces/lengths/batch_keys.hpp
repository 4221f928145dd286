// SPDX-License-Identifier: Apache-2.0
// What the keys of recorded batches mean, for every format that has keys: JSON, JSON lines and CSV. This
// table is the one place where a key is known. A key is used, or refused by name, or harmless. A name that is
// not listed but looks as if it carried borders, padding or ranks is refused too, because a layout made
// without it would let documents attend to each other.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace strata {

enum class KeyMeaning {
  length,          ///< tokens: of one document (a number), or of every document of a pack (a list)
  pair,            ///< a part of a length; the two are added
  free_documents,  ///< tokens of documents that may be packed anywhere
  packs,
  total,           ///< tokens of the row: checked, no length by itself
  documents,       ///< Strata's own form of a step
  offsets,         ///< where each document of a pack begins, and the end of the last
  real_offsets,    ///< the same; `offsets` beside it are padded
  padded_offsets,  ///< with the padding behind each document
  padded_lengths,  ///< tokens of every document with its padding
  fill_begin,      ///< from which entry on offsets are only fill
  longest,         ///< at least the tokens of the longest document
  starts,          ///< where each document of a pack begins
  positions,       ///< of every token in its document
  numbers,         ///< of every token: the number of its document; trailing 0 is padding
  masked_numbers,  ///< the same; 0 is padding anywhere, and only 0 and 1 are a mask
  labels,          ///< a name of every document, or the number of every token's document
  tokens,          ///< the tokens themselves: only how many there are counts
  token_flags,     ///< something of every token: only how many there are is checked
  step,            ///< number of the training step
  row,             ///< number of the row within its step
  data_rank,       ///< which data-parallel rank had the row
  measured,        ///< milliseconds
  copies,          ///< how many documents have the length
  document_count,  ///< of a pack, or of a histogram: checked where the documents are known
  parts,           ///< tokens of a part of each document, nothing new beside whole lengths
  harmless,
  refused
};
enum class KeyTreatment { used, refused, harmless };

struct BatchKey {
  std::string_view name;
  KeyMeaning meaning = KeyMeaning::harmless;
  std::string_view why = {};  ///< of a refused key: what it carries and what helps
  KeyTreatment treatment() const;
};

/// Every key that is known, by meaning.
std::span<const BatchKey> batch_keys();
/// The entry of a name, whatever its case; nullptr when it is not listed.
const BatchKey* find_batch_key(std::string_view name);
/// Whether a name that is not listed may carry borders, padding, steps or ranks. `is_list` says that its
/// value is a list.
bool looks_meaningful(std::string_view name, bool is_list);

/// Throws the InputError for a key at `where` that is refused or looks_meaningful. `outer` is the key of the
/// row that the key is inside, which is what a user can leave out; empty: the key itself.
[[noreturn]] void refuse_key(const std::string& where, std::string_view name, std::string_view outer = {});

/// Whether a text is a list written out: "[2,3]", "2 3".
bool is_list_text(std::string_view text);
/// The integers of such a list; none when it holds anything else.
std::optional<std::vector<std::int64_t>> numbers_in_text(std::string_view text);
/// The documents that numbers of an unknown meaning would make of `tokens` tokens: their lengths if that is
/// the sum, or what is between them if they rise to it. None when they are fewer than two or fit neither.
std::optional<std::vector<std::int64_t>> documents_spelled(const std::vector<std::int64_t>& numbers,
                                                           std::int64_t tokens);

}  // namespace strata
