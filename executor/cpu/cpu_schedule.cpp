// SPDX-License-Identifier: Apache-2.0
#include "executor/cpu/cpu_schedule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <set>
#include <tuple>

#include "core/base/check.hpp"

namespace strata {

namespace {

/// Stand for a rank's load and store where an instruction number is expected.
constexpr std::int32_t kLoad = -1;
constexpr std::int32_t kStore = -2;

}  // namespace

CpuSchedule::CpuSchedule(PreparedRun& run, const Execution& execution, const CpuOptions& options, bool gated)
    : run_(run), execution_(execution), options_(options), local_(run.local), gated_(gated) {
  const std::size_t ranks = run.arenas.size();
  ranks_.resize(ranks);
  std::size_t link_count = 0, happening_count = 2 * ranks;
  for (std::size_t w = 0; w < run.waves.size(); ++w) {
    auto& states = links_.emplace_back();
    for (std::size_t p = 0; p < states.size(); ++p) {
      states[p].resize(run.waves[w].passes[p].links.links.size());
      link_count += states[p].size();
    }
    first_event_of_wave_.push_back(events_per_repeat_);
    events_per_repeat_ += options.layers * instruction_count(w);
    for (auto r = static_cast<std::size_t>(local_.begin); r < static_cast<std::size_t>(local_.end); ++r) {
      const RankProgram& program = execution.waves[w].programs[r];
      RankState& state = ranks_[r];
      const std::size_t most = std::max(program.forward.size(), program.backward.size());
      state.instructions.resize(std::max(state.instructions.size(), most));
      state.poisoned.resize(std::max(state.poisoned.size(), program.buffers.size()));
    }
  }
  for (RankState& state : ranks_) {
    state.active.reserve(state.instructions.size() + 1);
    happening_count += state.instructions.size();
  }
  copies_ = Ring<LinkNumber>(link_count);
  remote_posts_ = Ring<LinkNumber>(link_count);
  happenings_ = Ring<Happening>(happening_count);
  if (options.record_timeline) events_.resize(static_cast<std::size_t>(events_per_repeat_ * options.repeats));
}

const PreparedPass& CpuSchedule::pass_of(const RankState& state) const {
  return run_.waves[static_cast<std::size_t>(state.wave)].passes[static_cast<std::size_t>(state.pass)];
}

const RankProgram& CpuSchedule::program_of(std::int32_t rank) const {
  const auto wave = static_cast<std::size_t>(ranks_[static_cast<std::size_t>(rank)].wave);
  return execution_.waves[wave].programs[static_cast<std::size_t>(rank)];
}

PreparedInstruction& CpuSchedule::prepared(std::int32_t rank, std::int32_t instruction) {
  const RankState& state = ranks_[static_cast<std::size_t>(rank)];
  PreparedPass& pass =
      run_.waves[static_cast<std::size_t>(state.wave)].passes[static_cast<std::size_t>(state.pass)];
  return pass.ranks[static_cast<std::size_t>(rank)][static_cast<std::size_t>(instruction)];
}

CpuSchedule::LinkState& CpuSchedule::link_state(const LinkNumber& number) {
  auto& states = links_[static_cast<std::size_t>(number.wave)][static_cast<std::size_t>(number.pass)];
  return states[static_cast<std::size_t>(number.link)];
}

/// Of the ranks of this process, both passes.
std::int64_t CpuSchedule::instruction_count(std::size_t wave) const {
  std::int64_t count = 0;
  for (std::int32_t rank = local_.begin; rank < local_.end; ++rank) {
    const RankProgram& program = execution_.waves[wave].programs[static_cast<std::size_t>(rank)];
    count += std::ssize(program.forward) + std::ssize(program.backward);
  }
  return count;
}

/// Events lie in the order of their key: repeat, wave, layer, pass, rank, instruction.
std::int64_t CpuSchedule::first_event(std::int32_t rank) const {
  const RankState& state = ranks_[static_cast<std::size_t>(rank)];
  const ExecutableWave& wave = execution_.waves[static_cast<std::size_t>(state.wave)];
  std::int64_t index = repeat_ * events_per_repeat_ +
                       first_event_of_wave_[static_cast<std::size_t>(state.wave)] +
                       state.layer * instruction_count(static_cast<std::size_t>(state.wave));
  for (std::int32_t each = local_.begin; each < local_.end; ++each) {
    const RankProgram& program = wave.programs[static_cast<std::size_t>(each)];
    if (state.pass == Pass::backward) index += std::ssize(program.forward);
    if (program.rank < rank) index += std::ssize(program.instructions(state.pass));
  }
  return index;
}

TimelineEvent* CpuSchedule::event(std::int32_t rank, std::int32_t instruction) {
  if (events_.empty()) return nullptr;
  return &events_[static_cast<std::size_t>(ranks_[static_cast<std::size_t>(rank)].first_event + instruction)];
}

void CpuSchedule::begin_repeat(std::int32_t repeat, std::int64_t now_ns) {
  repeat_ = repeat;
  loading_ = unfinished_ranks_ = local_.count();
  started_ = false;
  sent_ = {};
  start_ns_ = last_end_ns_ = now_ns;
  for (std::int32_t rank = local_.begin; rank < local_.end; ++rank) {
    RankState& state = ranks_[static_cast<std::size_t>(rank)];
    state.wave = 0;
    state.done = false;
    state.served_ns = 0;
    begin_load(rank);
  }
  settle(now_ns);
}

void CpuSchedule::begin_load(std::int32_t rank) {
  RankState& state = ranks_[static_cast<std::size_t>(rank)];
  const auto r = static_cast<std::size_t>(rank);
  if (options_.poison) {
    std::memset(run_.arenas[r].get(), kPoisonByte, static_cast<std::size_t>(run_.arena_bytes[r].count));
  }
  const PreparedOperation& load = run_.waves[static_cast<std::size_t>(state.wave)].load[r];
  state.items_left = load.item_count();
  if (state.items_left > 0) {
    activate(rank, kLoad, load);
  } else {
    happenings_.push({Happening::Kind::loaded, rank, kLoad});
  }
}

void CpuSchedule::loaded(std::int32_t rank, std::int64_t now_ns) {
  RankState& state = ranks_[static_cast<std::size_t>(rank)];
  state.layer = 0;
  state.pass = Pass::forward;
  if (state.wave > 0) {
    begin_pass(rank);
  } else if (--loading_ == 0 && !gated_) {
    start_ranks(now_ns);
  }
}

void CpuSchedule::start_ranks(std::int64_t now_ns) {
  start_ns_ = last_end_ns_ = now_ns;
  started_ = true;
  for (std::int32_t rank = local_.begin; rank < local_.end; ++rank) {
    ranks_[static_cast<std::size_t>(rank)].served_ns = 0;
    begin_pass(rank);
  }
}

void CpuSchedule::start(std::int64_t now_ns) {
  start_ranks(std::max(now_ns_, now_ns));
  settle(now_ns);
}

/// Moves to the pass after this one; false after the last, the backward pass of the first layer.
bool CpuSchedule::next_pass(RankState& state) const {
  if (state.pass == Pass::forward) {
    if (state.layer + 1 < options_.layers) {
      ++state.layer;
    } else {
      state.pass = Pass::backward;
    }
    return true;
  }
  if (state.layer == 0) return false;
  --state.layer;
  return true;
}

void CpuSchedule::begin_pass(std::int32_t rank) {
  RankState& state = ranks_[static_cast<std::size_t>(rank)];
  // A rank may have nothing to do in any of its passes, and there may be a million of them.
  while (pass_of(state).ranks[static_cast<std::size_t>(rank)].empty()) {
    if (!next_pass(state)) return begin_store(rank);
  }
  const auto& instructions = pass_of(state).ranks[static_cast<std::size_t>(rank)];
  state.unfinished = std::ssize(instructions);
  state.first_event = first_event(rank);
  if (options_.poison) {
    const RankProgram& program = program_of(rank);
    std::fill(state.poisoned.begin(), state.poisoned.end(), char{0});
    for (const Buffer& buffer : program.buffers) {
      if (!buffer.persistent) poison(rank, buffer);
    }
  }
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    state.instructions[i] = {};
    state.instructions[i].waiting = instructions[i].dependencies;
    if (instructions[i].dependencies == 0) {
      happenings_.push({Happening::Kind::posted, rank, static_cast<std::int32_t>(i)});
    }
  }
}

