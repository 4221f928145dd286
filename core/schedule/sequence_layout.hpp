// SPDX-License-Identifier: Apache-2.0
// Placement: which rank owns which tokens of a wave. Every token has exactly one owner, and a rank's local
// tensors hold its spans back to back in the order given here (sorted by document, then begin).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/problem/token_span.hpp"

namespace strata {

struct SequenceLayout {
  std::vector<std::vector<TokenSpan>> spans;  ///< [rank]
  bool operator==(const SequenceLayout&) const = default;

  std::int32_t rank_count() const { return static_cast<std::int32_t>(spans.size()); }
  std::int64_t token_count(std::int32_t rank) const;
};

/// A piece of a document with its owner.
struct OwnedSpan {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int32_t rank = 0;
  auto operator<=>(const OwnedSpan&) const = default;
};

/// Position of `document` in `documents`, which ascend, or -1 when it is not there. It is found at once where
/// the numbers are consecutive, else by bisection.
std::int64_t position_of(std::span<const std::int32_t> documents, std::int32_t document);

/// The owners of every document of a wave, sorted by begin, found by document number. Its size grows with the
/// pieces, whatever the numbers of the documents are.
class OwnerTable {
 public:
  /// `documents` of the wave ascend and must outlive the table; spans of other documents are left out.
  /// `layout` need not be valid: gaps and overlaps are kept as they are and show up in `of`.
  OwnerTable(const SequenceLayout& layout, std::span<const std::int32_t> documents);
  /// Pieces of `document` sorted by begin; empty when nothing is placed.
  std::span<const OwnedSpan> of(std::int32_t document) const;
  /// Index in `of(document)` of the piece that contains `token`, or -1.
  std::int64_t find(std::int32_t document, std::int64_t token) const;

 private:
  std::span<const std::int32_t> documents_;
  std::vector<std::size_t> offsets_;  // [position of the document], into pieces_; one more at the end
  std::vector<OwnedSpan> pieces_;
};

}  // namespace strata
