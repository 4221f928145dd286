// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/relay.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/problem/mask.hpp"
#include "planner/realise/attention_tasks.hpp"

namespace strata {

namespace {

// Why a chain without gaps suffices. A key row in chunk c is needed by the queries from itself up to the end
// of its document or window: by chunks c, c+1, ..., d. Contiguous placement maps chunk i to rank i, zigzag
// maps it to i or 2P-1-i; either way neighbouring chunks lie on the same or on neighbouring ranks, so the
// ranks of c..d form an interval that contains the owner. (Chunks without tokens come last in both placements
// and are never in c..d.) Hence every rank between the owner and the last one that needs a row needs it too:
// each hop serves its receiver.

/// The rows of `piece` that at least one of `queries` sees. Queries behind the piece see suffixes of it and
/// queries before it nothing, so this is one interval.
TokenSpan rows_needed(const Mask& mask, const TokenSpan& piece, const std::vector<TokenSpan>& queries) {
  TokenSpan needed{piece.document, piece.end, piece.end};
  auto query = std::lower_bound(queries.begin(), queries.end(), TokenSpan{piece.document, piece.end, 0});
  for (; query != queries.end() && query->document == piece.document; ++query) {
    needed.begin = std::min(needed.begin, std::max(piece.begin, keys_seen_by(mask, *query).begin));
  }
  return needed;
}

class Relay {
 public:
  Relay(const WaveRequest& request, const SequenceLayout& layout) : request_(request), layout_(layout) {
    schedule_.exchange = request.exchange;
    schedule_.steps.emplace_back();
    for (std::int32_t rank = 0; rank < request.rank_count; ++rank) compute(0, rank, owned(rank));
  }

  CommSchedule ring() {
    const std::int32_t ranks = request_.rank_count;
    for (std::int32_t hop = 1; hop < ranks; ++hop) {
      schedule_.steps.emplace_back();
      for (std::int32_t rank = 0; rank < ranks; ++rank) {
        const std::int32_t before = (rank + ranks - 1) % ranks;
        const std::vector<TokenSpan>& rows = owned((rank + ranks - hop) % ranks);
        for (const TokenSpan& span : rows) send(hop, before, rank, span);
        compute(hop, rank, rows);
      }
    }
    return finish();
  }

  CommSchedule open_chain() {
    const std::int32_t ranks = request_.rank_count;
    upward_ = downward_ = layout_.spans;
    bool moving = true;
    for (std::int32_t hop = 1; hop < ranks && moving; ++hop) {
      moving = false;
      schedule_.steps.emplace_back();
      for (std::int32_t rank = 0; rank < ranks; ++rank) {
        arrived_.clear();
        if (rank >= hop) receive(hop, pieces_of(upward_, rank - hop), rank - 1, rank);
        if (rank + hop < ranks) receive(hop, pieces_of(downward_, rank + hop), rank + 1, rank);
        if (arrived_.empty()) continue;
        moving = true;
        join_adjacent(arrived_);
        compute(hop, rank, arrived_);
      }
    }
    return finish();
  }

 private:
  const std::vector<TokenSpan>& owned(std::int32_t rank) const {
    return layout_.spans[static_cast<std::size_t>(rank)];
  }

  static std::vector<TokenSpan>& pieces_of(std::vector<std::vector<TokenSpan>>& pieces, std::int32_t owner) {
    return pieces[static_cast<std::size_t>(owner)];
  }

  /// What `rank` needs of `pieces`, which their owner `hop` hops away has, comes from its neighbour `from`.
  /// Pieces that it does not need are needed by nobody behind it and are dropped.
  void receive(std::int32_t hop, std::vector<TokenSpan>& pieces, std::int32_t from, std::int32_t rank) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const TokenSpan rows = rows_needed(request_.model.mask(), pieces[i], owned(rank));
      if (rows.empty()) continue;
      send(hop, from, rank, rows);
      arrived_.push_back(rows);
      pieces[kept++] = pieces[i];
    }
    pieces.resize(kept);
  }

  void send(std::int32_t hop, std::int32_t from, std::int32_t to, const TokenSpan& span) {
    schedule_.steps[static_cast<std::size_t>(hop - 1)].transfers.push_back(
        {from, {{to, to + 1}}, TensorKind::kv, span, request_.kv_heads(), 0, hop});
  }

  void compute(std::int32_t step, std::int32_t rank, const std::vector<TokenSpan>& keys) {
    const TaskMaker maker{request_.model.mask(), rank, request_.query_heads()};
    maker.append(owned(rank), keys, schedule_.steps[static_cast<std::size_t>(step)].tasks);
  }

  CommSchedule finish() {
    drop_unused_last_steps(schedule_);
    for (ScheduleStep& step : schedule_.steps) sort_canonically(step);
    return std::move(schedule_);
  }

  const WaveRequest& request_;
  const SequenceLayout& layout_;
  CommSchedule schedule_;
  std::vector<TokenSpan> arrived_;
  /// [owner]: its pieces that the last rank asked in this direction needed rows of.
  std::vector<std::vector<TokenSpan>> upward_, downward_;
};

}  // namespace

std::optional<Rejection> rejects_long_relay(const WaveRequest& request, std::string_view strategy,
                                            std::int64_t pieces) {
  if (request.rank_count <= kLongestRelay) return std::nullopt;
  if (request.exchange == ExchangeMode::full) {
    return Rejection{
        std::string(strategy),
        fmt::format("a ring over {} ranks passes every row {} times; at most {} ranks are planned",
                    request.rank_count, request.rank_count - 1, kLongestRelay)};
  }
  const std::int64_t longest = *std::max_element(request.lengths.begin(), request.lengths.end());
  const std::int64_t share = std::max<std::int64_t>(1, request.token_count() / pieces);
  const std::int64_t covered = std::min<std::int64_t>(request.rank_count, longest / share + 1);
  if (covered <= kLongestRelay) return std::nullopt;
  return Rejection{
      std::string(strategy),
      fmt::format("a document of {} tokens would be relayed over {} of {} ranks; at most {} are planned",
                  longest, covered, request.rank_count, kLongestRelay)};
}

CommSchedule schedule_relay(const WaveRequest& request, const SequenceLayout& layout) {
  Relay relay(request, layout);
  return request.exchange == ExchangeMode::full ? relay.ring() : relay.open_chain();
}

}  // namespace strata
