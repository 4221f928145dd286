// SPDX-License-Identifier: Apache-2.0
// One step's traffic at one rank. Whole-head slices are sent from and received into the tensors themselves;
// head slices, and slices that lie in several places, are packed first, so that a slice is one part on both
// ends.
#include <algorithm>
#include <utility>

#include "core/check.hpp"
#include "core/lower_rank.hpp"

namespace strata::detail {

namespace {

/// Adds the rows of a packed slice run by run, head part by head part.
void pack_run(const Buffer& source, std::int32_t from, std::int32_t to, const HeldRun& run,
              std::int64_t first_token, HeadRange heads, CopyRows& pack) {
  STRATA_CHECK(contains(source.heads, heads), "a packed slice needs heads {}..{} of a buffer with {}..{}",
               heads.begin, heads.end, source.heads.begin, source.heads.end);
  pack.copies.push_back({from, to, run.row, run.span.begin - first_token, run.span.length(), heads});
}

/// Buffers that a slice of `tensor` travels in.
std::size_t buffer_count(TensorKind tensor) {
  switch (tensor) {
    case TensorKind::o:
    case TensorKind::o_part:
      return 2;
    case TensorKind::d_o:
      return 3;
    case TensorKind::q:
    case TensorKind::kv:
    case TensorKind::dq:
    case TensorKind::dkv:
      break;
  }
  return 1;
}

std::size_t rank_count(const std::vector<RankRange>& ranges) {
  std::int64_t count = 0;
  for (const RankRange& range : ranges) count += range.count();
  return static_cast<std::size_t>(count);
}

/// The ranges are sorted and few: looking at all of them beats a search.
bool contains_rank(const std::vector<RankRange>& ranges, std::int32_t rank) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const RankRange& range) { return range.begin <= rank && rank < range.end; });
}

}  // namespace

RankLowering::StepTraffic RankLowering::begin_traffic(const ScheduleStep& step, std::int32_t step_index) {
  StepTraffic traffic;
  for (std::int32_t lane = 0; lane < program_.lane_count; ++lane) {
    traffic.lanes.push_back({{step_index, lane, {}, {}}, 0, 0});
  }
  for (auto* list : {&share_.sent, &share_.received, &share_.given, &share_.collected}) list->clear();
  for (std::size_t i = 0; i < step.transfers.size(); ++i) {
    const Transfer& transfer = step.transfers[i];
    LaneTraffic& lane = traffic.lane(transfer.lane);
    if (transfer.source == rank_) {
      share_.sent.push_back(static_cast<std::int32_t>(i));
      lane.sends += buffer_count(transfer.tensor) * rank_count(transfer.targets);
    } else if (contains_rank(transfer.targets, rank_)) {
      share_.received.push_back(static_cast<std::int32_t>(i));
      lane.receives += buffer_count(transfer.tensor);
    }
  }
  for (std::size_t i = 0; i < step.reductions.size(); ++i) {
    const Reduction& reduction = step.reductions[i];
    LaneTraffic& lane = traffic.lane(reduction.lane);
    if (reduction.target == rank_) {
      share_.collected.push_back(static_cast<std::int32_t>(i));
      lane.receives += rank_count(reduction.sources);
    } else if (contains_rank(reduction.sources, rank_)) {
      share_.given.push_back(static_cast<std::int32_t>(i));
      ++lane.sends;
    }
  }
  for (LaneTraffic& lane : traffic.lanes) {
    lane.exchange.sends.resize(std::exchange(lane.sends, 0));
    lane.exchange.receives.resize(std::exchange(lane.receives, 0));
  }
  return traffic;
}

RankLowering::BufferList RankLowering::buffers_of(TensorKind tensor, std::int32_t group) const {
  const auto g = static_cast<std::size_t>(group);
  switch (tensor) {
    case TensorKind::q:
      return {{query_groups_[g].q}, 1};
    case TensorKind::kv:
      return {{key_groups_[g].kv}, 1};
    case TensorKind::o:
    case TensorKind::o_part:
      return {{query_groups_[g].out, query_groups_[g].lse}, 2};
    case TensorKind::d_o:
      return {{query_groups_[g].d_o, query_groups_[g].lse, query_groups_[g].delta}, 3};
    case TensorKind::dq:
      return {{query_groups_[g].dq}, 1};
    case TensorKind::dkv:
      return {{key_groups_[g].dkv}, 1};
  }
  STRATA_CHECK(false, "tensor kind {} cannot be sent", static_cast<int>(tensor));
}

