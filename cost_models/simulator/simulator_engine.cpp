// SPDX-License-Identifier: Apache-2.0
#include "cost_models/simulator/simulator_engine.hpp"

#include <algorithm>

#include "core/base/check.hpp"
#include "cost_models/cost/transfer_cost.hpp"

namespace strata {
namespace {

std::size_t at(std::int32_t i) { return static_cast<std::size_t>(i); }

}  // namespace

SimulatorEngine::SimulatorEngine(const std::vector<SimulatedWave>& waves, const Topology& topology,
                                 const RouteTable& routes, const CostProfile& profile,
                                 const Settings& settings)
    : waves_(waves),
      topology_(topology),
      routes_(routes),
      profile_(profile),
      settings_(settings),
      layers_(settings.layers),
      stages_((settings.recomputes ? 3 : 2) * settings.layers),
      fluid_(settings.batch_ends, settings.plain ? FluidSolver::general : FluidSolver::in_place),
      ranks_(topology.rank_device.size()),
      times_(topology.rank_device.size()),
      marks_(waves.size(), settings.mark ? settings.layers : 0, topology.rank_device.size()),
      pass_left_(2 * waves.size(), 0) {
  add_resources();
  add_least_times();
  place_events();
}

/// Those of the first wave keep their places when layers are added.
void SimulatorEngine::place_events() {
  wave_events_.clear();
  std::int64_t events = 0;
  for (const SimulatedWave& wave : waves_) {
    wave_events_.push_back(events);
    events += wave.instructions * layers_;
  }
  if (settings_.record) events_.resize(static_cast<std::size_t>(events));
}

void SimulatorEngine::add_resources() {
  for (const Link& link : topology_.links) fluid_.add_resource(link.bandwidth.value / 1e9);
  for (const Device& device : topology_.devices) {
    core_resource_.push_back(fluid_.add_resource(device.cores));
    const bool limited = profile_.memory_bytes_per_second > 0;
    memory_resource_.push_back(limited ? fluid_.add_resource(profile_.memory_bytes_per_second / 1e9) : -1);
  }
  held_.assign(topology_.devices.size(), 0);
}

/// What a rank's instructions take on all units of its device, less a nanosecond for rounding.
void SimulatorEngine::add_least_times() {
  if (settings_.step_layers == 0 || settings_.stop_after_ns == kLongestNs) return;
  const auto least_of = [&](const std::vector<SimulatedPass>& passes, std::size_t rank) {
    if (passes.empty()) return std::int64_t{0};
    std::int64_t work_ns = 0;
    for (const SimulatedInstruction& instruction : passes[rank].instructions) work_ns += instruction.work_ns;
    const std::int64_t least = work_ns / topology_.devices[at(topology_.rank_device[rank])].cores - 1;
    return std::max<std::int64_t>(0, least);
  };
  for (const SimulatedWave& wave : waves_) {
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank)
      least_ns_.push_back(least_of(wave.forward, rank));
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
      least_ns_.push_back(least_of(wave.recomputed, rank) + least_of(wave.backward, rank));
    }
  }
}

/// What the rank takes at least from the start of its current stage on.
std::int64_t SimulatorEngine::least_left_ns(std::int32_t rank) const {
  if (least_ns_.empty()) return 0;
  const RankState& state = ranks_[at(rank)];
  std::int64_t left = 0;
  for (std::size_t wave = at(state.wave); wave < waves_.size(); ++wave) {
    const std::int32_t stage = wave == at(state.wave) ? state.stage : 0;
    const std::int32_t forwards = std::min(stage, layers_);
    const std::int32_t behind = std::max(0, stage - layers_) / (settings_.recomputes ? 2 : 1);
    const std::size_t place = 2 * wave * ranks_.size() + at(rank);
    // A layer whose recomputed part has run counts as done.
    const std::int32_t backwards = settings_.recomputes && (stage - layers_) % 2 == 1 ? behind + 1 : behind;
    left += least_ns_[place] * (settings_.step_layers - forwards) +
            least_ns_[place + ranks_.size()] * (settings_.step_layers - backwards);
  }
  return left;
}

