// SPDX-License-Identifier: Apache-2.0
#include "executor/device_executor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <new>
#include <numeric>
#include <thread>

#include "core/check.hpp"
#include "executor/device_pass.hpp"
#include "executor/device_tensors.hpp"
#include "executor/kernel_arguments.hpp"
#include "executor/prepared_run.hpp"

namespace strata {

namespace {

/// Passes issued beyond the one that runs: enough to keep the device busy, few enough that no queue of the
/// driver fills up and blocks this thread, which has a deadline to keep.
constexpr std::int32_t kPassesAhead = 2;

using Clock = std::chrono::steady_clock;

/// Sleeps longer the longer it has waited.
void pause(Clock::duration waited) {
  using std::chrono::microseconds;
  if (waited < microseconds(500)) return std::this_thread::yield();
  std::this_thread::sleep_for(waited < std::chrono::milliseconds(50) ? microseconds(50) : microseconds(500));
}

class DeviceRun {
 public:
  DeviceRun(const Execution& execution, const DeviceOptions& options, Accelerator& device)
      : execution_(execution),
        options_(options),
        device_(device),
        tracked_(options.record_timeline || options.deadline.ns > 0) {
    STRATA_CHECK(options.layers > 0 && options.repeats > 0, "{} layers, {} repeats", options.layers,
                 options.repeats);
    STRATA_CHECK(!execution.waves.empty(), "an execution without waves");
    place_arenas();
    add_streams();
    compile();
    add_events();
  }

