// SPDX-License-Identifier: Apache-2.0
// Sorts records by a token row that spreads over a document, as the rows of pieces and tasks do. Every few
// rows have a bucket, and std::sort sorts each bucket. In the worst case all records lie in one bucket.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace strata {

/// Reusable scratch of the sort.
template <typename Record>
class BucketSort {
 public:
  /// Sorts by `less`, whose first criterion is row_of(record) ascending. Rows outside [0, length) only cost
  /// time.
  template <typename RowOf, typename Less>
  void sort(std::span<Record> records, std::int64_t length, RowOf row_of, Less less) {
    constexpr std::size_t kSmall = 16;  // what std::sort does by insertion
    if (records.size() <= kSmall) {
      std::sort(records.begin(), records.end(), less);
      return;
    }
    if (std::is_sorted(records.begin(), records.end(), less)) return;
    int shift = 0;
    while ((length >> shift) > static_cast<std::int64_t>(records.size())) ++shift;
    const auto bucket = [&](const Record& record) {
      return static_cast<std::size_t>(std::clamp<std::int64_t>(row_of(record), 0, length) >> shift);
    };
    ends_.assign(static_cast<std::size_t>(length >> shift) + 1, 0);
    for (const Record& record : records) ++ends_[bucket(record)];
    std::uint32_t before = 0;
    for (std::uint32_t& end : ends_) {
      const std::uint32_t count = end;
      end = before;
      before += count;
    }
    scratch_.assign(records.begin(), records.end());
    for (const Record& record : scratch_) records[ends_[bucket(record)]++] = record;
    std::size_t first = 0;
    for (const std::uint32_t end : ends_) {
      if (end > first + 1) {
        std::sort(records.begin() + static_cast<std::ptrdiff_t>(first),
                  records.begin() + static_cast<std::ptrdiff_t>(end), less);
      }
      first = end;
    }
  }

 private:
  std::vector<std::uint32_t> ends_;  // [bucket] its end; while records are placed, where its next one goes
  std::vector<Record> scratch_;
};

}  // namespace strata