void SimulatorEngine::begin() {
  if (begun_) return;
  begun_ = true;
  for (std::int32_t rank = 0; rank < topology_.rank_count(); ++rank) begin_stages(rank);
}

void SimulatorEngine::run_to_last_forward() {
  begin();
  while (!is_over() && !began_last_forward_) take_event();
}

void SimulatorEngine::run() {
  begin();
  while (!is_over()) take_event();
  if (stopped_ns_ == 0 && !unsteady_) check_finished();
}

bool SimulatorEngine::is_extensible() const {
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
    const RankState& state = ranks_[rank];
    const bool idle = state.pass == nullptr && times_[rank].end_ns == 0;
    if (!idle && (state.pass == nullptr || state.wave > 0 || state.stage >= layers_)) return false;
  }
  return true;
}

void SimulatorEngine::extend(const Settings& settings) {
  STRATA_CHECK(settings.layers >= layers_ && is_extensible(), "{} layers of a step become {}", layers_,
               settings.layers);
  settings_ = settings;
  layers_ = settings.layers;
  stages_ = (settings.recomputes ? 3 : 2) * layers_;
  began_last_forward_ = false;
  popped_ = started_ = 0;
  fluid_.forget_work();
  marks_.extend(waves_.size(), settings.mark ? layers_ : 0);
  place_events();
  if (least_ns_.empty()) add_least_times();
}

/// Brings everything up to date for the next event; false while there is one to take.
bool SimulatorEngine::is_over() {
  if (stopped_ns_ > 0 || unsteady_) return true;
  run_ready();
  if (queue_.empty() || queue_.next_ns() > now_ns_) fluid_.settle(now_ns_, queue_);
  if (queue_.empty()) return true;
  if (lead_began_layer_ && queue_.next_ns() > now_ns_) look_for_repeats();
  return false;
}

void SimulatorEngine::take_event() {
  const SimulatorEvent event = queue_.pop();
  ++popped_;
  const bool of_flow = event.kind == EventKind::flow_end || event.kind == EventKind::flow_due;
  if (of_flow && !fluid_.is_current(event.subject, event.detail)) return;
  if (event.time_ns > kLongestNs) throw_too_long();
  now_ns_ = event.time_ns;
  if (now_ns_ > settings_.stop_after_ns) stopped_ns_ = std::max(stopped_ns_, now_ns_);
  if (stopped_ns_ > 0) return;
  switch (event.kind) {
    case EventKind::flow_end:
      return end_flow(event.subject);
    case EventKind::flow_start: {
      const FlowOwner owner = transfers_[at(event.subject)];
      free_transfers_.push_back(event.subject);
      return start_transfer(owner);
    }
    case EventKind::flow_due:
      return fluid_.due(event.subject);
    case EventKind::issue_end:
      return finish_if_done(event.subject, static_cast<std::int32_t>(event.detail));
  }
}

SimulatorEngine::Stage SimulatorEngine::stage_at(std::int32_t number) const {
  if (number < layers_) return {Pass::forward, false, number};
  const std::int32_t behind = number - layers_;
  if (!settings_.recomputes) return {Pass::backward, false, layers_ - 1 - behind};
  return {Pass::backward, behind % 2 == 0, layers_ - 1 - behind / 2};
}

const SimulatedPass& SimulatorEngine::pass_of(std::int32_t rank) const {
  const SimulatedWave& wave = waves_[at(ranks_[at(rank)].wave)];
  const Stage stage = stage_at(ranks_[at(rank)].stage);
  if (stage.recomputed) return wave.recomputed[at(rank)];
  return (stage.pass == Pass::forward ? wave.forward : wave.backward)[at(rank)];
}

/// Enters the rank's current stage, and the next ones as long as they are empty.
void SimulatorEngine::begin_stages(std::int32_t rank) {
  RankState& state = ranks_[at(rank)];
  while (at(state.wave) < waves_.size()) {
    state.pass = &pass_of(rank);
    state.left = static_cast<std::int32_t>(state.pass->instructions.size());
    state.stage_begin_ns = now_ns_;
    if (state.left > 0) {
      state.waits.resize(at(state.left));
      for (std::size_t i = 0; i < state.waits.size(); ++i) state.waits[i] = state.pass->instructions[i].waits;
      if (settings_.record) state.posted_ns.resize(at(state.left));
      state.exchanges.assign(state.pass->exchanges.size(), {});
      for (const std::int32_t instruction : state.pass->ready) ready_.push_back({rank, instruction});
      return;
    }
    leave_stage(rank);
  }
  state.pass = nullptr;
}

