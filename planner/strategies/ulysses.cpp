// SPDX-License-Identifier: Apache-2.0
#include <utility>
#include <vector>

#include "planner/exchange/attention_tasks.hpp"
#include "planner/human_units.hpp"
#include "planner/placement/groups.hpp"
#include "planner/placement/placement.hpp"
#include "planner/strategies/strategies.hpp"

namespace strata {

namespace {

/// Rank r computes query heads [r * Hq / P, (r + 1) * Hq / P) of every document.
HeadRange heads_of(const WaveRequest& request, std::int32_t rank) {
  const std::int32_t share = request.model.query_heads / request.rank_count;
  return {rank * share, (rank + 1) * share};
}

std::optional<Rejection> rejects_ulysses(const WaveRequest& request) {
  if (request.model.query_heads % request.rank_count == 0) return std::nullopt;
  return Rejection{"ulysses", fmt::format("{} cannot be divided evenly among {}",
                                          counted(request.model.query_heads, "query head"),
                                          counted(request.rank_count, "rank"))};
}

/// Neighbouring ranks whose query heads read the same KV heads: more than one where P exceeds the KV heads.
struct HeadOwners {
  HeadRange kv_heads;
  RankRange ranks;
};

std::vector<HeadOwners> kv_head_owners(const WaveRequest& request) {
  std::vector<HeadOwners> owners;
  for (std::int32_t rank = 0; rank < request.rank_count; ++rank) {
    const HeadRange heads = request.model.kv_heads_of(heads_of(request, rank));
    if (!owners.empty() && owners.back().kv_heads == heads) {
      ++owners.back().ranks.end;
    } else {
      owners.push_back({heads, {rank, rank + 1}});
    }
  }
  return owners;
}

std::vector<RankRange> without(const RankRange& ranks, std::int32_t excluded) {
  if (excluded < ranks.begin || excluded >= ranks.end) return {ranks};
  std::vector<RankRange> rest;
  if (ranks.begin < excluded) rest.push_back({ranks.begin, excluded});
  if (excluded + 1 < ranks.end) rest.push_back({excluded + 1, ranks.end});
  return rest;
}

/// Rows of `span` leave their owner as heads in step 0 and come back to it as finished output in step 2.
void exchange_span(const WaveRequest& request, const std::vector<HeadOwners>& kv_owners, std::int32_t owner,
                   const TokenSpan& span, ScheduleStep& scatter, ScheduleStep& gather) {
  for (std::int32_t rank = 0; rank < request.rank_count; ++rank) {
    if (rank == owner) continue;
    const HeadRange heads = heads_of(request, rank);
    scatter.transfers.push_back({owner, {{rank, rank + 1}}, TensorKind::q, span, heads, 0, 1});
    gather.transfers.push_back({rank, {{owner, owner + 1}}, TensorKind::o, span, heads, 0, 3});
  }
  for (const HeadOwners& group : kv_owners) {
    std::vector<RankRange> targets = without(group.ranks, owner);
    if (targets.empty()) continue;
    scatter.transfers.push_back({owner, std::move(targets), TensorKind::kv, span, group.kv_heads, 0, 1});
  }
}

CommSchedule schedule_ulysses(const WaveRequest& request, const SequenceLayout& layout) {
  CommSchedule schedule;
  schedule.exchange = request.exchange;
  const bool alone = request.rank_count == 1;
  schedule.steps.resize(alone ? 1 : 3);
  ScheduleStep& compute = schedule.steps[alone ? 0 : 1];
  std::vector<TokenSpan> whole;
  for (std::size_t i = 0; i < request.documents.size(); ++i) {
    whole.push_back({request.documents[i], 0, request.lengths[i]});
  }
  for (std::int32_t rank = 0; rank < request.rank_count; ++rank) {
    const TaskMaker maker{request.model.mask(), rank, heads_of(request, rank)};
    maker.append(whole, whole, compute.tasks);
  }
  if (!alone) {
    const std::vector<HeadOwners> kv_owners = kv_head_owners(request);
    for (std::int32_t owner = 0; owner < request.rank_count; ++owner) {
      for (const TokenSpan& span : layout.spans[static_cast<std::size_t>(owner)]) {
        exchange_span(request, kv_owners, owner, span, schedule.steps.front(), schedule.steps.back());
      }
    }
    schedule.steps.front().collective = CollectiveKind::all_to_all;
    schedule.steps.back().collective = CollectiveKind::all_to_all;
  }
  for (ScheduleStep& step : schedule.steps) sort_canonically(step);
  return schedule;
}

}  // namespace

Strategy ulysses_strategy() {
  return {.name = "ulysses",
          .summary = "contiguous shards; all-to-all to head shards, whole documents per head, and back",
          .rejects = rejects_ulysses,
          .place = place_contiguous,
          .groups = ulysses_group,
          .schedule = schedule_ulysses};
}

}  // namespace strata
