// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/base/counts.hpp"
#include "core/base/parallel_for.hpp"
#include "planner/realise/attention_tasks.hpp"
#include "planner/realise/groups.hpp"
#include "planner/realise/placement.hpp"
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
  std::string degrees;
  for (std::int32_t degree = 1; degree <= std::min(request.model.query_heads, request.rank_count); ++degree) {
    if (request.model.query_heads % degree != 0 || request.rank_count % degree != 0) continue;
    degrees += fmt::format("{}{}", degrees.empty() ? "" : ", ", degree);
  }
  return Rejection{
      "ulysses", fmt::format("{0} cannot be divided evenly among {1}; degrees that work: {2} (of {1}); other "
                             "strategies divide no heads",
                             counted(request.model.query_heads, "query head"),
                             counted(request.rank_count, "rank"), degrees)};
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

struct Piece {
  TokenSpan span;
  std::int32_t owner = 0;
};

/// Every rank's heads of the rows leave their owner in step 0. In canonical order when the pieces are.
void scatter(const WaveRequest& request, const std::vector<Piece>& pieces, std::vector<Transfer>& transfers) {
  const std::vector<HeadOwners> kv_owners = kv_head_owners(request);
  const auto ranks = static_cast<std::size_t>(request.rank_count);
  transfers.reserve(pieces.size() * (ranks - 1 + kv_owners.size()));
  for (const Piece& piece : pieces) {
    for (std::int32_t rank = 0; rank < request.rank_count; ++rank) {
      if (rank == piece.owner) continue;
      const HeadRange heads = heads_of(request, rank);
      transfers.push_back({piece.owner, {{rank, rank + 1}}, TensorKind::q, piece.span, heads, 0, 1});
    }
  }
  for (const Piece& piece : pieces) {
    for (const HeadOwners& group : kv_owners) {
      std::vector<RankRange> targets = without(group.ranks, piece.owner);
      if (targets.empty()) continue;
      transfers.push_back(
          {piece.owner, std::move(targets), TensorKind::kv, piece.span, group.kv_heads, 0, 1});
    }
  }
}

/// They come back in step 2 as finished output.
void gather(const WaveRequest& request, const std::vector<Piece>& pieces, std::vector<Transfer>& transfers) {
  transfers.reserve(pieces.size() * static_cast<std::size_t>(request.rank_count - 1));
  for (const Piece& piece : pieces) {
    for (std::int32_t rank = 0; rank < request.rank_count; ++rank) {
      if (rank == piece.owner) continue;
      const HeadRange heads = heads_of(request, rank);
      transfers.push_back({rank, {{piece.owner, piece.owner + 1}}, TensorKind::o, piece.span, heads, 0, 3});
    }
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
    std::vector<Piece> pieces;
    for (std::int32_t owner = 0; owner < request.rank_count; ++owner) {
      for (const TokenSpan& span : layout.spans[static_cast<std::size_t>(owner)]) {
        pieces.push_back({span, owner});
      }
    }
    constexpr std::size_t kManyTransfers = 1'000;  // worth starting a thread
    const bool many = pieces.size() * static_cast<std::size_t>(request.rank_count) > kManyTransfers;
    parallel_for(2, many ? 0 : 1, [&](std::int64_t job) {
      ScheduleStep& step = job == 0 ? schedule.steps.front() : schedule.steps.back();
      step.collective = CollectiveKind::all_to_all;
      if (job == 0) {
        scatter(request, pieces, step.transfers);
      } else {
        gather(request, pieces, step.transfers);
      }
      sort_canonically(step);
    });
  }
  sort_canonically(compute);
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
