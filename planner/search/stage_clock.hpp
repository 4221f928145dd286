// SPDX-License-Identifier: Apache-2.0
// The stages that a strategy goes through while a batch is planned with it: which one runs, and how long each
// took. Times are measured, so they differ from run to run. Nothing is decided by them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

namespace strata {

/// `search`: waves, placement, schedule and memory. `verify`: the proof of the schedule. `lower`: the rank
/// programs. `simulate`: the step time.
enum class PlanStage : std::uint8_t { search, verify, lower, simulate };

/// Nanoseconds of a steady clock that one strategy spent in each stage, all waves and attempts together.
struct StageTimes {
  std::int64_t search_ns = 0, verify_ns = 0, lower_ns = 0, simulate_ns = 0;

  std::int64_t& of(PlanStage stage);
};

/// A stage that begins. All waves are simulated at once.
struct StageBegins {
  PlanStage stage = PlanStage::search;
  std::size_t wave = 0, waves = 1;
};

/// Runs stages, one after another and never one inside another.
class StageClock {
 public:
  /// `begins` is called before each stage.
  explicit StageClock(std::function<void(const StageBegins&)> begins = {}) : begins_(std::move(begins)) {}

  /// Returns what `work` returns. The time of a stage that throws counts, too.
  template <typename Work>
  auto run(const StageBegins& stage, const Work& work) {
    if (begins_) begins_(stage);
    const Measured measured(times_.of(stage.stage));
    return work();
  }
  const StageTimes& times() const { return times_; }

 private:
  using Clock = std::chrono::steady_clock;
  /// Adds the time that it lives.
  class Measured {
   public:
    explicit Measured(std::int64_t& sum) : sum_(sum) {}
    ~Measured() {
      sum_ += std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count();
    }
    Measured(const Measured&) = delete;
    Measured& operator=(const Measured&) = delete;

   private:
    std::int64_t& sum_;
    Clock::time_point start_ = Clock::now();
  };

  std::function<void(const StageBegins&)> begins_;
  StageTimes times_;
};

}  // namespace strata
