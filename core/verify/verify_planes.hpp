// SPDX-License-Identifier: Apache-2.0
// Cuts records that carry a range of heads into planes: ranges of heads over which the set of records is the
// same.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "core/problem/token_span.hpp"

namespace strata::detail {

/// Calls visit(heads, std::span<const Record>) for planes that tile [0, head_count), heads ascending, empty
/// planes included, until one returns false. `heads_of` reads a record's heads; `less` orders the records of
/// a plane. When head ranges are equal or disjoint, as they are in practice, a plane is a slice of the sorted
/// records.
template <typename Record, typename HeadsOf, typename Less, typename Visit>
void each_plane(std::vector<Record>& records, std::int32_t head_count, HeadsOf heads_of, Less less,
                Visit visit) {
  const auto by_heads = [&](const Record& a, const Record& b) {
    return heads_of(a) != heads_of(b) ? heads_of(a) < heads_of(b) : less(a, b);
  };
  if (!std::is_sorted(records.begin(), records.end(), by_heads)) {
    std::sort(records.begin(), records.end(), by_heads);
  }
  bool apart = true;
  for (std::size_t i = 1; i < records.size() && apart; ++i) {
    const HeadRange before = heads_of(records[i - 1]);
    apart = before == heads_of(records[i]) || before.end <= heads_of(records[i]).begin;
  }
  if (apart) {
    std::int32_t next_head = 0;
    for (std::size_t i = 0; i < records.size();) {
      const HeadRange heads = heads_of(records[i]);
      const std::size_t first = i;
      while (i < records.size() && heads_of(records[i]) == heads) ++i;
      if (next_head < heads.begin && !visit(HeadRange{next_head, heads.begin}, std::span<const Record>()))
        return;
      if (!visit(heads, std::span<const Record>(records.data() + first, i - first))) return;
      next_head = heads.end;
    }
    if (next_head < head_count) visit(HeadRange{next_head, head_count}, std::span<const Record>());
    return;
  }
  std::vector<std::int32_t> borders{0, head_count};
  for (const Record& record : records) {
    borders.push_back(heads_of(record).begin);
    borders.push_back(heads_of(record).end);
  }
  std::sort(borders.begin(), borders.end());
  borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
  std::sort(records.begin(), records.end(), less);
  std::vector<Record> plane;
  for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
    const HeadRange heads{borders[i], borders[i + 1]};
    plane.clear();
    for (const Record& record : records) {
      if (contains(heads_of(record), heads)) plane.push_back(record);
    }
    if (!visit(heads, std::span<const Record>(plane))) return;
  }
}

}  // namespace strata::detail
