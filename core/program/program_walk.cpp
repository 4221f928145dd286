// SPDX-License-Identifier: Apache-2.0
#include "core/program/program_walk.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace strata {

namespace {

/// Where one rank stands.
struct RankState {
  std::vector<std::vector<std::int32_t>> queues;  ///< [queue] -> instructions in issue order
  std::vector<std::size_t> next;                  ///< [queue] -> position
  std::vector<char> posted, done;                 ///< [instruction]
};

class Walk {
 public:
  Walk(const std::vector<const PassOutline*>& outlines, LaneOrder lanes,
       const std::function<void(std::int32_t, std::int32_t)>& visit)
      : outlines_(outlines), visit_(visit), states_(outlines.size()), exchanges_(outlines.size()) {
    for (std::size_t rank = 0; rank < outlines.size(); ++rank) prepare(rank, lanes);
  }

  std::vector<StuckInstruction> run() {
    bool progress = true;
    while (progress) {
      progress = false;
      for (std::size_t rank = 0; rank < outlines_.size(); ++rank) {
        while (advance(rank)) progress = true;
      }
    }
    std::vector<StuckInstruction> stuck;
    for (std::size_t rank = 0; rank < states_.size(); ++rank) {
      const RankState& state = states_[rank];
      for (std::size_t q = 0; q < state.queues.size(); ++q) {
        if (state.next[q] < state.queues[q].size()) {
          stuck.push_back({static_cast<std::int32_t>(rank), state.queues[q][state.next[q]]});
        }
      }
    }
    return stuck;
  }

 private:
  using Item = PassOutline::Item;
  struct Posted {
    std::int32_t step, lane, instruction;
    auto operator<=>(const Posted&) const = default;
  };

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
      state.queues[static_cast<std::size_t>(stream)].push_back(static_cast<std::int32_t>(i));
      if (list[i].step >= 0) {
        exchanges_[rank].push_back({list[i].step, list[i].lane, static_cast<std::int32_t>(i)});
      }
    }
    std::sort(exchanges_[rank].begin(), exchanges_[rank].end());
    state.next.assign(state.queues.size(), 0);
    state.posted.assign(list.size(), 0);
    state.done.assign(list.size(), 0);
  }

  bool peer_posted(std::int32_t peer, const Item& exchange) const {
    if (peer < 0 || static_cast<std::size_t>(peer) >= outlines_.size()) return false;
    const auto& posted = exchanges_[static_cast<std::size_t>(peer)];
    const Posted key{exchange.step, exchange.lane, -1};
    const auto at = std::upper_bound(posted.begin(), posted.end(), key);
    if (at == posted.end() || at->step != exchange.step || at->lane != exchange.lane) return false;
    return states_[static_cast<std::size_t>(peer)].posted[static_cast<std::size_t>(at->instruction)] != 0;
  }

  /// Posts and completes what it can on every stream of `rank`; whether anything changed.
  bool advance(std::size_t rank) {
    RankState& state = states_[rank];
    bool progress = false;
    for (std::size_t q = 0; q < state.queues.size(); ++q) {
      while (state.next[q] < state.queues[q].size()) {
        const auto index = static_cast<std::size_t>(state.queues[q][state.next[q]]);
        if (state.posted[index] == 0) {
          const auto finished = [&](std::int32_t wait) {
            return state.done[static_cast<std::size_t>(wait)] != 0;
          };
          if (!std::ranges::all_of(waits(rank, index), finished)) break;
          state.posted[index] = 1;
          progress = true;
        }
        const Item& item = outlines_[rank]->items[index];
        const auto posted = [&](std::int32_t peer) { return peer_posted(peer, item); };
        if (!std::ranges::all_of(peers(rank, index), posted)) break;
        visit_(static_cast<std::int32_t>(rank), static_cast<std::int32_t>(index));
        state.done[index] = 1;
        ++state.next[q];
        progress = true;
      }
    }
    return progress;
  }

  const std::vector<const PassOutline*>& outlines_;
  const std::function<void(std::int32_t, std::int32_t)>& visit_;
  std::vector<RankState> states_;
  std::vector<std::vector<Posted>> exchanges_;
};

/// Appends every peer that the exchange names, once.
void append_peers(const Exchange& exchange, std::vector<char>& named, std::vector<std::int32_t>& peers) {
  std::fill(named.begin(), named.end(), char{0});
  const std::size_t first = peers.size();
  for (const auto* parts : {&exchange.sends, &exchange.receives}) {
    for (const ExchangePart& part : *parts) {
      if (part.peer < 0 || static_cast<std::size_t>(part.peer) >= named.size()) {
        peers.resize(first);
        return peers.push_back(-1);
      }
      if (std::exchange(named[static_cast<std::size_t>(part.peer)], char{1}) == 0) peers.push_back(part.peer);
    }
  }
}

}  // namespace

PassOutline outline_of(const RankProgram& program, Pass pass, std::size_t rank_count) {
  PassOutline outline;
  outline.lane_count = program.lane_count;
  std::vector<char> named(rank_count);
  for (const Instruction& instruction : program.instructions(pass)) {
    PassOutline::Item item;
    item.stream = instruction.stream;
    outline.waits.insert(outline.waits.end(), instruction.wait_for.begin(), instruction.wait_for.end());
    if (const Exchange* exchange = exchange_of(instruction.op)) {
      item.step = exchange->step;
      item.lane = exchange->lane;
      append_peers(*exchange, named, outline.peers);
    }
    item.waits_end = outline.waits.size();
    item.peers_end = outline.peers.size();
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