  RunResult run() {
    RunResult result;
    for (std::int32_t repeat = 0; repeat < options_.repeats; ++repeat) {
      wave_begin_ns_ = 0;
      const bool last = repeat + 1 == options_.repeats;
      for (std::size_t w = 0; w < execution_.waves.size(); ++w) {
        load(w);
        run_wave(w, repeat, result.timeline.events);
        if (last && options_.keep_results) result.results.push_back(store(w));
      }
      result.wall.push_back({wave_begin_ns_});
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
    timeline.source = options_.serial ? options_.source + "-serial" : options_.source;
    timeline.plan_digest = execution_.plan_digest;
    timeline.cores_per_device = device_.multiprocessors();
    timeline.rank_count = static_cast<std::int32_t>(arena_bytes_.size());
    timeline.layers = options_.layers;
    timeline.repeats = options_.repeats;
    std::sort(timeline.events.begin(), timeline.events.end(), key_less);
    return result;
  }

 private:
  /// One layer's forward or backward.
  struct PassRun {
    Pass pass = Pass::forward;
    std::int32_t layer = 0;
  };
  PassRun pass_run(std::int32_t number) const {
    if (number < options_.layers) return {Pass::forward, number};
    return {Pass::backward, 2 * options_.layers - 1 - number};
  }
  const DevicePass& compiled(std::size_t wave, std::int32_t number) const {
    return passes_[wave][static_cast<std::size_t>(pass_run(number).pass)];
  }
  const RankProgram& program(std::size_t wave, std::size_t rank) const {
    return execution_.waves[wave].programs[rank];
  }
  /// Where the events of a pass begin in the pool.
  std::int32_t event_base(std::int32_t number) const {
    return first_event_ + number % event_sets_ * events_per_pass_;
  }

  std::byte* allocate(std::int64_t bytes, const std::string& what) {
    const std::int64_t free = device_.free_bytes();
    try {
      if (bytes <= free) return device_.allocate(bytes);
    } catch (const std::bad_alloc&) {
      // Free, but not in one piece: the same message.
    }
    throw DeviceError(-1, fmt::format("{}: found {} bytes free, expected at least {} for {}",
                                      device_.description(), free, bytes, what));
  }

  void place_arenas() {
    arena_bytes_.resize(execution_.waves.front().programs.size());
    for (const ExecutableWave& wave : execution_.waves) {
      STRATA_CHECK(wave.programs.size() == arena_bytes_.size(), "waves of {} and {} ranks",
                   arena_bytes_.size(), wave.programs.size());
      for (std::size_t r = 0; r < arena_bytes_.size(); ++r) {
        STRATA_CHECK(wave.programs[r].rank == static_cast<std::int32_t>(r), "program {} is rank {}'s", r,
                     wave.programs[r].rank);
        check_arena(wave.programs[r]);
        arena_bytes_[r] = std::max(arena_bytes_[r], wave.programs[r].arena);
      }
    }
    std::vector<std::int64_t> offsets;
    std::int64_t total = 0;
    for (const Bytes bytes : arena_bytes_) {
      offsets.push_back(total);
      total += std::max<std::int64_t>(bytes.count, kArenaAlignment);
    }
    arena_total_ = total;
    std::byte* const base = allocate(total, fmt::format("the arenas of {} ranks", arena_bytes_.size()));
    for (const std::int64_t offset : offsets) arenas_.push_back(base + offset);
  }

  void add_streams() {
    const std::size_t ranks = arena_bytes_.size();
    streams_.serial = options_.serial;
    streams_.lanes.assign(ranks, 1);
    for (const ExecutableWave& wave : execution_.waves) {
      for (std::size_t r = 0; r < ranks; ++r) {
        streams_.lanes[r] = std::max(streams_.lanes[r], wave.programs[r].lane_count);
      }
    }
    for (std::size_t r = 0; r < ranks; ++r) {
      if (options_.serial && r > 0) {
        streams_.first.push_back(streams_.first.front());
        continue;
      }
      streams_.first.push_back(device_.add_stream(false));
      all_streams_.push_back(streams_.first.back());
      for (std::int32_t lane = 0; lane < streams_.lanes[r] && !options_.serial; ++lane) {
        all_streams_.push_back(device_.add_stream(true));
        STRATA_CHECK(all_streams_.back() == streams_.of(r, lane_stream(lane)), "streams out of order");
      }
    }
  }

  void compile() {
    DeviceLists lists;
    DevicePassOptions settings;
    settings.stamps = tracked_;
    settings.poison = options_.poison;
    if (!options_.plain_attention) {
      const kernels::AttentionShape shape = kernel_shape(execution_.model);
      settings.tiles.forward = device_.prepare_attention(kernels::WorkKind::forward, shape);
      settings.tiles.grad_q = device_.prepare_attention(kernels::WorkKind::grad_q, shape);
      settings.tiles.grad_kv = device_.prepare_attention(kernels::WorkKind::grad_kv, shape);
    }
    for (const ExecutableWave& wave : execution_.waves) {
      auto& passes = passes_.emplace_back();
      for (const Pass pass : {Pass::forward, Pass::backward}) {
        passes[static_cast<std::size_t>(pass)] =
            compile_pass(wave.programs, pass, execution_.model, arenas_, streams_, settings, lists);
      }
    }
    if (lists.bytes().empty()) return;
    lists_ = allocate(std::ssize(lists.bytes()), "the work lists beside the arenas");
    device_.upload(lists_, lists.bytes());
  }

  void add_events() {
    start_ = device_.add_events(1, true);
    finish_ = device_.add_events(1, true);
    for (const auto& wave : passes_) {
      for (const DevicePass& pass : wave) events_per_pass_ = std::max(events_per_pass_, pass.events);
    }
    event_sets_ = tracked_ ? 2 * options_.layers : kPassesAhead;
    first_event_ = device_.add_events(std::int64_t{event_sets_} * events_per_pass_, options_.record_timeline);
  }

  void load(std::size_t w) {
    device_.fill(all_streams_.front(), arenas_.front(), arena_total_, options_.poison ? kPoisonByte : 0);
    device_.record(all_streams_.front(), start_);
    wait_until(start_, w, 0, Clock::now());
    std::vector<std::byte> staging;
    for (std::size_t r = 0; r < arenas_.size(); ++r) {
      upload_inputs(program(w, r), execution_.waves[w].placement.spans.at(r), execution_.model, options_.seed,
                    options_.threads, arenas_[r], device_, staging);
    }
  }

  std::vector<LocalResults> store(std::size_t w) {
    std::vector<LocalResults> results;
    for (std::size_t r = 0; r < arenas_.size(); ++r) {
      results.push_back(download_results(program(w, r), arenas_[r], device_));
    }
    return results;
  }

  void run_wave(std::size_t w, std::int32_t repeat, std::vector<TimelineEvent>& events) {
    const std::int32_t front = all_streams_.front();
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
    wait_until(finish_, w, runs, Clock::now());
    if (options_.record_timeline) read_times(w, repeat, events);
    wave_begin_ns_ += device_.elapsed_ns(start_, finish_);
  }

  void issue(std::size_t w, std::int32_t number) {
    const DevicePass& pass = compiled(w, number);
    const std::int32_t base = event_base(number);
    const DeviceCommand* command = nullptr;
    try {
      for (const DeviceCommand& each : pass.commands) {
        command = &each;
        issue(pass, base, each);
      }
    } catch (const DeviceError& error) {
      throw DeviceError(
          command->rank,
          fmt::format("{}: {}", sentence(w, number, command->rank, command->instruction), error.what()));
    }
  }

  void issue(const DevicePass& pass, std::int32_t base, const DeviceCommand& command) {
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
    }
  }