void CpuSchedule::end_pass(std::int32_t rank) {
  if (next_pass(ranks_[static_cast<std::size_t>(rank)])) return begin_pass(rank);
  begin_store(rank);
}

void CpuSchedule::begin_store(std::int32_t rank) {
  RankState& state = ranks_[static_cast<std::size_t>(rank)];
  const auto& stores = run_.waves[static_cast<std::size_t>(state.wave)].store;
  const PreparedOperation& store = stores[static_cast<std::size_t>(rank)];
  const bool last_repeat = repeat_ + 1 == options_.repeats;
  state.items_left = last_repeat ? store.item_count() : 0;
  if (state.items_left > 0) {
    activate(rank, kStore, store);
  } else {
    happenings_.push({Happening::Kind::stored, rank, kStore});
  }
}

void CpuSchedule::stored(std::int32_t rank) {
  RankState& state = ranks_[static_cast<std::size_t>(rank)];
  if (state.wave + 1 < std::ssize(run_.waves)) {
    ++state.wave;
    begin_load(rank);
  } else {
    state.done = true;
    --unfinished_ranks_;
  }
}

void CpuSchedule::poison(std::int32_t rank, const Buffer& buffer) {
  std::byte* data = run_.arenas[static_cast<std::size_t>(rank)].get() + buffer.arena_offset;
  std::memset(data, kPoisonByte, static_cast<std::size_t>(buffer.bytes().count));
}

