// SPDX-License-Identifier: Apache-2.0
// Inside of lowering: the table of the rows that a rank holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/problem/token_span.hpp"

namespace strata::detail {

/// A run of rows that lie in one group of buffers back to back.
struct HeldRun {
  std::int32_t group = 0;
  std::int64_t row = 0;
  TokenSpan span;
  bool operator==(const HeldRun&) const = default;

  /// Whether `next` goes on where this run ends, in the document and in the buffers.
  bool continues_in(const HeldRun& next) const {
    return next.span.document == span.document && next.span.begin == span.end && next.group == group &&
           next.row == row + span.length();
  }
};

/// Which rows of documents a rank holds, and where: pieces by the head range they were received with. The
/// pieces of one head range share no rows.
class HeldRows {
 public:
  void add(HeadRange heads, const TokenSpan& span, std::int32_t group, std::int64_t row);
  /// Sorts in what was added since the last call; needed before rows are looked up. n pieces take O(n log^2
  /// n) over all calls, however many there are, and O(n log n) when there is one.
  void seal();
  /// Appends the runs that make up `span` for `heads`, in token order, each as long as possible.
  /// STRATA_CHECKs that every row is held.
  void resolve(const TokenSpan& span, HeadRange heads, std::vector<HeldRun>& runs) const;
  /// The same for the rows of `span` that are held; the others are left out. Only pieces that have all of
  /// `heads` serve.
  void find_held(const TokenSpan& span, HeadRange heads, std::vector<HeldRun>& runs) const;
  /// `heads` cut at the borders of what was received, so that `resolve` can serve each part from one head
  /// range.
  void head_parts(HeadRange heads, std::vector<HeadRange>& parts) const;

 private:
  /// Pieces [begin, end) of a variant, sorted by span and joined where they continue each other.
  struct Level {
    std::size_t begin = 0;
    std::size_t end = 0;
    mutable std::size_t found = 0;  ///< where the last search ended: the next one is usually close

    std::size_t size() const { return end - begin; }
  };
  /// The pieces of one head range. They lie in levels, each at least twice as long as the next, so that a new
  /// piece is merged with few others (Bentley and Saxe, Decomposable searching problems, J. Algorithms 1,
  /// 1980). Pieces behind the last level are not sealed yet.
  struct Variant {
    HeadRange heads;
    std::vector<HeldRun> pieces;
    std::vector<Level> levels;

    std::size_t sealed() const { return levels.empty() ? 0 : levels.back().end; }
    void seal();
    void merge_last_two();
    void append_held(const TokenSpan& span, std::vector<HeldRun>& runs) const;
    /// The first piece of the level that ends after the first row of `span`.
    std::size_t find(const Level& level, const TokenSpan& span) const;
  };
  /// Heads from `begin` to where the next section begins, and which variants have them, ascending.
  struct Section {
    std::int32_t begin = 0;
    std::vector<std::uint32_t> variants;
  };

  Variant& variant_of(HeadRange heads);
  /// The index of the section behind the one that `head` lies in; 0 when `head` lies before all sections.
  std::size_t section_after(std::int32_t head) const;
  /// The index of the section that begins at `border`, which is made when there is none.
  std::size_t cut_sections(std::int32_t border);

  std::vector<Variant> variants_;
  std::vector<Section> sections_;        ///< sorted by begin
  std::vector<std::uint32_t> unsealed_;  ///< variants with new pieces
};

}  // namespace strata::detail
