// SPDX-License-Identifier: Apache-2.0
#include "executor/cpu_executor.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "core/check.hpp"
#include "executor/cpu_schedule.hpp"

namespace strata {

namespace {

std::int64_t clock_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// How long an idle worker watches for new items before it sleeps: about what waking it up would cost.
constexpr std::int64_t kSpinNs = 20'000;

/// The workers of one run. All of them, the calling thread included, take items from one schedule under one
/// lock.
class Workers {
 public:
  Workers(CpuSchedule& schedule, const CpuOptions& options, std::int32_t count, const PreparedRun& run)
      : schedule_(schedule), options_(options), stream_(run.stream) {
    for (std::int32_t i = 0; i < count; ++i) scratch_.emplace_back(run.scratch_bytes);
    spin_ = static_cast<unsigned>(count) <= std::thread::hardware_concurrency();
    for (std::int32_t i = 1; i < count; ++i) threads_.emplace_back([this, i] { serve(i); });
  }

  ~Workers() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// Runs one repeat to its end; throws what a worker threw.
  void run(std::int32_t repeat) {
    std::unique_lock lock(mutex_);
    begin_ns_ = clock_ns();
    schedule_.begin_repeat(repeat, begin_ns_);
    ++generation_;
    announce();
    work(lock, 0);
    idle_.wait(lock, [this] { return busy_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void announce() {
    epoch_.fetch_add(1, std::memory_order_release);
    wake_.notify_all();
  }

  void serve(std::int32_t worker) {
    std::unique_lock lock(mutex_);
    std::int64_t served = 0;
    while (true) {
      wake_.wait(lock, [&] { return stop_ || generation_ != served; });
      if (stop_) return;
      served = generation_;
      ++busy_;
      work(lock, worker);
      --busy_;
      idle_.notify_all();
    }
  }

  bool over() const { return schedule_.finished() || error_ != nullptr; }

  /// Takes items until the repeat is over. Called and left with the lock held.
  void work(std::unique_lock<std::mutex>& lock, std::int32_t worker) {
    Claim claim;
    while (!over()) {
      if (!schedule_.claim(claim)) {
        if (!schedule_.any_running()) {
          fail_stuck("no instruction can run any more");
        } else {
          wait_for_items(lock);
        }
        continue;
      }
      const std::uint64_t number = claims_++;
      lock.unlock();
      std::exception_ptr error;
      const std::int64_t begin = clock_ns();
      try {
        run_item(claim, number, scratch_[static_cast<std::size_t>(worker)]);
      } catch (...) {
        error = std::current_exception();
      }
      const std::int64_t end = clock_ns();
      lock.lock();
      if (error && !error_) error_ = error;
      const bool more = schedule_.complete(claim, begin, end);
      if (options_.deadline.ns > 0 && end - begin_ns_ > options_.deadline.ns && !schedule_.finished()) {
        fail_stuck("the deadline has passed");
      }
      if (more || over() || !schedule_.any_running()) announce();
    }
  }

  void wait_for_items(std::unique_lock<std::mutex>& lock) {
    const std::uint64_t seen = epoch_.load(std::memory_order_acquire);
    if (spin_) {
      lock.unlock();
      const std::int64_t until = clock_ns() + kSpinNs;
      while (epoch_.load(std::memory_order_acquire) == seen && clock_ns() < until) {
      }
      lock.lock();
    }
    wake_.wait(lock, [&] { return epoch_.load(std::memory_order_acquire) != seen; });
  }

  void fail_stuck(const char* reason) {
    if (error_) return;
    const CpuSchedule::Stuck stuck = schedule_.describe_stuck();
    error_ = std::make_exception_ptr(DeviceError(stuck.rank, fmt::format("{}: {}", stuck.sentence, reason)));
    announce();
  }

  void run_item(const Claim& claim, std::uint64_t number, kernels::Scratch& scratch) const {
    if (options_.random_delay.ns > 0) delay(number);
    if (claim.chunk != nullptr) {
      const CopyChunk& chunk = *claim.chunk;
      const auto copy = stream_ ? kernels::stream_rows : kernels::copy_rows;
      copy(chunk.target, chunk.bytes, chunk.source, chunk.bytes, chunk.bytes, 1);
    } else {
      claim.operation->run_item(claim.item, scratch);
    }
  }

  /// Every second item waits.
  void delay(std::uint64_t number) const {
    std::uint64_t x = (options_.delay_seed + number + 1) * 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x ^= x >> 27;
    if ((x & 1) == 0) return;
    const auto limit = static_cast<std::uint64_t>(options_.random_delay.ns);
    std::this_thread::sleep_for(std::chrono::nanoseconds((x >> 8) % limit));
  }

  CpuSchedule& schedule_;
  const CpuOptions& options_;
  bool stream_ = false;
  std::vector<kernels::Scratch> scratch_;
  bool spin_ = false;
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::atomic<std::uint64_t> epoch_{0};
  std::uint64_t claims_ = 0;
  std::int64_t begin_ns_ = 0;
  std::int64_t generation_ = 0;  ///< of repeats
  std::int32_t busy_ = 0;
  bool stop_ = false;
  std::exception_ptr error_;
  std::vector<std::thread> threads_;  ///< last: they use everything above
};

std::int32_t worker_count(const CpuOptions& options) {
  if (options.threads > 0) return options.threads;
  return static_cast<std::int32_t>(std::max(1U, std::thread::hardware_concurrency()));
}

}  // namespace

RunResult run_on_cpu(const Execution& execution, const CpuOptions& options) {
  STRATA_CHECK(options.layers > 0 && options.repeats > 0, "{} layers, {} repeats", options.layers,
               options.repeats);
  PreparedRun prepared = prepare_run(execution, options);
  CpuSchedule schedule(prepared, execution, options);
  const std::int32_t threads = worker_count(options);
  RunResult result;
  result.wall.reserve(static_cast<std::size_t>(options.repeats));
  {
    Workers workers(schedule, options, threads, prepared);
    for (std::int32_t repeat = 0; repeat < options.repeats; ++repeat) {
      workers.run(repeat);
      result.wall.push_back(schedule.wall());
    }
  }
  result.sent = schedule.sent();
  result.arena = std::move(prepared.arena_bytes);
  result.results = std::move(prepared.results);
  Timeline& timeline = result.timeline;
  timeline.source = "cpu";
  timeline.plan_digest = execution.plan_digest;
  timeline.cores_per_device = threads;
  timeline.rank_count = static_cast<std::int32_t>(result.arena.size());
  timeline.layers = options.layers;
  timeline.repeats = options.repeats;
  timeline.events = schedule.take_events();
  return result;
}

}  // namespace strata