/// A rank that was idle does not get to catch up with those that were not.
void CpuSchedule::activate(std::int32_t rank, std::int32_t instruction, const PreparedOperation& operation) {
  RankState& state = ranks_[static_cast<std::size_t>(rank)];
  if (state.active.empty() && state.running == 0) {
    std::int64_t least = -1;
    for (std::int32_t each = local_.begin; each < local_.end; ++each) {
      const RankState& other = ranks_[static_cast<std::size_t>(each)];
      if (other.active.empty() && other.running == 0) continue;
      least = least < 0 ? other.served_ns : std::min(least, other.served_ns);
    }
    state.served_ns = std::max(state.served_ns, least);
  }
  state.active.push_back({instruction, &operation, 0, operation.item_count()});
  more_work_ = true;
}

void CpuSchedule::post(std::int32_t rank, std::int32_t instruction, std::int64_t now_ns) {
  RankState& rank_state = ranks_[static_cast<std::size_t>(rank)];
  InstructionState& state = rank_state.instructions[static_cast<std::size_t>(instruction)];
  const PreparedInstruction& what = prepared(rank, instruction);
  state.phase = Phase::posted;
  if (TimelineEvent* record = event(rank, instruction)) {
    *record = {repeat_, rank_state.wave, rank_state.layer, rank_state.pass, rank, instruction};
    record->posted_ns = record->matched_ns = now_ns - start_ns_;
    record->flops = what.flops;
  }
  for (const std::int32_t buffer : what.writes) {
    char& done = rank_state.poisoned[static_cast<std::size_t>(buffer)];
    if (done == 0) poison(rank, program_of(rank).buffers[static_cast<std::size_t>(buffer)]);
    done = 1;
  }
  const auto& links = pass_of(rank_state).links.of_instruction[static_cast<std::size_t>(rank)];
  if (!links[static_cast<std::size_t>(instruction)].empty()) return post_exchange(rank, instruction, now_ns);
  state.items_left = what.operation.item_count();
  if (state.items_left > 0) {
    activate(rank, instruction, what.operation);
  } else {
    happenings_.push({Happening::Kind::ended, rank, instruction});
  }
}

