// SPDX-License-Identifier: Apache-2.0
// Gradients of one rank's backward pass: where d_o of queries that it does not own lies, and which sums it
// keeps or passes on. A slice has as many origins as its rows: what arrives is cut at the borders of the
// rank's own rows once, here, and never taken for what its first row is.
#include <algorithm>
#include <utility>

#include "core/base/check.hpp"
#include "core/lowering/lower_rank.hpp"

namespace strata::detail {

namespace {

HeadRange shared_heads(HeadRange a, HeadRange b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

bool are_none(HeadRange heads) { return heads.begin >= heads.end; }

}  // namespace

void RankLowering::create_query_gradient(std::int32_t group) {
  QueryBuffers& buffers = query_groups_[static_cast<std::size_t>(group)];
  if (buffers.d_o >= 0) return;
  const Buffer q = builder_.buffer(buffers.q);
  const auto add = [&](BufferRole role, ElementType type, std::int32_t width) {
    return builder_.add_buffer(role, type, q.rows, q.heads, width, false);
  };
  buffers.d_o = add(BufferRole::d_o, model_.element_type, model_.value_head_dim);
  buffers.lse = add(BufferRole::lse, ElementType::f32, 1);
  buffers.delta = add(BufferRole::delta, ElementType::f32, 1);
  buffers.dq = add(BufferRole::dq_acc, ElementType::f32, model_.head_dim);
  emit_zero(buffers.dq);
}

void RankLowering::create_key_gradient(std::int32_t group) {
  KeyBuffers& buffers = key_groups_[static_cast<std::size_t>(group)];
  if (buffers.dkv >= 0) return;
  const Buffer kv = builder_.buffer(buffers.kv);
  buffers.dkv =
      builder_.add_buffer(BufferRole::dkv_acc, ElementType::f32, kv.rows, kv.heads, kv_width(), false);
  emit_zero(buffers.dkv);
}

void RankLowering::receive_output_gradients(const ScheduleStep& step, StepTraffic& traffic) {
  const auto transfer = [&](std::size_t i) -> const Transfer& {
    return step.transfers[static_cast<std::size_t>(share_.received[i])];
  };
  std::vector<std::pair<std::size_t, HeldRun>> beside;
  const std::size_t first = arrivals_.size();
  for (std::size_t i = 0; i < share_.received.size(); ++i) {
    if (transfer(i).tensor != TensorKind::d_o) continue;
    if (const std::optional<HeldRun> place = beside_queries(transfer(i))) {
      beside.emplace_back(i, *place);
    } else {
      share_.arrivals[i] =
          add_arrival(transfer(i).lane, TensorKind::d_o, transfer(i).heads, transfer(i).span.length());
    }
  }
  create_arrivals(first);
  auto next = beside.begin();
  for (std::size_t i = 0; i < share_.received.size(); ++i) {
    if (transfer(i).tensor != TensorKind::d_o) continue;
    if (next != beside.end() && next->first == i) {
      receive_beside_queries(transfer(i), (next++)->second, traffic);
    } else {
      receive_slice(transfer(i), arrivals_[static_cast<std::size_t>(share_.arrivals[i])], traffic);
    }
  }
}

std::optional<HeldRun> RankLowering::beside_queries(const Transfer& transfer) {
  for (const HeldRows* held : {&incoming_queries_, &queries_}) {
    runs_.clear();
    held->find_held(transfer.span, transfer.heads, runs_);
    if (runs_.size() != 1 || runs_.front().span != transfer.span) continue;
    const QueryBuffers& group = query_groups_[static_cast<std::size_t>(runs_.front().group)];
    if (builder_.buffer(group.q).heads == transfer.heads) return runs_.front();
  }
  return std::nullopt;
}

void RankLowering::receive_beside_queries(const Transfer& transfer, const HeldRun& run,
                                          StepTraffic& traffic) {
  create_query_gradient(run.group);
  const QueryBuffers& group = query_groups_[static_cast<std::size_t>(run.group)];
  LaneTraffic& lane = traffic.lane(transfer.lane);
  for (const std::int32_t buffer : {group.d_o, group.lse, group.delta}) {
    lane.receive(transfer.source, buffer, run.row, transfer.span.length());
  }
  hold_from_next_step(TensorKind::d_o, transfer.heads, run);
}

void RankLowering::place_output_gradients(const AttentionTask& task, CopyRows& copies) {
  for (std::size_t i = 0; i < stray_output_gradients_.size();) {
    const PlacedRows stray = stray_output_gradients_[i];
    const TokenSpan rows = intersect(stray.run.span, task.query);
    const HeadRange heads = shared_heads(stray.heads, task.heads);
    if (rows.empty() || are_none(heads)) {
      ++i;
      continue;
    }
    stray_output_gradients_.erase(stray_output_gradients_.begin() + static_cast<std::ptrdiff_t>(i));
    const auto keep = [&](HeadRange left_heads, std::int64_t begin, std::int64_t end) {
      if (are_none(left_heads) || begin >= end) return;
      const HeldRun run{
          stray.run.group, stray.run.row + begin - stray.run.span.begin, {rows.document, begin, end}};
      stray_output_gradients_.push_back({stray.tensor, left_heads, run});
    };
    keep(stray.heads, stray.run.span.begin, rows.begin);
    keep(stray.heads, rows.end, stray.run.span.end);
    keep({stray.heads.begin, heads.begin}, rows.begin, rows.end);
    keep({heads.end, stray.heads.end}, rows.begin, rows.end);
    copy_beside_queries({stray.run.group, stray.run.row + rows.begin - stray.run.span.begin, rows}, heads,
                        copies);
  }
}

void RankLowering::copy_beside_queries(const HeldRun& from, HeadRange heads, CopyRows& copies) {
  queries_.head_parts(heads, head_parts_);
  for (const HeadRange part : head_parts_) {
    runs_.clear();
    queries_.resolve(from.span, part, runs_);
    for (const HeldRun& run : runs_) {
      create_query_gradient(run.group);
      const BufferList sources = buffers_of(TensorKind::d_o, from.group);
      const BufferList targets = buffers_of(TensorKind::d_o, run.group);
      for (std::size_t i = 0; i < static_cast<std::size_t>(sources.count); ++i) {
        copies.copies.push_back({sources.index[i], targets.index[i],
                                 from.row + run.span.begin - from.span.begin, run.row, run.span.length(),
                                 part});
      }
    }
  }
}

void RankLowering::split_by_origin(const TokenSpan& span) {
  origins_.clear();
  runs_.clear();
  own_rows_.find_held(span, all_query_heads(), runs_);
  std::int64_t row = span.begin;
  for (const HeldRun& run : runs_) {
    if (row < run.span.begin) {
      origins_.push_back({{span.document, row, run.span.begin}, Origin::relayed});
    }
    origins_.push_back({run.span, Origin::own});
    row = run.span.end;
  }
  if (row < span.end) origins_.push_back({{span.document, row, span.end}, Origin::relayed});
}

void RankLowering::receive_reduction(const Reduction& reduction, std::int32_t step_index, Arrival& arrival,
                                     StepTraffic& traffic) {
  LaneTraffic& lane = traffic.lane(reduction.lane);
  const std::int32_t buffer = arrival.buffers.index[0];
  split_by_origin(reduction.span);
  for (const RankRange& range : reduction.sources) {
    for (std::int32_t source = range.begin; source < range.end; ++source) {
      lane.receive(source, buffer, arrival.rows, reduction.span.length());
      for (const OriginPart& part : origins_) {
        arriving_gradients_.push_back({reduction.ready, step_index, source, reduction.tensor, part.span,
                                       reduction.heads, buffer,
                                       arrival.rows + part.span.begin - reduction.span.begin, part.origin});
      }
      arrival.rows += reduction.span.length();
    }
  }
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

/// Adds what has arrived and is ready: what this rank passes on before it sends, its own afterwards.
void RankLowering::add_ready_gradients(std::int32_t step, Origin origin) {
  AccumulateGradient sum;
  std::vector<ReceivedGradient> ready;
  const auto take = [&](const ReceivedGradient& gradient) {
    if (gradient.ready > step || gradient.origin != origin) return false;
    ready.push_back(gradient);
    return true;
  };
  std::erase_if(received_gradients_, take);  // what it takes keeps the order of sums
  sum.additions.reserve(ready.size());
  for (const ReceivedGradient& gradient : ready) add_gradient(gradient, sum);
  if (!sum.additions.empty()) builder_.emit(std::move(sum), kComputeStream);
}

void RankLowering::add_gradient(const ReceivedGradient& gradient, AccumulateGradient& sum) {
  const bool keys = gradient.tensor == TensorKind::dkv;
  const HeldRows& held = keys ? keys_ : queries_;
  held.head_parts(gradient.heads, head_parts_);
  for (const HeadRange part : head_parts_) {
    runs_.clear();
    held.find_held(gradient.span, part, runs_);
    std::int64_t row = gradient.span.begin;
    for (const HeldRun& run : runs_) {
      pass_on(gradient, part, row, run.span.begin);
      row = run.span.end;
      if (keys) create_key_gradient(run.group);
      const auto group = static_cast<std::size_t>(run.group);
      const std::int32_t target = keys ? key_groups_[group].dkv : query_groups_[group].dq;
      STRATA_CHECK(target >= 0, "rank {} has no place for the gradient of document {}", rank_,
                   gradient.span.document);
      sum.additions.push_back({gradient.buffer, target, gradient.row + run.span.begin - gradient.span.begin,
                               run.row, run.span.length(), part});
    }
    pass_on(gradient, part, row, gradient.span.end);
  }
}

void RankLowering::pass_on(ReceivedGradient gradient, HeadRange heads, std::int64_t begin, std::int64_t end) {
  if (begin >= end) return;
  STRATA_CHECK(gradient.origin == Origin::relayed, "rank {} does not hold its rows {}..{} of document {}",
               rank_, begin, end, gradient.span.document);
  gradient.row += begin - gradient.span.begin;
  gradient.span.begin = begin;
  gradient.span.end = end;
  gradient.heads = heads;
  passed_gradients_.push_back(gradient);
}

RankLowering::Slice RankLowering::gradient_slice(const Reduction& reduction, StepTraffic& traffic) {
  AccumulateGradient passed;
  for (const ReceivedGradient& gradient : passed_gradients_) {
    const TokenSpan rows = intersect(gradient.span, reduction.span);
    const HeadRange heads = shared_heads(gradient.heads, reduction.heads);
    if (gradient.tensor != reduction.tensor || rows.empty() || are_none(heads)) continue;
    passed.additions.push_back({gradient.buffer, -1, gradient.row + rows.begin - gradient.span.begin,
                                rows.begin - reduction.span.begin, rows.length(), heads});
  }
  if (passed.additions.empty()) return slice(reduction.tensor, reduction.span, reduction.heads, traffic);
  const Slice packed{add_wire_buffers(reduction.tensor, reduction.span.length(), reduction.heads, false), 0};
  AccumulateGradient sum;
  keys_.head_parts(reduction.heads, head_parts_);
  for (const HeadRange part : head_parts_) {
    runs_.clear();
    keys_.find_held(reduction.span, part, runs_);
    for (const HeldRun& run : runs_) {
      const std::int32_t own_sum = key_groups_[static_cast<std::size_t>(run.group)].dkv;
      if (own_sum < 0) continue;
      sum.additions.push_back(
          {own_sum, -1, run.row, run.span.begin - reduction.span.begin, run.span.length(), part});
    }
  }
  sum.additions.insert(sum.additions.end(), passed.additions.begin(), passed.additions.end());
  for (RowCopy& addition : sum.additions) addition.target = packed.buffers.index[0];
  emit_zero(packed.buffers.index[0]);
  builder_.emit(std::move(sum), kComputeStream);
  return packed;
}

}  // namespace strata::detail