RankLowering::Slice RankLowering::slice(TensorKind tensor, const TokenSpan& span, HeadRange heads,
                                        StepTraffic& traffic) {
  const bool output = tensor == TensorKind::o || tensor == TensorKind::o_part;
  if (output && accumulate_) return merged_output(span, heads);
  const HeldRows& held = counts_kv_heads(tensor) ? keys_ : queries_;
  held.head_parts(heads, head_parts_);
  runs_.clear();
  held.resolve(span, head_parts_.front(), runs_);
  const BufferList first = buffers_of(tensor, runs_.front().group);
  for (const std::int32_t buffer : first) {
    STRATA_CHECK(buffer >= 0, "rank {} has no {} of document {} to send", rank_, to_string(tensor),
                 span.document);
  }
  const bool direct =
      head_parts_.size() == 1 && runs_.size() == 1 && builder_.buffer(first.index[0]).heads == heads;
  if (direct) return {first, runs_.front().row};
  Slice packed;
  for (const std::int32_t buffer : first) {
    const Buffer like = builder_.buffer(buffer);
    packed.buffers.index[static_cast<std::size_t>(packed.buffers.count++)] =
        builder_.add_buffer(like.role, like.type, span.length(), heads, like.width, false);
  }
  for (const HeadRange part : head_parts_) {
    runs_.clear();
    held.resolve(span, part, runs_);
    for (const HeldRun& run : runs_) {
      const BufferList sources = buffers_of(tensor, run.group);
      for (std::size_t i = 0; i < static_cast<std::size_t>(sources.count); ++i) {
        pack_run(builder_.buffer(sources.index[i]), sources.index[i], packed.buffers.index[i], run,
                 span.begin, part, traffic.pack);
      }
    }
  }
  return packed;
}

RankLowering::Slice RankLowering::merged_output(const TokenSpan& span, HeadRange heads) {
  const std::int32_t out = builder_.add_buffer(BufferRole::o, model_.element_type, span.length(), heads,
                                               model_.value_head_dim, false);
  const std::int32_t lse =
      builder_.add_buffer(BufferRole::lse, ElementType::f32, span.length(), heads, 1, false);
  MergePartials merge{out, lse, {}};
  queries_.head_parts(heads, head_parts_);
  for (const HeadRange part : head_parts_) {
    runs_.clear();
    queries_.resolve(span, part, runs_);
    for (const HeldRun& run : runs_) {
      const QueryBuffers& group = query_groups_[static_cast<std::size_t>(run.group)];
      merge.ranges.push_back(
          {run.span.begin - span.begin, run.span.length(), part, {{group.out, group.lse, run.row}}});
    }
  }
  builder_.emit(std::move(merge), kComputeStream);
  return {{{out, lse}, 2}, 0};
}

void RankLowering::add_sends(const ScheduleStep& step, StepTraffic& traffic) {
  for (const std::int32_t index : share_.sent) {
    const Transfer& transfer = step.transfers[static_cast<std::size_t>(index)];
    const Slice slice = this->slice(transfer.tensor, transfer.span, transfer.heads, traffic);
    LaneTraffic& lane = traffic.lane(transfer.lane);
    for (const RankRange& range : transfer.targets) {
      for (std::int32_t peer = range.begin; peer < range.end; ++peer) {
        for (const std::int32_t buffer : slice.buffers) {
          lane.send(peer, buffer, slice.row, transfer.span.length());
        }
      }
    }
  }
  for (const std::int32_t index : share_.given) {
    const Reduction& reduction = step.reductions[static_cast<std::size_t>(index)];
    const Slice slice = this->slice(reduction.tensor, reduction.span, reduction.heads, traffic);
    traffic.lane(reduction.lane)
        .send(reduction.target, slice.buffers.index[0], slice.row, reduction.span.length());
  }
}

RankLowering::Arrival& RankLowering::arrival_of(std::int32_t lane, TensorKind tensor, HeadRange heads) {
  const auto matches = [&](const Arrival& arrival) {
    return arrival.lane == lane && arrival.tensor == tensor && arrival.heads == heads;
  };
  if (last_arrival_ < arrivals_.size() && matches(arrivals_[last_arrival_])) return arrivals_[last_arrival_];
  const auto found = std::find_if(arrivals_.begin(), arrivals_.end(), matches);
  last_arrival_ = static_cast<std::size_t>(found - arrivals_.begin());
  if (found == arrivals_.end()) arrivals_.push_back({lane, tensor, heads, 0, {}, -1});
  return arrivals_[last_arrival_];
}

