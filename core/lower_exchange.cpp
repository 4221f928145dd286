// SPDX-License-Identifier: Apache-2.0
// One step's traffic at one rank. Whole-head slices are sent from and received into the tensors themselves;
// head slices, and slices that lie in several places, are packed first, so that a slice is one part on both
// ends.
#include <algorithm>

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

}  // namespace

void RankLowering::send(std::int32_t lane, std::int32_t peer, std::int64_t rows, const Slice& slice,
                        StepTraffic& traffic) {
  for (const std::int32_t buffer : slice.buffers) {
    traffic.lanes[static_cast<std::size_t>(lane)].sends.push_back({peer, buffer, slice.row, rows});
  }
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
  for (const HeadRange part : queries_.head_parts(heads)) {
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
  for (const Transfer& transfer : step.transfers) {
    if (transfer.source != rank_) continue;
    const Slice slice = this->slice(transfer.tensor, transfer.span, transfer.heads, traffic);
    for (const RankRange& range : transfer.targets) {
      for (std::int32_t peer = range.begin; peer < range.end; ++peer) {
        send(transfer.lane, peer, transfer.span.length(), slice, traffic);
      }
    }
  }
  for (const Reduction& reduction : step.reductions) {
    if (!targets_contain(reduction.sources, rank_)) continue;
    const Slice slice = this->slice(reduction.tensor, reduction.span, reduction.heads, traffic);
    send(reduction.lane, reduction.target, reduction.span.length(), slice, traffic);
  }
}

RankLowering::Arrival& RankLowering::arrival_of(std::int32_t lane, TensorKind tensor, HeadRange heads) {
  const auto found = std::find_if(arrivals_.begin(), arrivals_.end(), [&](const Arrival& arrival) {
    return arrival.lane == lane && arrival.tensor == tensor && arrival.heads == heads;
  });
  if (found != arrivals_.end()) return *found;
  arrivals_.push_back({lane, tensor, heads, 0, {}, -1});
  return arrivals_.back();
}

void RankLowering::plan_arrivals(const ScheduleStep& step) {
  arrivals_.clear();
  for (const Transfer& transfer : step.transfers) {
    if (transfer.tensor == TensorKind::d_o || !targets_contain(transfer.targets, rank_)) continue;
    arrival_of(transfer.lane, transfer.tensor, transfer.heads).rows += transfer.span.length();
  }
  for (const Reduction& reduction : step.reductions) {
    if (reduction.target != rank_) continue;
    std::int64_t sources = 0;
    for (const RankRange& range : reduction.sources) sources += range.count();
    arrival_of(reduction.lane, reduction.tensor, reduction.heads).rows += sources * reduction.span.length();
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
  auto& receives = traffic.lanes[static_cast<std::size_t>(transfer.lane)].receives;
  for (const std::int32_t buffer : arrival.buffers) {
    receives.push_back({transfer.source, buffer, row, transfer.span.length()});
  }
  if (transfer.tensor == TensorKind::o || transfer.tensor == TensorKind::o_part) {
    received_outputs_.push_back(
        {transfer.span, transfer.heads, arrival.buffers.index[0], arrival.buffers.index[1], row});
    return;
  }
  const bool keys = transfer.tensor == TensorKind::kv;
  pending_.push_back({keys, transfer.heads, {arrival.group, row, transfer.span}});
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
  auto& receives = traffic.lanes[static_cast<std::size_t>(transfer.lane)].receives;
  for (const std::int32_t buffer : {group.d_o, group.lse, group.delta}) {
    STRATA_CHECK(builder_.buffer(buffer).heads == transfer.heads, "d_o comes for other heads than its q");
    receives.push_back({transfer.source, buffer, run.row, transfer.span.length()});
  }
}

void RankLowering::receive_reduction(const Reduction& reduction, std::int32_t step_index,
                                     StepTraffic& traffic) {
  Arrival& arrival = arrival_of(reduction.lane, reduction.tensor, reduction.heads);
  auto& receives = traffic.lanes[static_cast<std::size_t>(reduction.lane)].receives;
  for (const RankRange& range : reduction.sources) {
    for (std::int32_t source = range.begin; source < range.end; ++source) {
      const std::int32_t buffer = arrival.buffers.index[0];
      receives.push_back({source, buffer, arrival.rows, reduction.span.length()});
      received_gradients_.push_back({reduction.ready, step_index, source, reduction.tensor, reduction.span,
                                     reduction.heads, buffer, arrival.rows});
      arrival.rows += reduction.span.length();
    }
  }
}

void RankLowering::add_receives(const ScheduleStep& step, std::int32_t step_index, StepTraffic& traffic) {
  plan_arrivals(step);
  incoming_queries_ = {};
  for (const Transfer& transfer : step.transfers) {
    if (transfer.tensor != TensorKind::d_o && targets_contain(transfer.targets, rank_)) {
      receive_slice(transfer, traffic);
    }
  }
  incoming_queries_.seal();
  for (const Transfer& transfer : step.transfers) {
    if (transfer.tensor == TensorKind::d_o && targets_contain(transfer.targets, rank_)) {
      receive_gradient_input(transfer, traffic);
    }
  }
  for (const Reduction& reduction : step.reductions) {
    if (reduction.target == rank_) receive_reduction(reduction, step_index, traffic);
  }
}

void RankLowering::emit_traffic(const ScheduleStep& step, StepTraffic& traffic) {
  if (!traffic.pack.copies.empty()) builder_.emit(std::move(traffic.pack), kComputeStream);
  for (Exchange& exchange : traffic.lanes) {
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