/// Marks where the rank stands, and turns to its next stage.
void SimulatorEngine::leave_stage(std::int32_t rank) {
  RankState& state = ranks_[at(rank)];
  const RankTimes& times = times_[at(rank)];
  const Stage stage = stage_at(state.stage);
  if (settings_.mark && !stage.recomputed) {
    const std::int32_t order = stage.pass == Pass::forward ? stage.layer : layers_ - 1 - stage.layer;
    marks_.at(at(state.wave), stage.pass, order, at(rank)) = {times.end_ns, times.busy_ns, times.exposed_ns};
    if (order == layers_ - 1) leave_pass(state);
  }
  if (++state.stage == stages_) {
    state.stage = 0;
    ++state.wave;
  }
}

/// A rank has ended the last layer of its pass.
void SimulatorEngine::leave_pass(const RankState& state) {
  const Pass pass = stage_at(state.stage).pass;
  std::int32_t& left = pass_left_[2 * at(state.wave) + (pass == Pass::backward ? 1 : 0)];
  if (++left < topology_.rank_count() || !settings_.stop_unsteady) return;
  unsteady_ = unsteady_ || !pass_is_steady(marks_, at(state.wave), pass, settings_.apart);
}

void SimulatorEngine::end_stage(std::int32_t rank) {
  RankState& state = ranks_[at(rank)];
  RankTimes& times = times_[at(rank)];
  count_time(rank);
  times.end_ns = now_ns_;
  if (stage_at(state.stage).pass == Pass::forward) times.forward_ns += now_ns_ - state.stage_begin_ns;
  leave_stage(rank);
  // A rank that has nothing to do is through all its stages at once and leads nobody.
  if (!settings_.plain && !settings_.record) follow_lead(rank);
  began_last_forward_ = began_last_forward_ || (state.wave == 0 && state.stage == layers_ - 1);
  const std::int64_t least_ns = now_ns_ + least_left_ns(rank);
  if (least_ns > settings_.stop_after_ns && stopped_ns_ == 0) stopped_ns_ = least_ns;
  begin_stages(rank);
}

void SimulatorEngine::run_ready() {
  while (!ready_.empty()) {
    const Ready ready = ready_.front();
    ready_.pop_front();
    post(ready);
  }
}

void SimulatorEngine::post(Ready ready) {
  RankState& state = ranks_[at(ready.rank)];
  const SimulatedInstruction& instruction = state.pass->instructions[at(ready.instruction)];
  if (settings_.record) state.posted_ns[at(ready.instruction)] = now_ns_;
  if (instruction.exchange >= 0) return post_exchange(ready.rank, instruction.exchange);
  if (instruction.work_ns == 0) return finish(ready.rank, ready.instruction);
  count_time(ready.rank);
  ++state.computing;
  const std::int32_t device = topology_.rank_device[at(ready.rank)];
  uses_.assign(1, {core_resource_[at(device)], 1.0});
  if (instruction.memory_weight > 0 && memory_resource_[at(device)] >= 0) {
    uses_.push_back({memory_resource_[at(device)], instruction.memory_weight});
  }
  start_flow({ready.rank, ready.instruction, -1, 0, 0}, static_cast<double>(instruction.work_ns),
             instruction.cap);
}

