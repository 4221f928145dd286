// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/slice_receiver.hpp"

#include <algorithm>
#include <functional>
#include <optional>

#include "core/schedule/rank_set.hpp"

namespace strata::detail {

namespace {

const Transfer& transfer_at(const ScheduleStep& step, std::int32_t position) {
  return step.transfers[static_cast<std::size_t>(position)];
}

const Reduction& reduction_at(const ScheduleStep& step, std::int32_t position) {
  return step.reductions[static_cast<std::size_t>(position)];
}

}  // namespace

std::size_t SliceReceiver::find_arrival(const SliceShape& shape) {
  const auto matches = [&](const Arrival& arrival) {
    return arrival.lane == shape.lane && arrival.tensor == shape.tensor && arrival.heads == shape.heads;
  };
  if (!arrivals_.empty() && matches(arrivals_.back())) return arrivals_.size() - 1;  // nearly always
  const auto found = std::find_if(arrivals_.begin(), arrivals_.end(), matches);
  const auto index = static_cast<std::size_t>(found - arrivals_.begin());
  if (found == arrivals_.end()) arrivals_.push_back({shape.lane, shape.tensor, shape.heads, 0, {}, -1});
  return index;
}

ReceivedSlice& SliceReceiver::append(const SliceShape& shape, std::int32_t source) {
  return slices_.emplace_back(
      ReceivedSlice{shape, source, static_cast<std::int32_t>(find_arrival(shape)), {}});
}

void SliceReceiver::take_rows(ReceivedSlice& slice) {
  Arrival& arrival = arrivals_[static_cast<std::size_t>(slice.arrival)];
  slice.place.row = arrival.rows;
  arrival.rows += slice.shape.row_count;
}

void SliceReceiver::create_buffers(std::size_t first) {
  for (std::size_t i = first; i < arrivals_.size(); ++i) {
    Arrival& arrival = arrivals_[i];
    const bool input = arrival.tensor == TensorKind::q || arrival.tensor == TensorKind::kv;
    arrival.buffers =
        rows_.add_wire_buffers(arrival.tensor, arrival.rows, arrival.heads, input && rows_.retains_inputs());
    if (input || arrival.tensor == TensorKind::d_o) {
      arrival.group = rows_.add_group(arrival.tensor, arrival.buffers);
    }
  }
}

void SliceReceiver::set_buffers(ReceivedSlice& slice) const {
  slice.place.buffers = arrivals_[static_cast<std::size_t>(slice.arrival)].buffers;
}

void SliceReceiver::land(const Transfer& transfer, std::int32_t step_index, ReceivedSlice& slice) {
  set_buffers(slice);
  const std::int32_t group = arrivals_[static_cast<std::size_t>(slice.arrival)].group;
  if (group < 0) {
    outputs_.add(transfer.span, transfer.heads, step_index, transfer.source, slice.place);
    return;
  }
  const HeldRun run{group, slice.place.row, transfer.span};
  rows_.hold_from_next_step(transfer.tensor, transfer.heads, run);
  if (transfer.tensor == TensorKind::q) output_gradients_.add_incoming(transfer.heads, run);
  if (transfer.tensor == TensorKind::d_o) output_gradients_.add_stray(transfer.heads, run);
}

void SliceReceiver::collect_output_gradients(const ScheduleStep& step, const StepShare& share,
                                             std::int32_t step_index) {
  const std::size_t first_arrival = arrivals_.size(), first_slice = slices_.size();
  std::vector<HeldRun> beside;
  for (const std::int32_t position : share.received) {
    const Transfer& transfer = transfer_at(step, position);
    if (transfer.tensor != TensorKind::d_o) continue;
    const SliceShape shape = SliceShape::of(transfer, position);
    const std::optional<HeldRun> run = output_gradients_.beside_queries(transfer);
    if (run) {
      slices_.push_back({shape, transfer.source, -1, {{}, run->row}});
      beside.push_back(*run);
    } else {
      take_rows(append(shape, transfer.source));
    }
  }
  create_buffers(first_arrival);
  auto next = beside.begin();
  for (std::size_t i = first_slice; i < slices_.size(); ++i) {
    ReceivedSlice& slice = slices_[i];
    const Transfer& transfer = transfer_at(step, slice.shape.position);
    if (slice.arrival >= 0) {
      land(transfer, step_index, slice);
      continue;
    }
    const HeldRun& run = *next++;
    rows_.create_query_gradient(run.group);
    slice.place.buffers = rows_.buffers_of(TensorKind::d_o, run.group);
    rows_.hold_from_next_step(TensorKind::d_o, transfer.heads, run);
  }
}

bool SliceReceiver::travels_alone(const SliceShape& shape) const {
  const WireBuffer wire = wire_buffers(shape.tensor, rows_.model()).buffers.front();
  return checked_product(shape.row_count, wire.row_bytes(shape.heads)) >= own_message_bytes_;
}

void SliceReceiver::append_sums(const ScheduleStep& step, const StepShare& share) {
  shares_.clear();
  for (std::size_t i = 0; i < share.collected.size(); ++i) {
    each_rank(reduction_at(step, share.collected[i]).sources, [&](std::int32_t source) {
      shares_.push_back({source, static_cast<std::int32_t>(i)});
    });
  }
  by_source_.sort(
      shares_, rows_.wave().placement.rank_count(), [](const ShareOfSum& each) { return each.source; },
      std::less<>());
  const auto shape_of = [&](const ShareOfSum& each) {
    const std::int32_t position = share.collected[static_cast<std::size_t>(each.collected)];
    return SliceShape::of(reduction_at(step, position), position);
  };
  for (std::size_t first = 0, end = 0; first < shares_.size(); first = end) {
    while (end < shares_.size() && shares_[end].source == shares_[first].source) ++end;
    const std::size_t first_slice = slices_.size();
    for (std::size_t i = first; i < end; ++i) append(shape_of(shares_[i]), shares_[i].source);
    for (const bool alone : {false, true}) {
      for (std::size_t i = first_slice; i < slices_.size(); ++i) {
        if (travels_alone(slices_[i].shape) == alone) take_rows(slices_[i]);
      }
    }
  }
}

const std::vector<ReceivedSlice>& SliceReceiver::collect(const ScheduleStep& step, const StepShare& share,
                                                         std::int32_t step_index) {
  slices_.clear();
  if (share.received.empty() && share.collected.empty()) return slices_;
  arrivals_.clear();
  output_gradients_.begin_step();
  for (const std::int32_t position : share.received) {
    const Transfer& transfer = transfer_at(step, position);
    if (transfer.tensor == TensorKind::d_o) continue;
    take_rows(append(SliceShape::of(transfer, position), transfer.source));
  }
  const std::size_t first_sum = slices_.size();
  append_sums(step, share);
  create_buffers(0);
  for (std::size_t i = 0; i < first_sum; ++i) {
    land(transfer_at(step, slices_[i].shape.position), step_index, slices_[i]);
  }
  gradients_.begin_arrivals(step_index);
  for (const std::int32_t position : share.collected) gradients_.expect(reduction_at(step, position));
  for (std::size_t i = 0; i < shares_.size(); ++i) {
    ReceivedSlice& slice = slices_[first_sum + i];
    set_buffers(slice);
    gradients_.add(static_cast<std::size_t>(shares_[i].collected), slice.source, slice.place);
  }
  output_gradients_.seal_incoming();
  if (rows_.in_backward()) collect_output_gradients(step, share, step_index);
  return slices_;
}

}  // namespace strata::detail
