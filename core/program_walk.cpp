// SPDX-License-Identifier: Apache-2.0
#include "core/program_walk.hpp"

#include <algorithm>
#include <utility>

namespace strata {

namespace {

/// Where one rank stands.
struct RankState {
  std::vector<std::vector<std::int32_t>> queues;  ///< [queue] -> instructions in issue order
  std::vector<std::size_t> next;                  ///< [queue] -> position
  std::vector<char> posted, done;                 ///< [instruction]
  std::vector<std::vector<std::int32_t>> peers;   ///< [instruction]
};

class Walk {
 public:
  Walk(const std::vector<RankProgram>& programs, Pass pass, LaneOrder lanes,
       const std::function<void(std::int32_t, std::int32_t)>& visit)
      : programs_(programs),
        pass_(pass),
        visit_(visit),
        states_(programs.size()),
        exchanges_(programs.size()) {
    for (std::size_t rank = 0; rank < programs.size(); ++rank) prepare(rank, lanes);
  }

  std::vector<StuckInstruction> run() {
    bool progress = true;
    while (progress) {
      progress = false;
      for (std::size_t rank = 0; rank < programs_.size(); ++rank) {
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
  struct Posted {
    std::int32_t step, lane, instruction;
    auto operator<=>(const Posted&) const = default;
  };

  const std::vector<Instruction>& instructions(std::size_t rank) const {
    return programs_[rank].instructions(pass_);
  }

  void prepare(std::size_t rank, LaneOrder lanes) {
    RankState& state = states_[rank];
    const auto& list = instructions(rank);
    const bool serial = lanes == LaneOrder::serialised;
    state.peers.resize(list.size());
    state.queues.resize(serial ? 2 : static_cast<std::size_t>(programs_[rank].lane_count) + 1);
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::int32_t stream = serial ? std::min(list[i].stream, 1) : list[i].stream;
      state.queues[static_cast<std::size_t>(stream)].push_back(static_cast<std::int32_t>(i));
      if (const Exchange* exchange = exchange_of(list[i].op)) {
        state.peers[i] = peers_of(*exchange);
        exchanges_[rank].push_back({exchange->step, exchange->lane, static_cast<std::int32_t>(i)});
      }
    }
    std::sort(exchanges_[rank].begin(), exchanges_[rank].end());
    state.next.assign(state.queues.size(), 0);
    state.posted.assign(list.size(), 0);
    state.done.assign(list.size(), 0);
  }

  bool peer_posted(std::int32_t peer, const Exchange& exchange) const {
    if (peer < 0 || static_cast<std::size_t>(peer) >= programs_.size()) return false;
    const auto& posted = exchanges_[static_cast<std::size_t>(peer)];
    const Posted key{exchange.step, exchange.lane, -1};
    const auto at = std::upper_bound(posted.begin(), posted.end(), key);
    if (at == posted.end() || at->step != exchange.step || at->lane != exchange.lane) return false;
    return states_[static_cast<std::size_t>(peer)].posted[static_cast<std::size_t>(at->instruction)] != 0;
  }

  bool complete(const Exchange& exchange, const std::vector<std::int32_t>& peers) const {
    return std::all_of(peers.begin(), peers.end(),
                       [&](std::int32_t peer) { return peer_posted(peer, exchange); });
  }

  /// Every peer that the exchange names, once; -1 stands for those that do not exist.
  std::vector<std::int32_t> peers_of(const Exchange& exchange) {
    std::vector<std::int32_t> peers;
    named_.assign(programs_.size(), 0);
    for (const auto* parts : {&exchange.sends, &exchange.receives}) {
      for (const ExchangePart& part : *parts) {
        const bool exists = part.peer >= 0 && static_cast<std::size_t>(part.peer) < programs_.size();
        if (!exists) return {-1};
        if (std::exchange(named_[static_cast<std::size_t>(part.peer)], char{1}) == 0)
          peers.push_back(part.peer);
      }
    }
    return peers;
  }

  /// Posts and completes what it can on every stream of `rank`; whether anything changed.
  bool advance(std::size_t rank) {
    RankState& state = states_[rank];
    bool progress = false;
    for (std::size_t q = 0; q < state.queues.size(); ++q) {
      while (state.next[q] < state.queues[q].size()) {
        const auto index = static_cast<std::size_t>(state.queues[q][state.next[q]]);
        const Instruction& instruction = instructions(rank)[index];
        if (state.posted[index] == 0) {
          const auto finished = [&](std::int32_t wait) {
            return state.done[static_cast<std::size_t>(wait)] != 0;
          };
          if (!std::all_of(instruction.wait_for.begin(), instruction.wait_for.end(), finished)) break;
          state.posted[index] = 1;
          progress = true;
        }
        const Exchange* exchange = exchange_of(instruction.op);
        if (exchange != nullptr && !complete(*exchange, state.peers[index])) break;
        visit_(static_cast<std::int32_t>(rank), static_cast<std::int32_t>(index));
        state.done[index] = 1;
        ++state.next[q];
        progress = true;
      }
    }
    return progress;
  }

  const std::vector<RankProgram>& programs_;
  Pass pass_;
  const std::function<void(std::int32_t, std::int32_t)>& visit_;
  std::vector<RankState> states_;
  std::vector<std::vector<Posted>> exchanges_;
  std::vector<char> named_;
};

}  // namespace

std::vector<StuckInstruction> walk_programs(const std::vector<RankProgram>& programs, Pass pass,
                                            LaneOrder lanes,
                                            const std::function<void(std::int32_t, std::int32_t)>& visit) {
  return Walk(programs, pass, lanes, visit).run();
}

}  // namespace strata
