// SPDX-License-Identifier: Apache-2.0
#include "core/schedule/rank_set.hpp"

#include <bit>

namespace strata {

RankSet::RankSet(std::int32_t rank_count)
    : counts_(static_cast<std::size_t>(rank_count)), words_(static_cast<std::size_t>(rank_count + 63) / 64) {}

void RankSet::add(std::int32_t rank) {
  const auto index = static_cast<std::size_t>(rank);
  if (counts_[index]++ > 0) return;
  const std::size_t word = index / 64;
  words_[word] |= std::uint64_t{1} << (index % 64);
  if (members_++ == 0) begin_ = end_ = word;
  begin_ = std::min(begin_, word);
  end_ = std::max(end_, word + 1);
}

void RankSet::remove(std::int32_t rank) {
  const auto index = static_cast<std::size_t>(rank);
  if (--counts_[index] > 0) return;
  words_[index / 64] &= ~(std::uint64_t{1} << (index % 64));
  if (--members_ == 0) begin_ = end_ = 0;
}

std::vector<RankRange> RankSet::ranges_without(std::int32_t excluded) {
  ranges_.clear();
  const auto excluded_index = static_cast<std::size_t>(excluded);
  for (std::size_t i = begin_; i < end_; ++i) {
    std::uint64_t word = words_[i];
    if (i == excluded_index / 64) word &= ~(std::uint64_t{1} << (excluded_index % 64));
    std::int32_t base = static_cast<std::int32_t>(i) * 64;
    while (word != 0) {
      const int skipped = std::countr_zero(word);
      word >>= skipped;
      const int run = std::countr_one(word);
      const std::int32_t begin = base + skipped;
      if (!ranges_.empty() && ranges_.back().end == begin) {
        ranges_.back().end = begin + run;
      } else {
        ranges_.push_back({begin, begin + run});
      }
      word = run == 64 ? 0 : word >> run;
      base = begin + run;
    }
  }
  return {ranges_.begin(), ranges_.end()};
}

}  // namespace strata
