// SPDX-License-Identifier: Apache-2.0
// The simulator's clock: events in order of time, those of one instant in the order they were announced, so
// that equal inputs run equally. A binary heap; events that became void are the caller's to recognise and
// skip.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace strata {

enum class EventKind : std::uint8_t { flow_end, flow_start, issue_end };

struct SimulatorEvent {
  std::int64_t time_ns = 0;
  std::uint64_t order = 0;  ///< announced as the order-th event
  EventKind kind = EventKind::flow_end;
  std::int32_t subject = 0;  ///< a flow, a transfer or a rank
  std::uint32_t detail = 0;  ///< the flow's generation; for issue_end the exchange
};

class EventQueue {
 public:
  bool empty() const { return heap_.empty(); }
  const SimulatorEvent& next() const { return heap_.front(); }

  void push(std::int64_t time_ns, EventKind kind, std::int32_t subject, std::uint32_t detail) {
    heap_.push_back({time_ns, order_++, kind, subject, detail});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  SimulatorEvent pop() {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const SimulatorEvent event = heap_.back();
    heap_.pop_back();
    return event;
  }

 private:
  static bool later(const SimulatorEvent& a, const SimulatorEvent& b) {
    return a.time_ns != b.time_ns ? a.time_ns > b.time_ns : a.order > b.order;
  }
  std::vector<SimulatorEvent> heap_;
  std::uint64_t order_ = 0;
};

}  // namespace strata
