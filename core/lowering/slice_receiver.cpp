// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/slice_receiver.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/schedule/rank_set.hpp"

namespace strata::detail {

SliceReceiver::Coming SliceReceiver::add(const SliceShape& shape, std::int32_t source) {
  const auto matches = [&](const Arrival& arrival) {
    return arrival.lane == shape.lane && arrival.tensor == shape.tensor && arrival.heads == shape.heads;
  };
  std::size_t index = arrivals_.size() - 1;  // the last one, nearly always
  if (arrivals_.empty() || !matches(arrivals_.back())) {
    const auto found = std::find_if(arrivals_.begin(), arrivals_.end(), matches);
    index = static_cast<std::size_t>(found - arrivals_.begin());
    if (found == arrivals_.end()) arrivals_.push_back({shape.lane, shape.tensor, shape.heads, 0, {}, -1});
  }
  const std::int64_t row = arrivals_[index].rows;
  arrivals_[index].rows += shape.row_count;
  return {{shape, source, {{}, row}}, index};
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

const SliceReceiver::Arrival& SliceReceiver::place(Coming& coming) const {
  const Arrival& arrival = arrivals_[coming.arrival];
  coming.slice.place.buffers = arrival.buffers;
  return arrival;
}

void SliceReceiver::land(const Transfer& transfer, std::int32_t step_index, Coming& coming) {
  const Arrival& arrival = place(coming);
  if (arrival.group < 0) {
    outputs_.add(transfer.span, transfer.heads, step_index, transfer.source, coming.slice.place);
    return;
  }
  const HeldRun run{arrival.group, coming.slice.place.row, transfer.span};
  rows_.hold_from_next_step(transfer.tensor, transfer.heads, run);
  if (transfer.tensor == TensorKind::q) output_gradients_.add_incoming(transfer.heads, run);
  if (transfer.tensor == TensorKind::d_o) output_gradients_.add_stray(transfer.heads, run);
}

void SliceReceiver::collect_output_gradients(const ScheduleStep& step, const StepShare& share,
                                             std::int32_t step_index, std::vector<ReceivedSlice>& slices) {
  const std::size_t first = arrivals_.size();
  struct Found {
    Coming coming;
    std::optional<HeldRun> beside;
  };
  std::vector<Found> all;
  for (const std::int32_t position : share.received) {
    const Transfer& transfer = step.transfers[static_cast<std::size_t>(position)];
    if (transfer.tensor != TensorKind::d_o) continue;
    const SliceShape shape = SliceShape::of(transfer, position);
    if (const std::optional<HeldRun> run = output_gradients_.beside_queries(transfer)) {
      all.push_back({{{shape, transfer.source, {{}, run->row}}, 0}, run});
    } else {
      all.push_back({add(shape, transfer.source), {}});
    }
  }
  create_buffers(first);
  for (Found& found : all) {
    ReceivedSlice& slice = found.coming.slice;
    const Transfer& transfer = step.transfers[static_cast<std::size_t>(slice.shape.position)];
    if (found.beside) {
      rows_.create_query_gradient(found.beside->group);
      slice.place.buffers = rows_.buffers_of(TensorKind::d_o, found.beside->group);
      rows_.hold_from_next_step(TensorKind::d_o, transfer.heads, *found.beside);
    } else {
      land(transfer, step_index, found.coming);
    }
    slices.push_back(slice);
  }
}

std::vector<std::pair<SliceShape, std::int32_t>> SliceReceiver::shares_of_sums(const ScheduleStep& step,
                                                                               const StepShare& share) const {
  std::vector<std::pair<SliceShape, std::int32_t>> shares;
  for (const std::int32_t position : share.collected) {
    const Reduction& reduction = step.reductions[static_cast<std::size_t>(position)];
    const SliceShape shape = SliceShape::of(reduction, position);
    each_rank(reduction.sources, [&](std::int32_t source) { shares.emplace_back(shape, source); });
  }
  const auto travels_alone = [&](const SliceShape& shape) {
    const WireBuffer wire = wire_form(shape.tensor, rows_.model()).buffers.front();
    return checked_product(shape.row_count, wire.row_bytes(shape.heads)) >= own_message_bytes_;
  };
  std::stable_sort(shares.begin(), shares.end(), [&](const auto& a, const auto& b) {
    return a.second != b.second ? a.second < b.second : travels_alone(a.first) < travels_alone(b.first);
  });
  return shares;
}

std::vector<ReceivedSlice> SliceReceiver::collect(const ScheduleStep& step, const StepShare& share,
                                                  std::int32_t step_index) {
  std::vector<ReceivedSlice> slices;
  if (share.received.empty() && share.collected.empty()) return slices;
  arrivals_.clear();
  output_gradients_.begin_step();
  std::vector<Coming> transfers, sums;
  for (const std::int32_t position : share.received) {
    const Transfer& transfer = step.transfers[static_cast<std::size_t>(position)];
    if (transfer.tensor == TensorKind::d_o) continue;
    transfers.push_back(add(SliceShape::of(transfer, position), transfer.source));
  }
  for (const auto& [shape, source] : shares_of_sums(step, share)) sums.push_back(add(shape, source));
  create_buffers(0);
  for (Coming& coming : transfers) {
    land(step.transfers[static_cast<std::size_t>(coming.slice.shape.position)], step_index, coming);
    slices.push_back(coming.slice);
  }
  output_gradients_.seal_incoming();
  if (rows_.in_backward()) collect_output_gradients(step, share, step_index, slices);
  for (Coming& coming : sums) {
    place(coming);
    gradients_.add(step.reductions[static_cast<std::size_t>(coming.slice.shape.position)], step_index,
                   coming.slice.source, coming.slice.place);
    slices.push_back(coming.slice);
  }
  gradients_.end_arrivals();
  return slices;
}

}  // namespace strata::detail
