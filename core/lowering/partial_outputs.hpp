// SPDX-License-Identifier: Apache-2.0
// Outputs that come home, finished or in parts, and how they become the rank's own output. Inside of
// lowering.
#pragma once

#include <cstdint>
#include <vector>

#include "core/lowering/rank_rows.hpp"
#include "core/lowering/step_slices.hpp"

namespace strata::detail {

class PartialOutputs {
 public:
  explicit PartialOutputs(RankRows& rows) : rows_(rows) {}
  /// Rows of `span` and `heads` that arrive in `step`, with their lse.
  void add(const TokenSpan& span, HeadRange heads, std::int32_t step, std::int32_t source,
           const Slice& place);
  /// Merges or copies what has come into the rank's output and lse.
  void emit_result();

 private:
  struct Part {
    TokenSpan span;
    HeadRange heads;
    std::int32_t step = 0, source = 0;
    std::int32_t out = 0, lse = 0;
    std::int64_t row = 0;
  };

  std::vector<MergeRange> merge_ranges();
  /// Appends the ranges of one of the rank's spans, whose first row is `base`. `parts` come in the order of
  /// sums.
  void append_ranges(const TokenSpan& span, std::int64_t base, const std::vector<const Part*>& parts,
                     std::vector<MergeRange>& ranges) const;
  CopyRows copies() const;

  RankRows& rows_;
  std::vector<Part> parts_;
};

}  // namespace strata::detail
