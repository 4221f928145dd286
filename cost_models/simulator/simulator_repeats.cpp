// SPDX-License-Identifier: Apache-2.0
// Layers that repeat. What comes next depends on the state of ranks, flows and queue and on nothing else,
// times counted from now on. When the first rank begins a layer and this state is the one that was there when
// it began an earlier layer of the same pass, everything since then happens again in the same way, and again,
// as long as all ranks stay in this pass. So the clock is moved instead, to the last layer of the pass that
// the first rank can begin. The results are those of simulating all layers, to the nanosecond. Not while
// events are kept, which would have to be written for every layer anyway.
#include <algorithm>

#include "cost_models/simulator/simulator_engine.hpp"

namespace strata {
namespace {

std::size_t at(std::int32_t i) { return static_cast<std::size_t>(i); }

}  // namespace

/// Whether a layer of its pass begins with the stage.
bool SimulatorEngine::begins_layer(std::int32_t stage) const {
  return stage < layers_ || !settings_.recomputes || (stage - layers_) % 2 == 0;
}

/// `rank` has turned to its next stage.
void SimulatorEngine::follow_lead(std::int32_t rank) {
  const RankState& state = ranks_[at(rank)];
  if (at(state.wave) >= waves_.size() || state.wave < lead_wave_) return;
  if (state.wave > lead_wave_) {
    lead_wave_ = state.wave;
    lead_stage_ = 0;
    lead_began_layer_ = false;
    snapshot_.state.clear();
  }
  if (state.stage <= lead_stage_) return;
  lead_stage_ = state.stage;
  lead_began_layer_ = lead_began_layer_ || begins_layer(lead_stage_);
}

/// Appends the state of the ranks, relative to now and to the stage of the first one; false when they are not
/// all in one pass of one wave.
bool SimulatorEngine::append_ranks(std::vector<std::int64_t>& state) const {
  for (const RankState& rank : ranks_) {
    state.push_back(rank.pass == nullptr ? 1 : 0);
    if (rank.pass == nullptr) continue;
    // A rank behind the first one would be carried over the end of its pass.
    if (rank.wave != lead_wave_ || (rank.stage < layers_) != (lead_stage_ < layers_)) return false;
    const Stage stage = stage_at(rank.stage);
    state.push_back(2 * static_cast<std::int64_t>(stage.pass) + (stage.recomputed ? 1 : 0));
    for (const std::int64_t number : {lead_stage_ - rank.stage, rank.left, rank.computing, rank.exchanging}) {
      state.push_back(number);
    }
    state.push_back(now_ns_ - rank.counted_to_ns);
    state.push_back(now_ns_ - rank.stage_begin_ns);
    state.insert(state.end(), rank.waits.begin(), rank.waits.end());
    for (const ExchangeState& exchange : rank.exchanges) {
      state.push_back(exchange.posted ? 1 : 0);
      if (!exchange.posted) continue;
      state.push_back(exchange.issue_end_ns - now_ns_);
      state.push_back(exchange.matched_ns - now_ns_);
      state.push_back(exchange.unmatched);
      state.push_back(exchange.flows);
    }
  }
  state.insert(state.end(), held_.begin(), held_.end());
  return true;
}

/// Appends the events that hold, and whose the flows are.
void SimulatorEngine::append_queue(const std::vector<std::int32_t>& flow_names,
                                   std::vector<std::int64_t>& state) const {
  const auto append_owner = [&](const FlowOwner& owner) {
    for (const std::int64_t number :
         {std::int64_t{owner.rank}, std::int64_t{owner.index}, std::int64_t{owner.peer},
          std::int64_t{owner.peer_index}, owner.bytes}) {
      state.push_back(number);
    }
  };
  for (const SimulatorEvent& event : queue_.waiting()) {
    const bool of_flow = event.kind == EventKind::flow_end || event.kind == EventKind::flow_due;
    if (of_flow && !fluid_.is_current(event.subject, event.detail)) continue;
    state.push_back(event.time_ns - now_ns_);
    state.push_back(static_cast<std::int64_t>(event.kind));
    if (of_flow) {
      state.push_back(flow_names[at(event.subject)]);
    } else if (event.kind == EventKind::flow_start) {
      append_owner(transfers_[at(event.subject)]);
    } else {
      state.push_back(event.subject);
      state.push_back(event.detail);
    }
  }
  std::vector<std::size_t> named(flow_names.size());  // [name]: names are counted from 0
  std::size_t names = 0;
  for (std::size_t flow = 0; flow < flow_names.size(); ++flow) {
    if (flow_names[flow] < 0) continue;
    named[at(flow_names[flow])] = flow;
    ++names;
  }
  for (std::size_t name = 0; name < names; ++name) append_owner(flow_owners_[named[name]]);
}

void SimulatorEngine::look_for_repeats() {
  lead_began_layer_ = false;
  Snapshot now{{}, now_ns_, lead_stage_, finished_, times_};
  std::vector<std::int32_t> flow_names;
  if (!append_ranks(now.state)) {
    snapshot_.state.clear();
    return;
  }
  fluid_.append_state(now_ns_, flow_names, now.state);
  append_queue(flow_names, now.state);
  std::int32_t periods = 0;
  if (now.state == snapshot_.state) {
    const std::int32_t last = lead_stage_ < layers_ ? layers_ - 1 : stages_ - (settings_.recomputes ? 2 : 1);
    periods = (last - lead_stage_) / (lead_stage_ - snapshot_.lead_stage);
    const std::int64_t period_ns = std::max<std::int64_t>(1, now_ns_ - snapshot_.now_ns);
    if (periods > (kLongestNs - now_ns_) / period_ns) periods = 0;
  }
  if (periods == 0) {
    snapshot_ = std::move(now);
  } else {
    skip(periods);
    snapshot_.state.clear();
  }
}

/// Lets what happened since the snapshot happen `periods` times more.
void SimulatorEngine::skip(std::int32_t periods) {
  const std::int64_t by_ns = periods * (now_ns_ - snapshot_.now_ns);
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
    if (ranks_[rank].pass != nullptr) skip_rank(rank, periods);
  }
  lead_stage_ += periods * (lead_stage_ - snapshot_.lead_stage);
  began_last_forward_ = began_last_forward_ || (lead_wave_ == 0 && lead_stage_ == layers_ - 1);
  finished_ += periods * (finished_ - snapshot_.finished);
  queue_.shift(by_ns);
  fluid_.shift(by_ns);
  now_ns_ += by_ns;
}

