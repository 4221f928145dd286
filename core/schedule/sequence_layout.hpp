// SPDX-License-Identifier: Apache-2.0
// Placement: which rank owns which tokens of a wave. Every token has exactly one owner, and a rank's local
// tensors hold its spans back to back in the order given here (sorted by document, then begin).
#pragma once

#include <cstdint>
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

/// The owners of every document of a wave, sorted by begin, found by document number.
class OwnerTable {
 public:
  /// `layout` need not be valid: gaps and overlaps are kept as they are and show up in `of`.
  explicit OwnerTable(const SequenceLayout& layout);
  /// Pieces of `document` sorted by begin; empty when nothing is placed.
  const std::vector<OwnedSpan>& of(std::int32_t document) const;
  /// First document number covered by the table and one past the last.
  std::int32_t first_document() const { return first_; }
  std::int32_t end_document() const { return first_ + static_cast<std::int32_t>(pieces_.size()); }
  /// Index in `of(document)` of the piece that contains `token`, or -1.
  std::int64_t find(std::int32_t document, std::int64_t token) const;

 private:
  std::int32_t first_ = 0;
  std::vector<std::vector<OwnedSpan>> pieces_;
};

}  // namespace strata
