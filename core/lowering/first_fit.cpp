// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/first_fit.hpp"

#include <algorithm>

namespace strata::detail {

namespace {

/// Numbers that look random, the same in every run (SplitMix64; Steele, Lea, Flood 2014).
std::uint64_t next_priority(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15ULL;
  std::uint64_t x = state;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

void FirstFit::update_largest(Index tree) {
  Gap& at = gap(tree);
  at.largest = std::max({at.end - at.begin, largest(at.left), largest(at.right)});
}

FirstFit::Index FirstFit::add_gap(std::int64_t begin, std::int64_t end) {
  if (unused_.empty()) {
    unused_.push_back(static_cast<Index>(gaps_.size()));
    gaps_.emplace_back();
  }
  const Index index = unused_.back();
  unused_.pop_back();
  gap(index) = {begin, end, end - begin, next_priority(last_priority_), kNone, kNone};
  return index;
}

std::int64_t FirstFit::take(std::int64_t bytes) {
  if (bytes == 0) return 0;
  if (largest(root_) < bytes) return std::exchange(top_, top_ + bytes);
  std::int64_t begin = 0;
  root_ = take_lowest(root_, bytes, begin);
  return begin;
}

FirstFit::Index FirstFit::take_lowest(Index tree, std::int64_t bytes, std::int64_t& begin) {
  Gap& at = gap(tree);
  if (largest(at.left) >= bytes) {
    at.left = take_lowest(at.left, bytes, begin);
  } else if (at.end - at.begin >= bytes) {
    begin = std::exchange(at.begin, at.begin + bytes);
    if (at.begin == at.end) {
      remove_gap(tree);
      return join(at.left, at.right);
    }
  } else {
    at.right = take_lowest(at.right, bytes, begin);
  }
  update_largest(tree);
  return tree;
}

void FirstFit::give_back(std::int64_t begin, std::int64_t bytes) {
  if (bytes == 0) return;
  std::int64_t end = begin + bytes;
  auto [below, above] = split(root_, begin);
  Index last = below, first = above;
  while (last != kNone && gap(last).right != kNone) last = gap(last).right;
  while (first != kNone && gap(first).left != kNone) first = gap(first).left;
  if (last != kNone && gap(last).end == begin) {
    begin = gap(last).begin;
    below = split(below, begin).first;
    remove_gap(last);
  }
  if (first != kNone && gap(first).begin == end) {
    end = gap(first).end;
    above = split(above, end).second;
    remove_gap(first);
  }
  if (end == top_) {
    top_ = begin;
    root_ = below;
  } else {
    root_ = join(join(below, add_gap(begin, end)), above);
  }
}

std::pair<FirstFit::Index, FirstFit::Index> FirstFit::split(Index tree, std::int64_t border) {
  if (tree == kNone) return {kNone, kNone};
  if (gap(tree).begin < border) {
    const auto [below, above] = split(gap(tree).right, border);
    gap(tree).right = below;
    update_largest(tree);
    return {tree, above};
  }
  const auto [below, above] = split(gap(tree).left, border);
  gap(tree).left = above;
  update_largest(tree);
  return {below, tree};
}

FirstFit::Index FirstFit::join(Index below, Index above) {
  if (below == kNone) return above;
  if (above == kNone) return below;
  const bool lower_on_top = gap(below).priority > gap(above).priority;
  const Index top = lower_on_top ? below : above;
  if (lower_on_top) {
    gap(top).right = join(gap(top).right, above);
  } else {
    gap(top).left = join(below, gap(top).left);
  }
  update_largest(top);
  return top;
}

}  // namespace strata::detail
