// SPDX-License-Identifier: Apache-2.0
#include "core/program/program_walk.hpp"

#include <algorithm>
#include <functional>
#include <span>
#include <utility>

namespace strata {

namespace {

/// Exchanges of one rank by (step, lane); of equal ones the first instruction is the one that peers meet.
struct Meeting {
  std::int32_t step, lane, instruction;
  auto operator<=>(const Meeting&) const = default;
};

/// One stream, and how far the conditions of its next instruction have been seen to hold. What is posted or
/// done stays so, hence nothing is looked at again once it held.
struct Queue {
  std::vector<std::int32_t> list;  ///< instructions in issue order
  std::size_t next = 0;            ///< a position in it
  std::size_t waits_met = 0;       ///< of the next instruction: how many of what it waits for are done
  std::size_t peers_met = 0;       ///< and how many of its peers have posted
  std::size_t peers_asked = 0;     ///< and how many will wake this rank or have no need to

  void pass() {
    ++next;
    waits_met = peers_met = peers_asked = 0;
  }
};

/// Where one rank stands.
struct RankState {
  std::vector<Queue> queues;
  std::vector<char> posted, done;          ///< [instruction]
  std::vector<Meeting> meetings;           ///< sorted
  std::vector<std::int32_t> first_waiter;  ///< [instruction] who waits for it to be posted; -1: nobody
};

/// Goes round the ranks, ascending, and lets each do all that it can; a rank is passed over while nothing has
/// happened that it waits for, so a walk costs as much as there are instructions, waits and peers.
class Walk {
 public:
  Walk(const std::vector<const PassOutline*>& outlines, LaneOrder lanes,
       const std::function<void(std::int32_t, std::int32_t)>& visit)
      : outlines_(outlines), visit_(visit), states_(outlines.size()), awake_(outlines.size(), 1) {
    for (std::size_t rank = 0; rank < outlines.size(); ++rank) {
      prepare(rank, lanes);
      this_round_.push_back(static_cast<std::int32_t>(rank));
    }
  }

  std::vector<StuckInstruction> run() {
    while (!this_round_.empty()) {
      while (!this_round_.empty()) {
        std::pop_heap(this_round_.begin(), this_round_.end(), std::greater<>());
        at_ = this_round_.back();
        this_round_.pop_back();
        awake_[static_cast<std::size_t>(at_)] = 0;
        while (advance(static_cast<std::size_t>(at_))) {
        }
      }
      at_ = -1;
      std::sort(next_round_.begin(), next_round_.end());  // which is a heap
      this_round_.swap(next_round_);
    }
    std::vector<StuckInstruction> stuck;
    for (std::size_t rank = 0; rank < states_.size(); ++rank) {
      for (const Queue& queue : states_[rank].queues) {
        if (queue.next == queue.list.size()) continue;
        stuck.push_back({static_cast<std::int32_t>(rank), queue.list[queue.next]});
      }
    }
    return stuck;
  }

 private:
  using Item = PassOutline::Item;

  std::span<const std::int32_t> waits(std::size_t rank, std::size_t item) const {
    const PassOutline& outline = *outlines_[rank];
    const std::size_t begin = item == 0 ? 0 : outline.items[item - 1].waits_end;
    return {outline.waits.begin() + static_cast<std::ptrdiff_t>(begin),
            outline.items[item].waits_end - begin};
  }

  std::span<const std::int32_t> peers(std::size_t rank, std::size_t item) const {
    const PassOutline& outline = *outlines_[rank];
    const std::size_t begin = item == 0 ? 0 : outline.items[item - 1].peers_end;
    return {outline.peers.begin() + static_cast<std::ptrdiff_t>(begin),
            outline.items[item].peers_end - begin};
  }