void RankLowering::plan_arrivals(const ScheduleStep& step) {
  arrivals_.clear();
  for (const std::int32_t index : share_.received) {
    const Transfer& transfer = step.transfers[static_cast<std::size_t>(index)];
    if (transfer.tensor == TensorKind::d_o) continue;
    arrival_of(transfer.lane, transfer.tensor, transfer.heads).rows += transfer.span.length();
  }
  for (const std::int32_t index : share_.collected) {
    const Reduction& reduction = step.reductions[static_cast<std::size_t>(index)];
    arrival_of(reduction.lane, reduction.tensor, reduction.heads).rows +=
        static_cast<std::int64_t>(rank_count(reduction.sources)) * reduction.span.length();
  }
  for (Arrival& arrival : arrivals_) {
    create_arrival_buffers(arrival);
    arrival.rows = 0;  // from here on: rows filled so far
  }
}

void RankLowering::create_arrival_buffers(Arrival& arrival) {
  const ElementType element = model_.element_type;
  const bool retain = !in_backward_ && wave_.backward.kv == BackwardKeep::retain;
  const auto add = [&](BufferRole role, ElementType type, std::int32_t width, bool persistent) {
    return builder_.add_buffer(role, type, arrival.rows, arrival.heads, width, persistent);
  };
  switch (arrival.tensor) {
    case TensorKind::q: {
      QueryBuffers group;
      group.q = add(BufferRole::q, element, model_.head_dim, retain);
      if (!in_backward_) {
        group.out = add(accumulate_ ? BufferRole::o_acc : BufferRole::o,
                        accumulate_ ? ElementType::f32 : element, model_.value_head_dim, false);
        group.lse = add(accumulate_ ? BufferRole::lse_acc : BufferRole::lse, ElementType::f32, 1, false);
        if (accumulate_) {
          emit_zero(group.out);
          emit_zero(group.lse);
        }
      }
      arrival.buffers = {{group.q}, 1};
      arrival.group = static_cast<std::int32_t>(query_groups_.size());
      query_groups_.push_back(group);
      return;
    }
    case TensorKind::kv:
      arrival.buffers = {{add(BufferRole::kv, element, kv_width(), retain)}, 1};
      arrival.group = static_cast<std::int32_t>(key_groups_.size());
      key_groups_.push_back({arrival.buffers.index[0], -1});
      return;
    case TensorKind::o:
    case TensorKind::o_part:
      arrival.buffers.index[0] = add(BufferRole::o, element, model_.value_head_dim, false);
      arrival.buffers.index[1] = add(BufferRole::lse, ElementType::f32, 1, false);
      arrival.buffers.count = 2;
      return;
    case TensorKind::dq:
      arrival.buffers = {{add(BufferRole::dq, ElementType::f32, model_.head_dim, false)}, 1};
      return;
    case TensorKind::dkv:
      arrival.buffers = {{add(BufferRole::dkv, ElementType::f32, kv_width(), false)}, 1};
      return;
    case TensorKind::d_o:
      break;
  }
  STRATA_CHECK(false, "tensor kind {} has no buffers of its own", static_cast<int>(arrival.tensor));
}

void RankLowering::receive_slice(const Transfer& transfer, StepTraffic& traffic) {
  Arrival& arrival = arrival_of(transfer.lane, transfer.tensor, transfer.heads);
  const std::int64_t row = arrival.rows;
  arrival.rows += transfer.span.length();
  LaneTraffic& lane = traffic.lane(transfer.lane);
  for (const std::int32_t buffer : arrival.buffers) {
    lane.receive(transfer.source, buffer, row, transfer.span.length());
  }
  if (transfer.tensor == TensorKind::o || transfer.tensor == TensorKind::o_part) {
    received_outputs_.push_back(
        {transfer.span, transfer.heads, arrival.buffers.index[0], arrival.buffers.index[1], row});
    return;
  }
  const bool keys = transfer.tensor == TensorKind::kv;
  const HeldRun run{arrival.group, row, transfer.span};
  PendingRows* last = pending_.empty() ? nullptr : &pending_.back();
  if (last != nullptr && last->keys == keys && last->heads == transfer.heads && last->run.continues_in(run)) {
    last->run.span.end = run.span.end;
  } else {
    pending_.push_back({keys, transfer.heads, run});
  }
  if (!keys) incoming_queries_.add(transfer.heads, transfer.span, arrival.group, row);
}

