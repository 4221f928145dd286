// SPDX-License-Identifier: Apache-2.0
// The simulator's clock: events in order of time. Events of one instant come in the order in which they were
// announced, so that equal inputs run equally. The queue is a binary heap of runs. A run is events that were
// announced one after the other for the same instant, as the starts and ends of an all-to-all are; it takes
// one place in the heap. The caller recognises and skips events that became void.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace strata {

enum class EventKind : std::uint8_t { flow_end, flow_start, flow_due, issue_end };

struct SimulatorEvent {
  std::int64_t time_ns = 0;
  EventKind kind = EventKind::flow_end;
  std::int32_t subject = 0;  ///< a flow, a transfer or a rank
  std::uint32_t detail = 0;  ///< the generation of a flow that runs; for issue_end the exchange
};

class EventQueue {
 public:
  bool empty() const { return heap_.empty(); }
  std::int64_t next_ns() const { return heap_.front().time_ns; }

  void push(std::int64_t time_ns, EventKind kind, std::int32_t subject, std::uint32_t detail) {
    std::int32_t place = free_;
    if (place < 0) {
      place = static_cast<std::int32_t>(events_.size());
      events_.emplace_back();
    } else {
      free_ = events_[static_cast<std::size_t>(place)].next;
    }
    events_[static_cast<std::size_t>(place)] = {kind, subject, detail, -1};
    if (last_ >= 0 && last_ns_ == time_ns) {
      events_[static_cast<std::size_t>(last_)].next = place;
    } else {
      heap_.push_back({time_ns, order_++, place});
      std::push_heap(heap_.begin(), heap_.end(), later);
      last_ns_ = time_ns;
    }
    last_ = place;
  }
  SimulatorEvent pop() {
    Run& run = heap_.front();
    const std::int32_t place = run.first;
    Event& event = events_[static_cast<std::size_t>(place)];
    const SimulatorEvent popped{run.time_ns, event.kind, event.subject, event.detail};
    if (event.next >= 0) {
      run.first = event.next;
    } else {
      if (last_ == place) last_ = -1;
      std::pop_heap(heap_.begin(), heap_.end(), later);
      heap_.pop_back();
    }
    event.next = free_;
    free_ = place;
    return popped;
  }
  /// All events that wait, in order.
  std::vector<SimulatorEvent> waiting() const {
    std::vector<Run> runs = heap_;
    std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return later(b, a); });
    std::vector<SimulatorEvent> events;
    for (const Run& run : runs) {
      for (std::int32_t place = run.first; place >= 0;) {
        const Event& event = events_[static_cast<std::size_t>(place)];
        events.push_back({run.time_ns, event.kind, event.subject, event.detail});
        place = event.next;
      }
    }
    return events;
  }
  /// Moves everything that waits `by_ns` into the future.
  void shift(std::int64_t by_ns) {
    for (Run& run : heap_) run.time_ns += by_ns;
    last_ns_ += by_ns;
  }

 private:
  struct Event {
    EventKind kind = EventKind::flow_end;
    std::int32_t subject = 0;
    std::uint32_t detail = 0;
    std::int32_t next = -1;  // of its run, or free
  };
  struct Run {
    std::int64_t time_ns = 0;
    std::uint64_t order = 0;  // begun as the order-th run
    std::int32_t first = 0;
  };
  static bool later(const Run& a, const Run& b) {
    return a.time_ns != b.time_ns ? a.time_ns > b.time_ns : a.order > b.order;
  }
  std::vector<Run> heap_;
  std::vector<Event> events_;
  std::int32_t free_ = -1;
  std::int32_t last_ = -1;  // the event announced last, if it still waits
  std::int64_t last_ns_ = 0;
  std::uint64_t order_ = 0;
};

}  // namespace strata