  void prepare(std::size_t rank, LaneOrder lanes) {
    RankState& state = states_[rank];
    const auto& list = outlines_[rank]->items;
    const bool serial = lanes == LaneOrder::serialised;
    state.queues.resize(serial ? 2 : static_cast<std::size_t>(outlines_[rank]->lane_count) + 1);
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::int32_t stream = serial ? std::min(list[i].stream, 1) : list[i].stream;
      state.queues[static_cast<std::size_t>(stream)].list.push_back(static_cast<std::int32_t>(i));
      if (list[i].step >= 0) {
        state.meetings.push_back({list[i].step, list[i].lane, static_cast<std::int32_t>(i)});
      }
    }
    if (!std::is_sorted(state.meetings.begin(), state.meetings.end())) {
      std::sort(state.meetings.begin(), state.meetings.end());
    }
    state.posted.assign(list.size(), 0);
    state.done.assign(list.size(), 0);
    state.first_waiter.assign(list.size(), -1);
  }

  /// The instruction with which `peer` meets the exchange; -1 when it has none.
  std::int32_t meeting_of(std::int32_t peer, const Item& exchange) const {
    if (peer < 0 || static_cast<std::size_t>(peer) >= outlines_.size()) return -1;
    const auto& meetings = states_[static_cast<std::size_t>(peer)].meetings;
    const Meeting key{exchange.step, exchange.lane, -1};
    const auto at = std::upper_bound(meetings.begin(), meetings.end(), key);
    const bool found = at != meetings.end() && at->step == exchange.step && at->lane == exchange.lane;
    return found ? at->instruction : -1;
  }

  /// Whether `peer` has posted its end. If not, and with `ask`, it wakes `rank` when it does.
  bool has_posted(std::int32_t peer, const Item& exchange, std::size_t rank, bool ask) {
    const std::int32_t instruction = meeting_of(peer, exchange);
    if (instruction < 0) return false;
    RankState& other = states_[static_cast<std::size_t>(peer)];
    if (other.posted[static_cast<std::size_t>(instruction)] != 0) return true;
    if (!ask) return false;
    std::int32_t& first = other.first_waiter[static_cast<std::size_t>(instruction)];
    waiters_.push_back({static_cast<std::int32_t>(rank), first});
    first = static_cast<std::int32_t>(waiters_.size() - 1);
    return false;
  }

  void post(std::size_t rank, std::size_t index) {
    RankState& state = states_[rank];
    state.posted[index] = 1;
    for (std::int32_t w = state.first_waiter[index]; w >= 0; w = waiters_[static_cast<std::size_t>(w)].next) {
      wake(waiters_[static_cast<std::size_t>(w)].rank);
    }
  }

  /// A rank after the one that is at work has its turn in this round, the others in the next.
  void wake(std::int32_t rank) {
    char& awake = awake_[static_cast<std::size_t>(rank)];
    if (rank == at_ || awake != 0) return;
    awake = 1;
    if (rank < at_) return next_round_.push_back(rank);
    this_round_.push_back(rank);
    std::push_heap(this_round_.begin(), this_round_.end(), std::greater<>());
  }

  /// Posts and completes what it can on every stream of `rank`; whether anything changed.
  bool advance(std::size_t rank) {
    RankState& state = states_[rank];
    bool progress = false;
    for (Queue& queue : state.queues) {
      while (queue.next < queue.list.size()) {
        const auto index = static_cast<std::size_t>(queue.list[queue.next]);
        if (state.posted[index] == 0) {
          if (!is_ready(rank, index, queue)) break;
          post(rank, index);
          progress = true;
        }
        if (!meets_peers(rank, index, queue)) break;
        visit_(static_cast<std::int32_t>(rank), static_cast<std::int32_t>(index));
        state.done[index] = 1;
        queue.pass();
        progress = true;
      }
    }
    return progress;
  }

