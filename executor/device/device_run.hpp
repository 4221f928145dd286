// SPDX-License-Identifier: Apache-2.0
// One run of the executor of devices: what it keeps, made before the first instruction (device_setup.cpp),
// and how it is issued, watched and timed (device_run.cpp).
#pragma once

#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "executor/device/device_executor.hpp"
#include "executor/device/device_pass.hpp"
#include "executor/device_error.hpp"
#include "executor/job/process_results.hpp"

namespace strata {

/// The other processes of a job.
struct DeviceJob {
  Control& control;
  DeviceNetwork& network;
};

class DeviceRun {
 public:
  /// Throws DeviceError when the device has too little memory. `job` is null when all ranks are here.
  DeviceRun(const Execution& execution, const DeviceOptions& options, Accelerator& device,
            const DeviceJob* job);
  /// Runs everything and returns this process's result. In a job the result has no walls, and its times are
  /// in record().
  RunResult run();
  /// When the waves began and ended, on the host's clock; in a job only.
  LocalRecord& record() { return record_; }

 private:
  /// Passes issued beyond the one that runs: enough to keep the device busy.
  static constexpr std::int32_t kPassesAhead = 2;

  using Clock = std::chrono::steady_clock;
  /// A moment as both clocks tell it: the device's as an event.
  struct ClockTie {
    std::int32_t event = 0;
    std::int64_t host_ns = 0, error_ns = 0;
  };
  /// One layer's forward or backward.
  struct PassRun {
    Pass pass = Pass::forward;
    std::int32_t layer = 0;
  };
  /// An instruction of the pass `number`.
  struct Place {
    std::int32_t number = 0, rank = 0, instruction = -1;
  };
  /// What a stream was given since its last mark, an event of its own that is waited for before the next
  /// mark.
  struct StreamQueue {
    std::int32_t entries = 0, mark = -1;
  };
  enum class Awaited : std::uint8_t { exchange_under_way, under_way, not_begun };
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
  std::byte* allocate(std::int64_t bytes, const std::string& what);
  void place_arenas();
  void add_streams();
  void compile();
  void name_ranges(const ExecutableWave& wave, Pass pass, DevicePass& compiled);
  void add_events();
  void load(std::size_t w);
  std::vector<LocalResults> store(std::size_t w);
  void run_wave(std::size_t w, std::int32_t repeat, std::vector<TimelineEvent>& events);
  /// Nothing may be under way: the event then happens between the two looks at the host's clock.
  ClockTie tie_clocks(std::size_t w, std::int32_t event);
  /// Notes where the wave lies on the host's clock. Between the ties the device's clock runs evenly.
  void note_wave(const ClockTie& begin, const ClockTie& end);
  std::int64_t scaled(std::int64_t device_ns) const {
    return std::llround(static_cast<double>(device_ns) * host_per_device_);
  }
  void issue(std::size_t w, std::int32_t number);
  /// Ends the range of the instruction that `before` is part of and begins that of `next`; null: of none.
  void enter_range(const DevicePass& pass, const DeviceCommand* before, const DeviceCommand* next);
  void issue(const DevicePass& pass, std::int32_t base, const DeviceCommand& command);
  /// Waits while the stream of the command just issued holds so much that the driver might soon block this
  /// thread, which has a deadline to keep.
  void limit_queue(std::size_t w, std::int32_t number, const DeviceCommand& command);
  std::string sentence(std::size_t w, const Place& place) const;
  /// ", with ranks 1, 2": whom an exchange meets in other processes.
  std::string peers_of(const Operation& op, std::int32_t rank) const;
  /// Passes [0, issued) have been issued.
  void wait_for_pass(std::size_t w, std::int32_t number, std::int32_t issued);
  /// Polls until the event happens, or there is no patience left.
  void wait_until(std::int32_t event, std::size_t w, std::int32_t issued, Patience& left);
  void wait_until(std::int32_t event, std::size_t w, std::int32_t issued) {
    Patience left(deadline_);
    wait_until(event, w, issued, left);
  }
  /// Whether the event has happened; throws what has failed meanwhile.
  bool look(std::int32_t event, std::size_t w, std::int32_t issued);
  /// The first instruction that was issued, has not ended and is what is asked for.
  std::optional<Place> find(Awaited what, std::size_t w, std::int32_t issued);
  /// Names an instruction that has begun and not ended, or the first that has not begun.
  [[noreturn]] void fail_late(std::size_t w, std::int32_t issued);
  /// For a job: throws the error with this rank's number and what it waited for, an exchange if there is one.
  [[noreturn]] void fail_named(const DeviceError& error, std::size_t w, std::int32_t issued);
  void read_times(std::size_t w, std::int32_t repeat, std::vector<TimelineEvent>& events);

  const Execution& execution_;
  const DeviceOptions& options_;
  Accelerator& device_;
  const DeviceJob* job_;  ///< null: all ranks are here
  const Duration deadline_;
  const bool tracked_;  ///< every instruction's begin and end is an event of its own, in every layer
  RankBlock local_;
  std::vector<std::size_t> local_ranks_;  ///< the same as indices
  std::vector<Bytes> arena_bytes_;        ///< of all ranks
  std::int64_t arena_total_ = 0;
  std::vector<std::byte*> arenas_;
  DeviceStreams streams_;
  std::vector<std::int32_t> all_streams_;
  std::vector<StreamQueue> queues_;  ///< [stream]
  /// Commands issued of the pass that follows those issued whole.
  std::size_t issued_part_ = 0;
  std::vector<std::array<DevicePass, 2>> passes_;  ///< [wave][Pass]
  std::byte* lists_ = nullptr;
  std::int32_t start_ = 0, finish_ = 0, first_event_ = 0;
  std::int32_t events_per_pass_ = 0, event_sets_ = 1;
  std::int64_t wave_begin_ns_ = 0;
  std::int32_t first_tie_ = 0;
  std::array<std::int32_t, 2> pass_ranges_{};  ///< [Pass]
  double host_per_device_ = 1;                 ///< nanoseconds
  LocalRecord record_;
};

}  // namespace strata