void SimulatorEngine::post_exchange(std::int32_t rank, std::int32_t index) {
  count_time(rank);
  RankState& state = ranks_[at(rank)];
  ++state.exchanging;
  hold_units(rank, 1);
  const SimulatedExchange& exchange = state.pass->exchanges[at(index)];
  ExchangeState& posted = state.exchanges[at(index)];
  posted.posted = true;
  posted.matched_ns = now_ns_;
  posted.issue_end_ns = now_ns_ + exchange.issue_ns;
  posted.unmatched = exchange.peer_end - exchange.peer_begin;
  const std::vector<SimulatedPeer>& peers = state.pass->peers;
  for (std::int32_t p = exchange.peer_begin; p < exchange.peer_end; ++p) {
    const SimulatedPeer& peer = peers[at(p)];
    const RankState& other = ranks_[at(peer.rank)];
    // A rank cannot leave a pass-layer before all its Exchanges have met their partners, so the partner is
    // either in the same pass-layer or has not come to it yet.
    if (other.pass == nullptr || other.wave != state.wave || other.stage != state.stage) continue;
    if (other.exchanges[at(peer.exchange)].posted) match(rank, index, peer);
  }
  if (posted.unmatched == 0 && posted.flows == 0) finish_if_done(rank, index);
}

/// Both ends have posted now.
void SimulatorEngine::match(std::int32_t rank, std::int32_t index, const SimulatedPeer& peer) {
  ExchangeState& mine = ranks_[at(rank)].exchanges[at(index)];
  ExchangeState& theirs = ranks_[at(peer.rank)].exchanges[at(peer.exchange)];
  --mine.unmatched;
  --theirs.unmatched;
  theirs.matched_ns = now_ns_;
  const std::int64_t issued_ns = std::max(mine.issue_end_ns, theirs.issue_end_ns);
  const std::int32_t flows = (peer.sent_bytes > 0 ? 1 : 0) + (peer.received_bytes > 0 ? 1 : 0);
  mine.flows += flows;
  theirs.flows += flows;
  if (peer.sent_bytes > 0) announce_flow(rank, index, peer.rank, peer.exchange, peer.sent_bytes, issued_ns);
  if (peer.received_bytes > 0)
    announce_flow(peer.rank, peer.exchange, rank, index, peer.received_bytes, issued_ns);
  if (flows == 0) finish_if_done(peer.rank, peer.exchange);
}

void SimulatorEngine::announce_flow(std::int32_t source, std::int32_t index, std::int32_t target,
                                    std::int32_t target_index, std::int64_t bytes,
                                    std::int64_t issue_end_ns) {
  const FlowOwner owner{source, index, target, target_index, bytes};
  const std::int64_t start_ns = issue_end_ns + routes_.between(source, target).latency.ns;
  if (start_ns <= now_ns_) return start_transfer(owner);
  std::int32_t slot = static_cast<std::int32_t>(transfers_.size());
  if (free_transfers_.empty()) {
    transfers_.push_back(owner);
  } else {
    slot = free_transfers_.back();
    free_transfers_.pop_back();
    transfers_[at(slot)] = owner;
  }
  queue_.push(start_ns, EventKind::flow_start, slot, 0);
}

void SimulatorEngine::start_transfer(const FlowOwner& owner) {
  const Route route = routes_.between(owner.rank, owner.peer);
  uses_.clear();
  if (route.level != LinkLevel::device) {
    links_.clear();
    routes_.append_links(owner.rank, owner.peer, links_);
    for (const std::int32_t link : links_) uses_.push_back({link, 1.0});
    double rate = route.bandwidth.value;
    if (profile_.exchange.peer_bytes_per_second > 0)
      rate = std::min(rate, profile_.exchange.peer_bytes_per_second);
    return start_flow(owner, static_cast<double>(owner.bytes), rate / 1e9);
  }
  const std::int32_t device = topology_.rank_device[at(owner.rank)];
  const InstructionCost cost = device_transfer_cost(owner.bytes, profile_);
  const auto work = static_cast<double>(cost.work_ns);
  uses_.push_back({core_resource_[at(device)], 1.0});
  if (memory_resource_[at(device)] >= 0) {
    uses_.push_back({memory_resource_[at(device)], static_cast<double>(cost.memory_bytes) / work});
  }
  start_flow(owner, work,
             std::min<double>(topology_.devices[at(device)].cores, profile_.exchange.copy_units));
}

/// Uses `uses_`.
void SimulatorEngine::start_flow(const FlowOwner& owner, double work, double cap) {
  ++started_;
  const std::int32_t flow = fluid_.start(work, cap, uses_);
  if (at(flow) >= flow_owners_.size()) flow_owners_.resize(at(flow) + 1);
  flow_owners_[at(flow)] = owner;
}