  /// Whether all that the instruction waits for is done.
  bool is_ready(std::size_t rank, std::size_t index, Queue& queue) const {
    const std::vector<char>& done = states_[rank].done;
    const auto awaited = waits(rank, index);
    std::size_t& met = queue.waits_met;
    while (met < awaited.size() && done[static_cast<std::size_t>(awaited[met])] != 0) ++met;
    return met == awaited.size();
  }

  /// Whether all peers of the exchange have posted theirs.
  bool meets_peers(std::size_t rank, std::size_t index, Queue& queue) {
    const Item& item = outlines_[rank]->items[index];
    const auto named = peers(rank, index);
    std::size_t& met = queue.peers_met;
    for (; met < named.size(); ++met) {
      const bool ask = queue.peers_asked <= met;
      queue.peers_asked = met + 1;
      if (!has_posted(named[met], item, rank, ask)) return false;
    }
    return true;
  }

  struct Waiter {
    std::int32_t rank, next;
  };
  const std::vector<const PassOutline*>& outlines_;
  const std::function<void(std::int32_t, std::int32_t)>& visit_;
  std::vector<RankState> states_;
  std::vector<Waiter> waiters_;
  std::vector<char> awake_;                            // [rank] to be looked at, in this round or the next
  std::vector<std::int32_t> this_round_, next_round_;  // ranks; the first is a heap with the least on top
  std::int32_t at_ = -1;                               // the rank at work
};

/// Appends every peer that the exchange names, once. `named` holds for each rank the last mark that named it.
void append_peers(const Exchange& exchange, std::int64_t mark, std::vector<std::int64_t>& named,
                  std::vector<std::int32_t>& peers) {
  const std::size_t first = peers.size();
  for (const auto* parts : {&exchange.sends, &exchange.receives}) {
    for (const ExchangePart& part : *parts) {
      if (part.peer < 0 || static_cast<std::size_t>(part.peer) >= named.size()) {
        peers.resize(first);
        return peers.push_back(-1);
      }
      if (std::exchange(named[static_cast<std::size_t>(part.peer)], mark) != mark) peers.push_back(part.peer);
    }
  }
}

}  // namespace

PassOutline outline_of(const RankProgram& program, Pass pass, std::size_t rank_count) {
  PassOutline outline;
  outline.lane_count = program.lane_count;
  std::vector<std::int64_t> named(rank_count);  // the exchange that named the rank last, counted from 1
  std::int64_t exchanges = 0;
  for (const Instruction& instruction : program.instructions(pass)) {
    PassOutline::Item item;
    item.stream = instruction.stream;
    outline.waits.insert(outline.waits.end(), instruction.wait_for.begin(), instruction.wait_for.end());
    if (const Exchange* exchange = exchange_of(instruction.op)) {
      item.step = exchange->step;
      item.lane = exchange->lane;
      append_peers(*exchange, ++exchanges, named, outline.peers);
    }
    item.waits_end = static_cast<std::uint32_t>(outline.waits.size());
    item.peers_end = static_cast<std::uint32_t>(outline.peers.size());
    outline.items.push_back(item);
  }
  return outline;
}

std::vector<StuckInstruction> walk_outlines(const std::vector<const PassOutline*>& outlines, LaneOrder lanes,
                                            const std::function<void(std::int32_t, std::int32_t)>& visit) {
  return Walk(outlines, lanes, visit).run();
}

std::vector<StuckInstruction> walk_programs(const std::vector<RankProgram>& programs, Pass pass,
                                            LaneOrder lanes,
                                            const std::function<void(std::int32_t, std::int32_t)>& visit) {
  std::vector<PassOutline> outlines;
  outlines.reserve(programs.size());
  for (const RankProgram& program : programs) {
    outlines.push_back(outline_of(program, pass, programs.size()));
  }
  std::vector<const PassOutline*> pointers;
  pointers.reserve(outlines.size());
  for (const PassOutline& outline : outlines) pointers.push_back(&outline);
  return walk_outlines(pointers, lanes, visit);
}

}  // namespace strata