  std::string sentence(std::size_t w, std::int32_t number, std::int32_t rank,
                       std::int32_t instruction) const {
    const PassRun run = pass_run(number);
    const std::string place = fmt::format("of wave {}, layer {}", w, run.layer);
    if (instruction < 0) return fmt::format("{} {}", to_string(run.pass), place);
    const auto& instructions = program(w, static_cast<std::size_t>(rank)).instructions(run.pass);
    return fmt::format("{} instruction {} ({}) {}", to_string(run.pass), instruction,
                       kind_name(instructions[static_cast<std::size_t>(instruction)].op), place);
  }

  /// Passes [0, issued) have been issued.
  void wait_for_pass(std::size_t w, std::int32_t number, std::int32_t issued) {
    const Clock::time_point begin = Clock::now();
    for (const std::int32_t event : compiled(w, number).ended) {
      wait_until(event_base(number) + event, w, issued, begin);
    }
  }

  /// Polls until the event happens; the deadline counts from `begin`.
  void wait_until(std::int32_t event, std::size_t w, std::int32_t issued, Clock::time_point begin) {
    while (!device_.happened(event)) {
      const Clock::duration waited = Clock::now() - begin;
      if (options_.deadline.ns > 0 && waited > std::chrono::nanoseconds(options_.deadline.ns)) {
        fail_late(w, issued);
      }
      pause(waited);
    }
  }

  /// Names an instruction that has begun and not ended, or the first that has not begun.
  [[noreturn]] void fail_late(std::size_t w, std::int32_t issued) {
    for (const bool begun : {true, false}) {
      for (std::int32_t number = 0; number < issued; ++number) {
        const DevicePass& pass = compiled(w, number);
        const std::int32_t base = event_base(number);
        for (std::size_t r = 0; r < pass.ranks.size(); ++r) {
          for (std::size_t i = 0; i < pass.ranks[r].size(); ++i) {
            const DeviceInstruction& each = pass.ranks[r][i];
            if (device_.happened(base + each.end) || device_.happened(base + each.begin) != begun) continue;
            const auto rank = static_cast<std::int32_t>(r);
            throw DeviceError(rank, fmt::format("{} has not {}: nothing has moved for {} s",
                                                sentence(w, number, rank, static_cast<std::int32_t>(i)),
                                                begun ? "ended" : "begun",
                                                static_cast<double>(options_.deadline.ns) * 1e-9));
          }
        }
      }
    }
    throw DeviceError(-1,
                      fmt::format("{}: not done within {} s, although every instruction has ended",
                                  device_.description(), static_cast<double>(options_.deadline.ns) * 1e-9));
  }

  void read_times(std::size_t w, std::int32_t repeat, std::vector<TimelineEvent>& events) {
    for (std::int32_t number = 0; number < 2 * options_.layers; ++number) {
      const DevicePass& pass = compiled(w, number);
      const PassRun run = pass_run(number);
      const auto time = [&](std::int32_t event) {
        return wave_begin_ns_ + device_.elapsed_ns(start_, event_base(number) + event);
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

  const Execution& execution_;
  const DeviceOptions& options_;
  Accelerator& device_;
  const bool tracked_;  ///< every instruction's begin and end is an event of its own, in every layer
  std::vector<Bytes> arena_bytes_;
  std::int64_t arena_total_ = 0;
  std::vector<std::byte*> arenas_;
  DeviceStreams streams_;
  std::vector<std::int32_t> all_streams_;
  std::vector<std::array<DevicePass, 2>> passes_;  ///< [wave][Pass]
  std::byte* lists_ = nullptr;
  std::int32_t start_ = 0, finish_ = 0, first_event_ = 0;
  std::int32_t events_per_pass_ = 0, event_sets_ = 1;
  std::int64_t wave_begin_ns_ = 0;
};

}  // namespace

RunResult run_on_device(const Execution& execution, const DeviceOptions& options, Accelerator& device) {
  return DeviceRun(execution, options, device).run();
}

}  // namespace strata