void CpuSchedule::post_exchange(std::int32_t rank, std::int32_t instruction, std::int64_t now_ns) {
  const RankState& rank_state = ranks_[static_cast<std::size_t>(rank)];
  const ExchangeLinks& all = pass_of(rank_state).links;
  const auto& links =
      all.of_instruction[static_cast<std::size_t>(rank)][static_cast<std::size_t>(instruction)];
  InstructionState& state =
      ranks_[static_cast<std::size_t>(rank)].instructions[static_cast<std::size_t>(instruction)];
  state.links_left = static_cast<std::int32_t>(links.size());
  for (const std::int32_t index : links) {
    const LinkNumber number{rank_state.wave, rank_state.pass, index};
    LinkState& link = link_state(number);
    const ExchangeLink& what = all.links[static_cast<std::size_t>(index)];
    ++link.arrived;
    if (what.remote) {
      remote_posts_.push(number);
      ++remote_under_way_;
      more_work_ = true;
      continue;
    }
    if (link.arrived < 2) continue;
    for (const auto& [end, end_instruction] :
         {std::pair(what.source, what.source_instruction), std::pair(what.target, what.target_instruction)}) {
      if (TimelineEvent* record = event(end, end_instruction)) record->matched_ns = now_ns - start_ns_;
    }
    link = {0, what.chunk_begin, what.chunk_end - what.chunk_begin};
    if (link.left == 0) {
      end_link(number);
    } else {
      copies_.push(number);
      more_work_ = true;
    }
  }
}

void CpuSchedule::end_link(const LinkNumber& number) {
  const PreparedPass& pass =
      run_.waves[static_cast<std::size_t>(number.wave)].passes[static_cast<std::size_t>(number.pass)];
  const ExchangeLink& link = pass.links.links[static_cast<std::size_t>(number.link)];
  if (link.source != link.target && local_.contains(link.source)) {
    sent_ += Bytes{link.bytes};
    if (TimelineEvent* record = event(link.source, link.source_instruction)) record->bytes += link.bytes;
  }
  for (const auto& [rank, instruction] :
       {std::pair(link.source, link.source_instruction), std::pair(link.target, link.target_instruction)}) {
    if (!local_.contains(rank)) continue;
    auto& states = ranks_[static_cast<std::size_t>(rank)].instructions;
    if (--states[static_cast<std::size_t>(instruction)].links_left > 0) continue;
    happenings_.push({Happening::Kind::ended, rank, instruction});
  }
}

void CpuSchedule::end_instruction(std::int32_t rank, std::int32_t instruction, std::int64_t now_ns) {
  RankState& state = ranks_[static_cast<std::size_t>(rank)];
  state.instructions[static_cast<std::size_t>(instruction)].phase = Phase::ended;
  last_end_ns_ = std::max(last_end_ns_, now_ns);
  if (TimelineEvent* record = event(rank, instruction)) record->end_ns = now_ns - start_ns_;
  for (const std::int32_t successor : prepared(rank, instruction).successors) {
    if (--state.instructions[static_cast<std::size_t>(successor)].waiting > 0) continue;
    happenings_.push({Happening::Kind::posted, rank, successor});
  }
  if (--state.unfinished == 0) end_pass(rank);
}

void CpuSchedule::settle(std::int64_t now_ns) {
  // Workers read the clock before they take the lock, so they may arrive in another order.
  now_ns = now_ns_ = std::max(now_ns_, now_ns);
  while (!happenings_.empty()) {
    const Happening happening = happenings_.front();
    happenings_.pop();
    switch (happening.kind) {
      case Happening::Kind::loaded:
        loaded(happening.rank, now_ns);
        break;
      case Happening::Kind::stored:
        stored(happening.rank);
        break;
      case Happening::Kind::posted:
        post(happening.rank, happening.instruction, now_ns);
        break;
      case Happening::Kind::ended:
        end_instruction(happening.rank, happening.instruction, now_ns);
        break;
    }
  }
}

bool CpuSchedule::claim(Claim& claim) {
  if (!copies_.empty()) {
    const LinkNumber number = copies_.front();
    const PreparedPass& pass =
        run_.waves[static_cast<std::size_t>(number.wave)].passes[static_cast<std::size_t>(number.pass)];
    const ExchangeLink& link = pass.links.links[static_cast<std::size_t>(number.link)];
    LinkState& state = link_state(number);
    claim = {link.target,
             link.target_instruction,
             nullptr,
             state.next,
             &pass.links.chunks[static_cast<std::size_t>(state.next)],
             number};
    if (++state.next == link.chunk_end) copies_.pop();
    ++running_;
    return true;
  }
  RankState* best = nullptr;
  for (std::int32_t rank = local_.begin; rank < local_.end; ++rank) {
    RankState& state = ranks_[static_cast<std::size_t>(rank)];
    if (state.active.empty()) continue;
    if (best == nullptr ||
        std::tie(state.running, state.served_ns) < std::tie(best->running, best->served_ns)) {
      best = &state;
    }
  }
  if (best == nullptr) return false;
  ActiveWork& work = best->active.front();
  claim = {static_cast<std::int32_t>(best - ranks_.data()),
           work.instruction,
           work.operation,
           work.next,
           nullptr,
           {}};
  if (++work.next == work.count) best->active.erase(best->active.begin());
  ++best->running;
  ++running_;
  return true;
}

