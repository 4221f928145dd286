// SPDX-License-Identifier: Apache-2.0
#include "executor/device/device_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>
#include <thread>

#include "core/base/check.hpp"
#include "executor/device/device_tensors.hpp"
#include "executor/device_error.hpp"
#include "executor/prepared_run.hpp"

namespace strata {

namespace {

/// An event on an idle stream happens within this time, or something is wrong.
constexpr std::int64_t kTieNs = 100'000'000;

/// The driver's queue of a stream holds about a thousand launches, waits and records; issuing to a full one
/// waits, for as long as it takes. Streams share this many queues.
constexpr std::int32_t kMarkEntries = 128, kQueues = 32, kFewestEntries = 8;

/// Of the driver's queue, for one command; an exchange is a launch with events of the network's own around
/// it.
std::int32_t queue_entries(const DevicePass& pass, const DeviceCommand& command) {
  if (command.kind == DeviceCommand::Kind::exchange) return 8;
  if (command.kind != DeviceCommand::Kind::launch) return 1;
  const DeviceLaunch& launch = pass.launches[static_cast<std::size_t>(command.index)];
  if (std::holds_alternative<TiledLaunch>(launch)) return 2;
  const auto* const plain = std::get_if<ReferenceLaunch>(&launch);
  if (plain == nullptr) return 1;
  return static_cast<std::int32_t>(plain->host_queries.size() +
                                   (plain->backward ? plain->host_keys.size() : 0));
}

/// Sleeps longer the longer it has waited.
void pause(std::chrono::steady_clock::duration waited) {
  using std::chrono::microseconds;
  if (waited < microseconds(500)) return std::this_thread::yield();
  std::this_thread::sleep_for(waited < std::chrono::milliseconds(50) ? microseconds(50) : microseconds(500));
}

/// What the error says after its rank.
std::string_view words_of(const DeviceError& error) {
  std::string_view text = error.what();
  const std::string rank = fmt::format("rank {}: ", error.rank());
  if (text.starts_with(rank)) text.remove_prefix(rank.size());
  return text;
}

}  // namespace

RunResult DeviceRun::run() {
  RunResult result;
  for (std::int32_t repeat = 0; repeat < options_.repeats; ++repeat) {
    wave_begin_ns_ = 0;
    const bool last = repeat + 1 == options_.repeats;
    for (std::size_t w = 0; w < execution_.waves.size(); ++w) {
      load(w);
      run_wave(w, repeat, result.timeline.events);
      if (last && options_.keep_results) result.results.push_back(store(w));
    }
    if (job_ == nullptr) result.wall.push_back({wave_begin_ns_});
  }
  for (const auto& wave : passes_) {
    for (const DevicePass& pass : wave) {
      for (const auto& rank : pass.ranks) {
        for (const DeviceInstruction& each : rank) result.sent += Bytes{each.bytes} * options_.layers;
      }
    }
  }
  result.arena = arena_bytes_;
  Timeline& timeline = result.timeline;
  state_run(execution_, options_.serial ? options_.source + "-serial" : options_.source, options_.layers,
            options_.repeats, timeline);
  std::sort(timeline.events.begin(), timeline.events.end(), key_less);
  return result;
}

void DeviceRun::load(std::size_t w) {
  std::byte* const arenas = arenas_[static_cast<std::size_t>(local_.begin)];
  device_.fill(all_streams_.front(), arenas, arena_total_, options_.poison ? kPoisonByte : 0);
  device_.record(all_streams_.front(), start_);
  wait_until(start_, w, 0);
  std::vector<std::byte> staging;
  for (const std::size_t r : local_ranks_) {
    upload_inputs(program(w, r), execution_.waves[w].placement.spans.at(r), execution_.model, options_.seed,
                  options_.threads, arenas_[r], device_, staging);
  }
}

std::vector<LocalResults> DeviceRun::store(std::size_t w) {
  std::vector<LocalResults> results(arenas_.size());
  for (const std::size_t r : local_ranks_) {
    results[r] = download_results(program(w, r), arenas_[r], device_);
  }
  return results;
}

void DeviceRun::run_wave(std::size_t w, std::int32_t repeat, std::vector<TimelineEvent>& events) {
  const std::int32_t front = all_streams_.front();
  ClockTie begin;
  if (job_ != nullptr) {
    job_->control.barrier("beginning a wave");
    begin = tie_clocks(w, first_tie_);
  }
  queues_.assign(static_cast<std::size_t>(all_streams_.back()) + 1, {});
  device_.record(front, start_);
  for (const std::int32_t stream : all_streams_) {
    if (stream != front) device_.wait(stream, start_);
  }
  const std::int32_t runs = 2 * options_.layers;
  for (std::int32_t number = 0; number < runs + kPassesAhead; ++number) {
    const std::int32_t before = number - kPassesAhead;
    if (before >= 0) wait_for_pass(w, before, std::min(number, runs));
    if (number < runs) issue(w, number);
  }
  for (const std::int32_t event : compiled(w, runs - 1).ended) {
    device_.wait(front, event_base(runs - 1) + event);
  }
  device_.record(front, finish_);
  wait_until(finish_, w, runs);
  if (job_ != nullptr) note_wave(begin, tie_clocks(w, first_tie_ + 1));
  if (options_.record_timeline) read_times(w, repeat, events);
  wave_begin_ns_ += device_.elapsed_ns(start_, finish_);
}

DeviceRun::ClockTie DeviceRun::tie_clocks(std::size_t w, std::int32_t event) {
  const std::int64_t before = monotonic_ns();
  device_.record(all_streams_.front(), event);
  while (!device_.happened(event)) {
    if (monotonic_ns() - before < kTieNs) continue;
    wait_until(event, w, 0);
  }
  const std::int64_t trip = monotonic_ns() - before;
  return {event, before + trip / 2, (trip + 1) / 2};
}

void DeviceRun::note_wave(const ClockTie& begin, const ClockTie& end) {
  const auto device_ns = static_cast<double>(device_.elapsed_ns(begin.event, end.event));
  host_per_device_ = device_ns > 0 ? static_cast<double>(end.host_ns - begin.host_ns) / device_ns : 1;
  const auto host = [&](std::int32_t event) {
    return begin.host_ns + scaled(device_.elapsed_ns(begin.event, event));
  };
  record_.begin_ns.push_back(host(start_));
  record_.end_ns.push_back(host(finish_));
  record_.sections = static_cast<std::int32_t>(execution_.waves.size());
  record_.device_error_ns = std::max({record_.device_error_ns, begin.error_ns, end.error_ns});
}

void DeviceRun::issue(std::size_t w, std::int32_t number) {
  const DevicePass& pass = compiled(w, number);
  const std::int32_t base = event_base(number);
  const DeviceCommand* before = nullptr;
  const PassRun run = pass_run(number);
  device_.begin_range(pass_ranges_[static_cast<std::size_t>(run.pass)], run.layer);
  for (const DeviceCommand& each : pass.commands) {
    enter_range(pass, before, &each);
    before = &each;
    try {
      issue(pass, base, each);
    } catch (const JobEnded&) {
      throw;  // another process has said why
    } catch (const DeviceError& error) {
      const Place place{number, each.rank, each.instruction};
      throw DeviceError(place.rank, fmt::format("{}: {}", sentence(w, place), words_of(error)));
    }
    ++issued_part_;
    limit_queue(w, number, each);
  }
  issued_part_ = 0;
  enter_range(pass, before, nullptr);
  device_.end_range();
}

void DeviceRun::limit_queue(std::size_t w, std::int32_t number, const DeviceCommand& command) {
  const auto streams = static_cast<std::int32_t>(all_streams_.size());
  const std::int32_t most = std::max(kFewestEntries, kMarkEntries * kQueues / std::max(kQueues, streams));
  StreamQueue& queue = queues_[static_cast<std::size_t>(command.stream)];
  queue.entries += queue_entries(compiled(w, number), command);
  if (command.kind != DeviceCommand::Kind::record || queue.entries < most) return;
  if (queue.mark >= 0) wait_until(queue.mark, w, number);
  queue = {0, event_base(number) + command.index};
}

void DeviceRun::enter_range(const DevicePass& pass, const DeviceCommand* before, const DeviceCommand* next) {
  const auto of_instruction = [](const DeviceCommand* command) {
    return command != nullptr && command->instruction >= 0;
  };
  const bool was_in = of_instruction(before), is_in = of_instruction(next);
  if (was_in && is_in && before->rank == next->rank && before->instruction == next->instruction) return;
  if (was_in) device_.end_range();
  if (!is_in) return;
  const auto& rank = pass.ranks[static_cast<std::size_t>(next->rank)];
  device_.begin_range(rank[static_cast<std::size_t>(next->instruction)].range_name, next->instruction);
}

void DeviceRun::issue(const DevicePass& pass, std::int32_t base, const DeviceCommand& command) {
  switch (command.kind) {
    case DeviceCommand::Kind::wait:
      return device_.wait(command.stream, base + command.index);
    case DeviceCommand::Kind::record:
      return device_.record(command.stream, base + command.index);
    case DeviceCommand::Kind::launch:
      return device_.launch(command.stream, pass.launches[static_cast<std::size_t>(command.index)], lists_);
    case DeviceCommand::Kind::poison: {
      const PoisonedPiece& piece = pass.pieces[static_cast<std::size_t>(command.index)];
      return device_.fill(command.stream, piece.data, piece.bytes, kPoisonByte);
    }
    case DeviceCommand::Kind::exchange: {
      const DeviceExchange& exchange = pass.exchanges[static_cast<std::size_t>(command.index)];
      return job_->network.exchange(command.stream, exchange.lane, exchange.parts);
    }
  }
}

std::string DeviceRun::sentence(std::size_t w, const Place& place) const {
  const PassRun run = pass_run(place.number);
  const std::string where = fmt::format("of wave {}, layer {}", w, run.layer);
  if (place.instruction < 0) return fmt::format("{} {}", to_string(run.pass), where);
  const Operation& op = program(w, static_cast<std::size_t>(place.rank))
                            .instructions(run.pass)[static_cast<std::size_t>(place.instruction)]
                            .op;
  return fmt::format("{} instruction {} ({}) {}{}", to_string(run.pass), place.instruction, kind_name(op),
                     where, job_ == nullptr ? "" : peers_of(op, place.rank));
}

std::string DeviceRun::peers_of(const Operation& op, std::int32_t rank) const {
  const Exchange* const exchange = exchange_of(op);
  if (exchange == nullptr) return "";
  std::set<std::int32_t> peers;
  for (const auto* parts : {&exchange->sends, &exchange->receives}) {
    for (const ExchangePart& part : *parts) peers.insert(part.peer);
  }
  peers.erase(rank);
  if (peers.empty()) return "";
  return fmt::format(", with rank{} {}", peers.size() == 1 ? "" : "s", fmt::join(peers, ", "));
}

void DeviceRun::wait_for_pass(std::size_t w, std::int32_t number, std::int32_t issued) {
  Patience left(deadline_);
  for (const std::int32_t event : compiled(w, number).ended) {
    wait_until(event_base(number) + event, w, issued, left);
  }
}

void DeviceRun::wait_until(std::int32_t event, std::size_t w, std::int32_t issued, Patience& left) {
  const Clock::time_point begin = Clock::now();
  while (true) {
    // First, or what the end of the job does to the network would be reported in its place.
    if (job_ != nullptr) job_->control.check_alive();
    if (look(event, w, issued)) return;
    if (deadline_.ns > 0 && left.exhausted(monotonic_ns())) fail_late(w, issued);
    pause(Clock::now() - begin);
  }
}

bool DeviceRun::look(std::int32_t event, std::size_t w, std::int32_t issued) {
  if (job_ == nullptr) return device_.happened(event);
  try {
    const bool happened = device_.happened(event);
    if (!happened) job_->network.check();
    return happened;
  } catch (const DeviceError& error) {
    fail_named(error, w, issued);
  }
}

std::optional<DeviceRun::Place> DeviceRun::find(Awaited what, std::size_t w, std::int32_t issued) {
  for (std::int32_t number = 0; number < issued + (issued_part_ > 0 ? 1 : 0); ++number) {
    const DevicePass& pass = compiled(w, number);
    const std::int32_t base = event_base(number);
    std::vector<char> recorded(static_cast<std::size_t>(pass.events));
    for (std::size_t c = 0; c < (number < issued ? pass.commands.size() : issued_part_); ++c) {
      const DeviceCommand& command = pass.commands[c];
      if (command.kind == DeviceCommand::Kind::record) recorded[static_cast<std::size_t>(command.index)] = 1;
    }
    const auto happened = [&](std::int32_t event) {
      return recorded[static_cast<std::size_t>(event)] != 0 && device_.happened(base + event);
    };
    for (std::size_t r = 0; r < pass.ranks.size(); ++r) {
      const auto& list = program(w, r).instructions(pass_run(number).pass);
      for (std::size_t i = 0; i < pass.ranks[r].size(); ++i) {
        const DeviceInstruction& each = pass.ranks[r][i];
        if (each.begin < 0 || recorded[static_cast<std::size_t>(each.begin)] == 0) continue;
        if (what == Awaited::exchange_under_way && exchange_of(list[i].op) == nullptr) continue;
        if (happened(each.end) || happened(each.begin) == (what == Awaited::not_begun)) continue;
        return Place{number, static_cast<std::int32_t>(r), static_cast<std::int32_t>(i)};
      }
    }
  }
  return std::nullopt;
}

[[noreturn]] void DeviceRun::fail_late(std::size_t w, std::int32_t issued) {
  for (const Awaited what : {Awaited::under_way, Awaited::not_begun}) {
    const std::optional<Place> place = find(what, w, issued);
    if (!place) continue;
    throw DeviceError(place->rank,
                      fmt::format("{} has not {}: nothing has moved for {} s", sentence(w, *place),
                                  what == Awaited::not_begun ? "begun" : "ended",
                                  static_cast<double>(deadline_.ns) * 1e-9));
  }
  throw DeviceError(-1, fmt::format("{}: not done within {} s, although every instruction has ended",
                                    device_.description(), static_cast<double>(deadline_.ns) * 1e-9));
}

[[noreturn]] void DeviceRun::fail_named(const DeviceError& error, std::size_t w, std::int32_t issued) {
  std::string where;
  try {
    for (const Awaited what : {Awaited::exchange_under_way, Awaited::under_way, Awaited::not_begun}) {
      const std::optional<Place> place = find(what, w, issued);
      if (!place) continue;
      where = sentence(w, *place) + ": ";
      break;
    }
  } catch (const DeviceError&) {
    where.clear();  // a device that has failed answers no question
  }
  throw DeviceError(local_.begin, fmt::format("{}{}", where, words_of(error)));
}

void DeviceRun::read_times(std::size_t w, std::int32_t repeat, std::vector<TimelineEvent>& events) {
  for (std::int32_t number = 0; number < 2 * options_.layers; ++number) {
    const DevicePass& pass = compiled(w, number);
    const PassRun run = pass_run(number);
    const auto time = [&](std::int32_t event) {
      const std::int64_t elapsed = scaled(device_.elapsed_ns(start_, event_base(number) + event));
      return job_ == nullptr ? wave_begin_ns_ + elapsed : elapsed;
    };
    for (std::size_t r = 0; r < pass.ranks.size(); ++r) {
      for (std::size_t i = 0; i < pass.ranks[r].size(); ++i) {
        const DeviceInstruction& each = pass.ranks[r][i];
        TimelineEvent& event = events.emplace_back();
        event = {repeat,   static_cast<std::int32_t>(w), run.layer,
                 run.pass, static_cast<std::int32_t>(r), static_cast<std::int32_t>(i)};
        event.posted_ns = event.matched_ns = time(each.begin);
        for (const std::int32_t partner : each.partners) {
          event.matched_ns = std::max(event.matched_ns, time(partner));
        }
        // Two events' times are rounded each on its own.
        event.end_ns = std::max(event.matched_ns, time(each.end));
        event.bytes = each.bytes;
        event.flops = each.flops;
      }
    }
  }
}

}  // namespace strata
