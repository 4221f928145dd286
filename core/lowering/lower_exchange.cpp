// SPDX-License-Identifier: Apache-2.0
// One step's traffic at one rank. Whole-head slices are sent from and received into the tensors themselves;
// head slices, and slices that lie in several places, are packed first, so that a slice is one part on both
// ends.
#include <algorithm>
#include <utility>

#include "core/base/check.hpp"
#include "core/lowering/lower_rank.hpp"

namespace strata::detail {

namespace {

/// Adds the rows of a packed slice run by run, head part by head part.
void pack_run(const Buffer& source, std::int32_t from, std::int32_t to, const HeldRun& run,
              std::int64_t first_token, HeadRange heads, CopyRows& pack) {
  STRATA_CHECK(contains(source.heads, heads), "a packed slice needs heads {}..{} of a buffer with {}..{}",
               heads.begin, heads.end, source.heads.begin, source.heads.end);
  pack.copies.push_back({from, to, run.row, run.span.begin - first_token, run.span.length(), heads});
}

std::size_t rank_count(const std::vector<RankRange>& ranges) {
  std::int64_t count = 0;
  for (const RankRange& range : ranges) count += range.count();
  return static_cast<std::size_t>(count);
}

/// The ranges are sorted and few: looking at them in order beats a search.
bool contains_rank(const std::vector<RankRange>& ranges, std::int32_t rank) {
  for (const RankRange& range : ranges) {
    if (rank < range.end) return range.begin <= rank;
  }
  return false;
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
      lane.sends += wire_form(transfer.tensor).count * rank_count(transfer.targets);
    } else if (contains_rank(transfer.targets, rank_)) {
      share_.received.push_back(static_cast<std::int32_t>(i));
      lane.receives += wire_form(transfer.tensor).count;
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

RankLowering::WireForm RankLowering::wire_form(TensorKind tensor) const {
  const ElementType element = model_.element_type;
  const WireBuffer lse{BufferRole::lse, ElementType::f32, 1};
  switch (tensor) {
    case TensorKind::q:
      return {{{{BufferRole::q, element, model_.head_dim}}}, 1};
    case TensorKind::kv:
      return {{{{BufferRole::kv, element, kv_width()}}}, 1};
    case TensorKind::o:
    case TensorKind::o_part:
      return {{{{BufferRole::o, element, model_.value_head_dim}, lse}}, 2};
    case TensorKind::d_o:
      return {{{{BufferRole::d_o, element, model_.value_head_dim},
                lse,
                {BufferRole::delta, ElementType::f32, 1}}},
              3};
    case TensorKind::dq:
      return {{{{BufferRole::dq, ElementType::f32, model_.head_dim}}}, 1};
    case TensorKind::dkv:
      return {{{{BufferRole::dkv, ElementType::f32, kv_width()}}}, 1};
  }
  STRATA_CHECK(false, "tensor kind {} cannot be sent", static_cast<int>(tensor));
}

RankLowering::BufferList RankLowering::add_wire_buffers(TensorKind tensor, std::int64_t rows, HeadRange heads,
                                                        bool persistent) {
  const WireForm form = wire_form(tensor);
  BufferList list;
  for (; list.count < static_cast<std::int32_t>(form.count); ++list.count) {
    const WireBuffer& wire = form.buffers[static_cast<std::size_t>(list.count)];
    list.index[static_cast<std::size_t>(list.count)] =
        builder_.add_buffer(wire.role, wire.type, rows, heads, wire.width, persistent);
  }
  return list;
}

const HeldRows& RankLowering::held_rows(TensorKind tensor) const {
  if (tensor == TensorKind::d_o) return output_gradients_;
  return counts_kv_heads(tensor) ? keys_ : queries_;
}

RankLowering::Slice RankLowering::slice(TensorKind tensor, const TokenSpan& span, HeadRange heads,
                                        StepTraffic& traffic) {
  const bool output = tensor == TensorKind::o || tensor == TensorKind::o_part;
  if (output && accumulate_) return merged_output(span, heads);
  const HeldRows& held = held_rows(tensor);
  held.head_parts(heads, head_parts_);
  if (head_parts_.size() == 1) {
    runs_.clear();
    held.resolve(span, heads, runs_);
    const BufferList buffers = buffers_of(tensor, runs_.front().group);
    const bool whole = runs_.size() == 1 && buffers.index[0] >= 0;
    if (whole && builder_.buffer(buffers.index[0]).heads == heads) return {buffers, runs_.front().row};
  }
  const Slice packed{add_wire_buffers(tensor, span.length(), heads, false), 0};
  for (const HeadRange part : head_parts_) {
    runs_.clear();
    held.resolve(span, part, runs_);
    for (const HeldRun& run : runs_) {
      const BufferList sources = buffers_of(tensor, run.group);
      for (std::size_t i = 0; i < static_cast<std::size_t>(sources.count); ++i) {
        STRATA_CHECK(sources.index[i] >= 0, "rank {} has no {} of document {} to send", rank_,
                     to_string(tensor), span.document);
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
    const Slice slice = gradient_slice(reduction, traffic);
    traffic.lane(reduction.lane)
        .send(reduction.target, slice.buffers.index[0], slice.row, reduction.span.length());
  }
}

std::int32_t RankLowering::add_arrival(std::int32_t lane, TensorKind tensor, HeadRange heads,
                                       std::int64_t rows) {
  const auto matches = [&](const Arrival& arrival) {
    return arrival.lane == lane && arrival.tensor == tensor && arrival.heads == heads;
  };
  std::size_t index = arrivals_.size() - 1;  // the last one, nearly always
  if (arrivals_.empty() || !matches(arrivals_.back())) {
    const auto found = std::find_if(arrivals_.begin(), arrivals_.end(), matches);
    index = static_cast<std::size_t>(found - arrivals_.begin());
    if (found == arrivals_.end()) arrivals_.push_back({lane, tensor, heads, 0, {}, -1});
  }
  arrivals_[index].rows += rows;
  return static_cast<std::int32_t>(index);
}

void RankLowering::plan_arrivals(const ScheduleStep& step) {
  arrivals_.clear();
  share_.arrivals.clear();
  for (const std::int32_t index : share_.received) {
    const Transfer& transfer = step.transfers[static_cast<std::size_t>(index)];
    const bool later = transfer.tensor == TensorKind::d_o;  // once the step's q have their places
    share_.arrivals.push_back(
        later ? -1 : add_arrival(transfer.lane, transfer.tensor, transfer.heads, transfer.span.length()));
  }
  for (const std::int32_t index : share_.collected) {
    const Reduction& reduction = step.reductions[static_cast<std::size_t>(index)];
    share_.arrivals.push_back(
        add_arrival(reduction.lane, reduction.tensor, reduction.heads,
                    static_cast<std::int64_t>(rank_count(reduction.sources)) * reduction.span.length()));
  }
  create_arrivals(0);
}

void RankLowering::create_arrivals(std::size_t first) {
  for (std::size_t i = first; i < arrivals_.size(); ++i) {
    create_arrival_buffers(arrivals_[i]);
    arrivals_[i].rows = 0;  // from here on: rows filled so far
  }
}

void RankLowering::create_arrival_buffers(Arrival& arrival) {
  const bool input = arrival.tensor == TensorKind::q || arrival.tensor == TensorKind::kv;
  const bool retain = input && !in_backward_ && wave_.backward.kv == BackwardKeep::retain;
  arrival.buffers = add_wire_buffers(arrival.tensor, arrival.rows, arrival.heads, retain);
  const auto& index = arrival.buffers.index;
  if (arrival.tensor == TensorKind::kv) {
    arrival.group = static_cast<std::int32_t>(key_groups_.size());
    key_groups_.push_back({index[0], -1});
  } else if (arrival.tensor == TensorKind::q || arrival.tensor == TensorKind::d_o) {
    QueryBuffers group;
    if (arrival.tensor == TensorKind::d_o) {
      group.d_o = index[0];
      group.lse = index[1];
      group.delta = index[2];
    } else {
      group.q = index[0];
    }
    arrival.group = static_cast<std::int32_t>(query_groups_.size());
    query_groups_.push_back(group);
  }
}

void RankLowering::receive_slice(const Transfer& transfer, Arrival& arrival, StepTraffic& traffic) {
  const std::int64_t row = arrival.rows;
  arrival.rows += transfer.span.length();
  LaneTraffic& lane = traffic.lane(transfer.lane);
  for (const std::int32_t buffer : arrival.buffers) {
    lane.receive(transfer.source, buffer, row, transfer.span.length());
  }
  if (transfer.tensor == TensorKind::o || transfer.tensor == TensorKind::o_part) {
    received_outputs_.push_back({transfer.span, transfer.heads, lane.exchange.step, transfer.source,
                                 arrival.buffers.index[0], arrival.buffers.index[1], row});
    return;
  }
  const HeldRun run{arrival.group, row, transfer.span};
  hold_from_next_step(transfer.tensor, transfer.heads, run);
  if (transfer.tensor == TensorKind::q) {
    incoming_queries_.add(transfer.heads, transfer.span, arrival.group, row);
  } else if (transfer.tensor == TensorKind::d_o) {
    stray_output_gradients_.push_back({transfer.tensor, transfer.heads, run});
  }
}

void RankLowering::hold_from_next_step(TensorKind tensor, HeadRange heads, const HeldRun& run) {
  PlacedRows* last = pending_.empty() ? nullptr : &pending_.back();
  if (last != nullptr && last->tensor == tensor && last->heads == heads && last->run.continues_in(run)) {
    last->run.span.end = run.span.end;
  } else {
    pending_.push_back({tensor, heads, run});
  }
}

void RankLowering::add_receives(const ScheduleStep& step, std::int32_t step_index, StepTraffic& traffic) {
  plan_arrivals(step);
  incoming_queries_ = {};
  const auto transfer = [&](std::size_t i) -> const Transfer& {
    return step.transfers[static_cast<std::size_t>(share_.received[i])];
  };
  const auto arrival = [&](std::size_t i) -> Arrival& {
    return arrivals_[static_cast<std::size_t>(share_.arrivals[i])];
  };
  for (std::size_t i = 0; i < share_.received.size(); ++i) {
    if (share_.arrivals[i] >= 0) receive_slice(transfer(i), arrival(i), traffic);
  }
  incoming_queries_.seal();
  if (in_backward_) receive_output_gradients(step, traffic);
  for (std::size_t i = 0; i < share_.collected.size(); ++i) {
    receive_reduction(step.reductions[static_cast<std::size_t>(share_.collected[i])], step_index,
                      arrival(share_.received.size() + i), traffic);
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
  for (const PlacedRows& rows : pending_) {
    HeldRows& held = rows.tensor == TensorKind::kv  ? keys_
                     : rows.tensor == TensorKind::q ? queries_
                                                    : output_gradients_;
    held.add(rows.heads, rows.run.span, rows.run.group, rows.run.row);
  }
  pending_.clear();
  queries_.seal();
  keys_.seal();
  output_gradients_.seal();
}

}  // namespace strata::detail