void RankLowering::receive_gradient_input(const Transfer& transfer, StepTraffic& traffic) {
  const bool refetch = wave_.backward.kv == BackwardKeep::refetch;
  runs_.clear();
  (refetch ? incoming_queries_ : queries_).resolve(transfer.span, transfer.heads, runs_);
  STRATA_CHECK(runs_.size() == 1, "d_o of document {} rows {}..{} does not lie beside one q",
               transfer.span.document, transfer.span.begin, transfer.span.end);
  const HeldRun run = runs_.front();
  create_query_gradient(run.group);
  const QueryBuffers& group = query_groups_[static_cast<std::size_t>(run.group)];
  LaneTraffic& lane = traffic.lane(transfer.lane);
  for (const std::int32_t buffer : {group.d_o, group.lse, group.delta}) {
    STRATA_CHECK(builder_.buffer(buffer).heads == transfer.heads, "d_o comes for other heads than its q");
    lane.receive(transfer.source, buffer, run.row, transfer.span.length());
  }
}

void RankLowering::receive_reduction(const Reduction& reduction, std::int32_t step_index,
                                     StepTraffic& traffic) {
  Arrival& arrival = arrival_of(reduction.lane, reduction.tensor, reduction.heads);
  LaneTraffic& lane = traffic.lane(reduction.lane);
  const std::int32_t buffer = arrival.buffers.index[0];
  const std::int64_t rows = reduction.span.length();
  ReceivedGradient gradient{reduction.ready,  step_index,     -1,
                            reduction.tensor, reduction.span, reduction.heads,
                            buffer,           arrival.rows,   local_queries_.touches(reduction.span)};
  for (const RankRange& range : reduction.sources) {
    for (gradient.source = range.begin; gradient.source < range.end; ++gradient.source) {
      lane.receive(gradient.source, buffer, gradient.row, rows);
      arriving_gradients_.push_back(gradient);
      gradient.row += rows;
    }
  }
  arrival.rows = gradient.row;
}

/// Moves the step's gradients behind those of earlier steps, by source (counting sort), each source's in
/// canonical order.
void RankLowering::append_by_source(std::vector<ReceivedGradient>& gradients) {
  std::vector<std::size_t> next(static_cast<std::size_t>(wave_.placement.rank_count()) + 1);
  for (const ReceivedGradient& gradient : gradients) ++next[static_cast<std::size_t>(gradient.source) + 1];
  next[0] = received_gradients_.size();
  for (std::size_t source = 1; source < next.size(); ++source) next[source] += next[source - 1];
  received_gradients_.resize(next.back());
  for (const ReceivedGradient& gradient : gradients) {
    received_gradients_[next[static_cast<std::size_t>(gradient.source)]++] = gradient;
  }
  gradients.clear();
}

void RankLowering::add_receives(const ScheduleStep& step, std::int32_t step_index, StepTraffic& traffic) {
  plan_arrivals(step);
  incoming_queries_ = {};
  for (const std::int32_t index : share_.received) {
    const Transfer& transfer = step.transfers[static_cast<std::size_t>(index)];
    if (transfer.tensor != TensorKind::d_o) receive_slice(transfer, traffic);
  }
  incoming_queries_.seal();
  for (const std::int32_t index : share_.received) {
    const Transfer& transfer = step.transfers[static_cast<std::size_t>(index)];
    if (transfer.tensor == TensorKind::d_o) receive_gradient_input(transfer, traffic);
  }
  for (const std::int32_t index : share_.collected) {
    receive_reduction(step.reductions[static_cast<std::size_t>(index)], step_index, traffic);
  }
  if (!arriving_gradients_.empty()) append_by_source(arriving_gradients_);
}

void RankLowering::emit_traffic(const ScheduleStep& step, StepTraffic& traffic) {
  if (!traffic.pack.copies.empty()) builder_.emit(std::move(traffic.pack), kComputeStream);
  for (LaneTraffic& lane : traffic.lanes) {
    Exchange& exchange = lane.exchange;
    STRATA_CHECK(lane.sends == exchange.sends.size() && lane.receives == exchange.receives.size(),
                 "rank {} lists {} sends and {} receives of a step with {} and {}", rank_, lane.sends,
                 lane.receives, exchange.sends.size(), exchange.receives.size());
    if (exchange.sends.empty() && exchange.receives.empty()) continue;
    const std::int32_t stream = lane_stream(exchange.lane);
    if (step.collective == CollectiveKind::none) {
      builder_.emit(std::move(exchange), stream);
    } else {
      builder_.emit(Collective{step.collective, std::move(exchange)}, stream);
    }
  }
}

void RankLowering::seal_step() {
  for (const PendingRows& rows : pending_) {
    (rows.keys ? keys_ : queries_).add(rows.heads, rows.run.span, rows.run.group, rows.run.row);
  }
  pending_.clear();
  queries_.seal();
  keys_.seal();
}

}  // namespace strata::detail