void SimulatorEngine::end_flow(std::int32_t flow) {
  fluid_.end(flow);
  const FlowOwner owner = flow_owners_[at(flow)];
  if (owner.peer < 0) {
    count_time(owner.rank);
    --ranks_[at(owner.rank)].computing;
    return finish(owner.rank, owner.index);
  }
  --ranks_[at(owner.rank)].exchanges[at(owner.index)].flows;
  --ranks_[at(owner.peer)].exchanges[at(owner.peer_index)].flows;
  finish_if_done(owner.rank, owner.index);
  finish_if_done(owner.peer, owner.peer_index);
}

void SimulatorEngine::finish_if_done(std::int32_t rank, std::int32_t index) {
  RankState& state = ranks_[at(rank)];
  const ExchangeState& exchange = state.exchanges[at(index)];
  if (exchange.unmatched > 0 || exchange.flows > 0) return;
  if (exchange.issue_end_ns > now_ns_) {
    queue_.push(exchange.issue_end_ns, EventKind::issue_end, rank, static_cast<std::uint32_t>(index));
    return;
  }
  count_time(rank);
  --state.exchanging;
  hold_units(rank, -1);
  finish(rank, state.pass->exchanges[at(index)].instruction);
}

void SimulatorEngine::finish(std::int32_t rank, std::int32_t instruction) {
  RankState& state = ranks_[at(rank)];
  ++finished_;
  if (settings_.record) record(rank, instruction);
  const SimulatedInstruction& done = state.pass->instructions[at(instruction)];
  for (std::int32_t i = done.successor_begin; i < done.successor_end; ++i) {
    const std::int32_t next = state.pass->successors[at(i)];
    if (--state.waits[at(next)] == 0) ready_.push_back({rank, next});
  }
  if (--state.left == 0) end_stage(rank);
}

void SimulatorEngine::hold_units(std::int32_t rank, std::int32_t change) {
  if (profile_.exchange.communication_units == 0) return;
  const std::size_t device = at(topology_.rank_device[at(rank)]);
  held_[device] += change;
  const double cores = topology_.devices[device].cores;
  const double held = std::min(cores / 2, held_[device] * profile_.exchange.communication_units);
  fluid_.set_capacity(core_resource_[device], cores - held);
}

void SimulatorEngine::count_time(std::int32_t rank) {
  RankState& state = ranks_[at(rank)];
  const std::int64_t passed = now_ns_ - state.counted_to_ns;
  state.counted_to_ns = now_ns_;
  if (state.computing > 0) {
    times_[at(rank)].busy_ns += passed;
  } else if (state.exchanging > 0) {
    times_[at(rank)].exposed_ns += passed;
  }
}

void SimulatorEngine::record(std::int32_t rank, std::int32_t instruction) {
  const RankState& state = ranks_[at(rank)];
  const SimulatedInstruction& done = state.pass->instructions[at(instruction)];
  const Stage stage = stage_at(state.stage);
  if (stage.recomputed) return;  // its key would be that of the first time
  TimelineEvent event;
  event.wave = state.wave;
  event.layer = stage.layer;
  event.pass = stage.pass;
  event.rank = rank;
  event.instruction = instruction;
  event.posted_ns = state.posted_ns[at(instruction)];
  event.matched_ns = done.exchange < 0 ? event.posted_ns : state.exchanges[at(done.exchange)].matched_ns;
  event.end_ns = now_ns_;
  event.bytes = state.pass->loads[at(instruction)].bytes;
  event.flops = state.pass->loads[at(instruction)].flops;
  // Keys are (wave, layer, pass, rank, instruction), and a layer's events lie together.
  const std::int64_t place = wave_events_[at(state.wave)] +
                             event.layer * waves_[at(state.wave)].instructions + state.pass->first_event +
                             instruction;
  events_[static_cast<std::size_t>(place)] = event;
}

void SimulatorEngine::check_finished() const {
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
    const RankState& state = ranks_[rank];
    STRATA_CHECK(state.pass == nullptr, "rank {} is stuck in wave {}, {} instructions of a pass unfinished",
                 rank, state.wave, state.left);
  }
}

}  // namespace strata