bool CpuSchedule::complete(const Claim& claim, std::int64_t begin_ns, std::int64_t end_ns) {
  more_work_ = false;
  --running_;
  RankState& state = ranks_[static_cast<std::size_t>(claim.rank)];
  if (claim.chunk != nullptr) {
    if (--link_state(claim.link).left == 0) end_link(claim.link);
  } else {
    --state.running;
    state.served_ns += end_ns - begin_ns;
    const bool whole_rank = claim.instruction < 0;
    std::int64_t& left = whole_rank
                             ? state.items_left
                             : state.instructions[static_cast<std::size_t>(claim.instruction)].items_left;
    if (--left == 0) {
      const auto kind = claim.instruction == kLoad    ? Happening::Kind::loaded
                        : claim.instruction == kStore ? Happening::Kind::stored
                                                      : Happening::Kind::ended;
      happenings_.push({kind, claim.rank, claim.instruction});
    }
  }
  settle(end_ns);
  return more_work_;
}

bool CpuSchedule::take_remote(LinkNumber& number) {
  if (remote_posts_.empty()) return false;
  number = remote_posts_.front();
  remote_posts_.pop();
  return true;
}

bool CpuSchedule::complete_remote(const LinkNumber& number, std::int64_t now_ns) {
  more_work_ = false;
  --remote_under_way_;
  link_state(number).arrived = 0;
  end_link(number);
  settle(now_ns);
  return more_work_;
}

/// The first posted instruction of `rank`, when the rank is not done.
CpuSchedule::Stuck CpuSchedule::describe_stuck(std::int32_t rank) const {
  const RankState& state = ranks_[static_cast<std::size_t>(rank)];
  if (state.done) return {};
  const PreparedPass& pass = pass_of(state);
  const auto& states = links_[static_cast<std::size_t>(state.wave)][static_cast<std::size_t>(state.pass)];
  const auto& instructions = program_of(rank).instructions(state.pass);
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    if (state.instructions[i].phase != Phase::posted) continue;
    std::set<std::int32_t> peers;
    bool remote = false;
    for (const std::int32_t index : pass.links.of_instruction[static_cast<std::size_t>(rank)][i]) {
      if (states[static_cast<std::size_t>(index)].arrived == 0) continue;
      const ExchangeLink& link = pass.links.links[static_cast<std::size_t>(index)];
      remote = remote || link.remote;
      peers.insert(link.source == rank ? link.target : link.source);
    }
    const std::string waits = peers.empty() ? "" : fmt::format(", waits for rank {}", fmt::join(peers, ", "));
    return {rank,
            fmt::format("{} instruction {} ({}) of wave {}, layer {} cannot end{}", to_string(state.pass), i,
                        kind_name(instructions[i].op), state.wave, state.layer, waits),
            remote};
  }
  return {};
}

CpuSchedule::Stuck CpuSchedule::describe_stuck() const {
  std::vector<Stuck> found;
  for (std::int32_t rank = local_.begin; rank < local_.end; ++rank) {
    Stuck stuck = describe_stuck(rank);
    if (stuck.rank >= 0) found.push_back(std::move(stuck));
  }
  if (found.empty()) {
    // Nothing is posted while inputs are made or results copied out.
    for (std::int32_t rank = local_.begin; rank < local_.end; ++rank) {
      const RankState& state = ranks_[static_cast<std::size_t>(rank)];
      if (!state.done)
        return {rank, fmt::format("the inputs or results of wave {} are not ready", state.wave)};
    }
    return {};
  }
  std::stable_partition(found.begin(), found.end(), [](const Stuck& stuck) { return stuck.remote; });
  Stuck result = found.front();
  // Without other processes two ranks of this one wait for each other, and the second says why.
  if (!result.remote && found.size() > 1) {
    fmt::format_to(std::back_inserter(result.sentence), "; rank {}: {}", found[1].rank, found[1].sentence);
  }
  return result;
}

}  // namespace strata
