// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/held_rows.hpp"

#include <algorithm>
#include <utility>

#include "core/base/check.hpp"

namespace strata::detail {

namespace {

bool starts_before(const HeldRun& a, const HeldRun& b) { return a.span < b.span; }

std::ptrdiff_t steps(std::size_t count) { return static_cast<std::ptrdiff_t>(count); }

/// Sorts runs[first..] and joins neighbours that continue each other.
void sort_and_join(std::vector<HeldRun>& runs, std::size_t first) {
  const auto begin = runs.begin() + steps(first);
  if (!std::is_sorted(begin, runs.end(), starts_before)) std::sort(begin, runs.end(), starts_before);
  std::size_t kept = first;
  for (std::size_t i = first + 1; i < runs.size(); ++i) {
    if (runs[kept].continues_in(runs[i])) {
      runs[kept].span.end = runs[i].span.end;
    } else {
      runs[++kept] = runs[i];
    }
  }
  if (first < runs.size()) runs.resize(kept + 1);
}

}  // namespace

std::size_t HeldRows::section_after(std::int32_t head) const {
  const auto after =
      std::upper_bound(sections_.begin(), sections_.end(), head,
                       [](std::int32_t value, const Section& section) { return value < section.begin; });
  return static_cast<std::size_t>(after - sections_.begin());
}

std::size_t HeldRows::cut_sections(std::int32_t border) {
  const std::size_t after = section_after(border);
  if (after > 0 && sections_[after - 1].begin == border) return after - 1;
  Section section{border, {}};
  if (after > 0) section.variants = sections_[after - 1].variants;
  sections_.insert(sections_.begin() + steps(after), std::move(section));
  return after;
}

HeldRows::Variant& HeldRows::variant_of(HeadRange heads) {
  if (!unsealed_.empty() && variants_[unsealed_.back()].heads == heads) return variants_[unsealed_.back()];
  if (const std::size_t after = section_after(heads.begin); after > 0) {
    for (const std::uint32_t variant : sections_[after - 1].variants) {
      if (variants_[variant].heads == heads) return variants_[variant];
    }
  }
  const auto added = static_cast<std::uint32_t>(variants_.size());
  const std::size_t first = cut_sections(heads.begin), last = cut_sections(heads.end);
  for (std::size_t section = first; section < last; ++section) sections_[section].variants.push_back(added);
  variants_.push_back({heads, {}, {}});
  return variants_.back();
}

void HeldRows::add(HeadRange heads, const TokenSpan& span, std::int32_t group, std::int64_t row) {
  Variant& variant = variant_of(heads);
  auto& pieces = variant.pieces;
  const bool fresh = pieces.size() > variant.sealed();
  if (!fresh) unsealed_.push_back(static_cast<std::uint32_t>(&variant - variants_.data()));
  const HeldRun run{group, row, span};
  if (fresh && pieces.back().continues_in(run)) {
    pieces.back().span.end = span.end;
  } else {
    pieces.push_back(run);
  }
}

void HeldRows::seal() {
  for (const std::uint32_t variant : unsealed_) variants_[variant].seal();
  unsealed_.clear();
}

void HeldRows::Variant::seal() {
  const std::size_t begin = sealed();
  sort_and_join(pieces, begin);
  if (levels.empty() || !starts_before(pieces[begin - 1], pieces[begin])) {
    levels.push_back({begin, pieces.size(), begin});
  } else {  // goes on where the last level ends
    if (pieces[begin - 1].continues_in(pieces[begin])) {
      pieces[begin - 1].span.end = pieces[begin].span.end;
      pieces.erase(pieces.begin() + steps(begin));
    }
    levels.back().end = pieces.size();
  }
  while (levels.size() > 1 && levels[levels.size() - 2].size() < 2 * levels.back().size()) merge_last_two();
}

void HeldRows::Variant::merge_last_two() {
  const std::size_t middle = levels.back().begin;
  levels.pop_back();
  Level& level = levels.back();
  std::inplace_merge(pieces.begin() + steps(level.begin), pieces.begin() + steps(middle), pieces.end(),
                     starts_before);
  sort_and_join(pieces, level.begin);
  level.end = pieces.size();
}

std::size_t HeldRows::Variant::find(const Level& level, const TokenSpan& span) const {
  const auto ends_after = [&](const HeldRun& piece) {
    return span.document == piece.span.document ? span.begin < piece.span.end
                                                : span.document < piece.span.document;
  };
  constexpr std::size_t kNear = 4;
  std::size_t at = std::min(level.found, level.end);
  if (at == level.begin || !ends_after(pieces[at - 1])) {
    for (const std::size_t end = std::min(at + kNear, level.end); at < end; ++at) {
      if (ends_after(pieces[at])) return level.found = at;
    }
  }
  const auto piece =
      std::partition_point(pieces.begin() + steps(level.begin), pieces.begin() + steps(level.end),
                           [&](const HeldRun& candidate) { return !ends_after(candidate); });
  return level.found = static_cast<std::size_t>(piece - pieces.begin());
}

void HeldRows::Variant::append_held(const TokenSpan& span, std::vector<HeldRun>& runs) const {
  const std::size_t first = runs.size();
  for (const Level& level : levels) {
    for (std::size_t i = find(level, span); i < level.end; ++i) {
      const HeldRun& piece = pieces[i];
      const TokenSpan shared = intersect(piece.span, span);
      if (shared.empty()) break;
      runs.push_back({piece.group, piece.row + shared.begin - piece.span.begin, shared});
    }
  }
  if (levels.size() > 1) sort_and_join(runs, first);  // what continues may lie in another level
}

void HeldRows::head_parts(HeadRange heads, std::vector<HeadRange>& parts) const {
  parts.clear();
  std::int32_t begin = heads.begin;
  for (std::size_t next = section_after(begin); next < sections_.size(); ++next) {
    const std::int32_t border = sections_[next].begin;
    if (border >= heads.end) break;
    parts.push_back({std::exchange(begin, border), border});
  }
  parts.push_back({begin, heads.end});
}

void HeldRows::find_held(const TokenSpan& span, HeadRange heads, std::vector<HeldRun>& runs) const {
  const std::size_t first = runs.size(), after = section_after(heads.begin);
  if (after == 0) return;
  const Section& section = sections_[after - 1];
  for (const std::uint32_t index : section.variants) {
    const Variant& variant = variants_[index];
    if (contains(variant.heads, heads)) variant.append_held(span, runs);
  }
  if (section.variants.size() > 1) std::sort(runs.begin() + steps(first), runs.end(), starts_before);
}

void HeldRows::resolve(const TokenSpan& span, HeadRange heads, std::vector<HeldRun>& runs) const {
  std::size_t run = runs.size();
  find_held(span, heads, runs);
  std::int64_t covered = span.begin;
  for (; run < runs.size(); ++run) {
    STRATA_CHECK(runs[run].span.begin == covered, "rows {}..{} of document {} are not held exactly once",
                 covered, runs[run].span.begin, span.document);
    covered = runs[run].span.end;
  }
  STRATA_CHECK(covered == span.end, "rows {}..{} of document {} are not held", covered, span.end,
               span.document);
}

}  // namespace strata::detail