void SimulatorEngine::skip_rank(std::size_t rank, std::int32_t periods) {
  RankState& state = ranks_[rank];
  RankTimes& times = times_[rank];
  const RankTimes before = snapshot_.times[rank];
  const std::int64_t period_ns = now_ns_ - snapshot_.now_ns;
  const std::int32_t period_stages = lead_stage_ - snapshot_.lead_stage;
  const std::int64_t busy_ns = times.busy_ns - before.busy_ns,
                     exposed_ns = times.exposed_ns - before.exposed_ns;
  const std::int32_t stage_after = state.stage + periods * period_stages;
  for (std::int32_t left = state.stage; settings_.mark && left < stage_after; ++left) {
    const Stage stage = stage_at(left), same = stage_at(left - period_stages);
    if (stage.recomputed) continue;
    const auto order = [&](std::int32_t layer) {
      return stage.pass == Pass::forward ? layer : layers_ - 1 - layer;
    };
    const LayerMark& from = marks_.at(at(state.wave), stage.pass, order(same.layer), rank);
    marks_.at(at(state.wave), stage.pass, order(stage.layer), rank) = {
        from.end_ns + period_ns, from.busy_ns + busy_ns, from.exposed_ns + exposed_ns};
  }
  state.stage = stage_after;
  const std::int64_t by_ns = periods * period_ns;
  times.end_ns += by_ns;
  times.busy_ns += periods * busy_ns;
  times.exposed_ns += periods * exposed_ns;
  times.forward_ns += periods * (times.forward_ns - before.forward_ns);
  state.counted_to_ns += by_ns;
  state.stage_begin_ns += by_ns;
  for (ExchangeState& exchange : state.exchanges) {
    if (!exchange.posted) continue;
    exchange.issue_end_ns += by_ns;
    exchange.matched_ns += by_ns;
  }
}

}  // namespace strata
