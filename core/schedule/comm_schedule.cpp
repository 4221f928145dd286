// SPDX-License-Identifier: Apache-2.0
#include "core/schedule/comm_schedule.hpp"

#include <algorithm>
#include <tuple>

#include "core/base/check.hpp"

namespace strata {

std::string_view to_string(TensorKind tensor) {
  switch (tensor) {
    case TensorKind::q:
      return "q";
    case TensorKind::kv:
      return "kv";
    case TensorKind::o:
      return "o";
    case TensorKind::o_part:
      return "o_part";
    case TensorKind::d_o:
      return "do";
    case TensorKind::dq:
      return "dq";
    case TensorKind::dkv:
      return "dkv";
  }
  STRATA_CHECK(false, "tensor kind {} has no name", static_cast<int>(tensor));
}

namespace {

/// Most records differ in these: then whether `a` comes first; -1 when they agree.
template <typename Record>
int leading_order(const Record& a, const Record& b) {
  if (a.tensor != b.tensor) return a.tensor < b.tensor ? 1 : 0;
  if (a.span.document != b.span.document) return a.span.document < b.span.document ? 1 : 0;
  if (a.span.begin != b.span.begin) return a.span.begin < b.span.begin ? 1 : 0;
  return -1;
}

}  // namespace

bool canonical_less(const Transfer& a, const Transfer& b) {
  if (const int order = leading_order(a, b); order >= 0) return order == 1;
  return std::tie(a.span.end, a.heads, a.source, a.targets, a.lane, a.ready) <
         std::tie(b.span.end, b.heads, b.source, b.targets, b.lane, b.ready);
}

bool canonical_less(const Reduction& a, const Reduction& b) {
  if (const int order = leading_order(a, b); order >= 0) return order == 1;
  return std::tie(a.span.end, a.heads, a.target, a.sources, a.lane, a.ready) <
         std::tie(b.span.end, b.heads, b.target, b.sources, b.lane, b.ready);
}

bool canonical_less(const AttentionTask& a, const AttentionTask& b) {
  if (a.rank != b.rank) return a.rank < b.rank;
  if (a.query.document != b.query.document) return a.query.document < b.query.document;
  if (a.query.begin != b.query.begin) return a.query.begin < b.query.begin;
  return a < b;
}

namespace {

constexpr auto kCanonicalLess = [](const auto& a, const auto& b) { return canonical_less(a, b); };

template <typename Record>
void sort_records(std::vector<Record>& records) {
  if (!std::is_sorted(records.begin(), records.end(), kCanonicalLess)) {
    std::sort(records.begin(), records.end(), kCanonicalLess);
  }
}

}  // namespace

void sort_canonically(ScheduleStep& step) {
  sort_records(step.transfers);
  sort_records(step.reductions);
  sort_records(step.tasks);
}

std::int64_t target_count(const Transfer& transfer) {
  std::int64_t count = 0;
  for (const RankRange& range : transfer.targets) count += range.count();
  return count;
}

std::vector<RankRange> rank_ranges(std::vector<std::int32_t> ranks) {
  std::sort(ranks.begin(), ranks.end());
  std::vector<RankRange> ranges;
  for (const std::int32_t rank : ranks) {
    if (!ranges.empty() && ranges.back().end == rank) {
      ++ranges.back().end;
    } else {
      ranges.push_back({rank, rank + 1});
    }
  }
  return ranges;
}

}  // namespace strata
