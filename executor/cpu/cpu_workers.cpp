// SPDX-License-Identifier: Apache-2.0
#include "executor/cpu/cpu_workers.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/check.hpp"
#include "executor/device_error.hpp"

namespace strata {

namespace {

/// How long an idle worker watches for new items before it sleeps: about what waking it up would cost.
constexpr std::int64_t kSpinNs = 20'000;
/// The carrier of links: for so long after something moved it only yields, then it looks again after naps
/// that grow, so that it does not take the cores from the workers. Longer where every thread has a core.
constexpr std::int64_t kYieldNs = 50'000;
constexpr std::int64_t kSpareCoreYieldNs = 1'000'000;
constexpr std::int64_t kShortNapNs = 50'000;
constexpr std::int64_t kLongNapNs = 500'000;
constexpr std::int64_t kLongNapsAfterNs = 20'000'000;

}  // namespace

CpuWorkers::CpuWorkers(CpuSchedule& schedule, const CpuOptions& options, const WorkerOptions& workers)
    : schedule_(schedule),
      options_(options),
      spin_(workers.spin),
      stream_(workers.stream),
      attention_items_(workers.attention_items * options.layers * options.repeats) {
  for (std::int32_t i = 0; i < workers.threads; ++i) scratch_.emplace_back(workers.scratch_bytes);
  caller_ = workers.caller_works ? 1 : 0;
  for (std::int32_t i = caller_; i < workers.threads && team_.start([this, i] { serve(i); }); ++i) {
  }
  if (threads() == 0) {
    throw DeviceError(-1, fmt::format("found no way to start a thread ({})", team_.failure()));
  }
}

CpuWorkers::~CpuWorkers() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  team_.join();
}

void CpuWorkers::begin(std::int32_t repeat) {
  begin_ns_ = monotonic_ns();
  schedule_.begin_repeat(repeat, begin_ns_);
  ++generation_;
  announce();
}

void CpuWorkers::finish(std::unique_lock<std::mutex>& lock) {
  idle_.wait(lock, [this] { return busy_ == 0; });
  if (error_) std::rethrow_exception(error_);
}

void CpuWorkers::run(std::int32_t repeat) {
  std::unique_lock lock(mutex_);
  begin(repeat);
  work(lock, 0);
  finish(lock);
}

void CpuWorkers::run(std::int32_t repeat, Control& control, Transport& transport) {
  std::unique_lock lock(mutex_);
  begin(repeat);
  try {
    carry(lock, control, transport);
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    if (!error_) error_ = std::current_exception();
    announce();
  }
  finish(lock);
}

void CpuWorkers::announce() {
  epoch_.fetch_add(1, std::memory_order_release);
  wake_.notify_all();
}

void CpuWorkers::serve(std::int32_t worker) {
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

/// Takes items until the repeat is over. Called and left with the lock held.
void CpuWorkers::work(std::unique_lock<std::mutex>& lock, std::int32_t worker) {
  Claim claim;
  while (!over()) {
    if (!schedule_.claim(claim)) {
      if (!schedule_.any_running() && !schedule_.waits_for_others()) {
        fail_stuck("no instruction can run any more");
      } else {
        wait_for_items(lock);
      }
      continue;
    }
    const std::uint64_t number = claims_++;
    lock.unlock();
    std::exception_ptr error;
    const std::int64_t begin = monotonic_ns();
    try {
      run_item(claim, number, scratch_[static_cast<std::size_t>(worker)]);
    } catch (...) {
      error = std::current_exception();
    }
    const std::int64_t end = monotonic_ns();
    lock.lock();
    if (error && !error_) error_ = error;
    advance(claim);
    const bool more = schedule_.complete(claim, begin, end);
    if (options_.deadline.ns > 0 && end - begin_ns_ > options_.deadline.ns && !schedule_.finished()) {
      fail_stuck("the deadline has passed");
    }
    if (more || over() || !schedule_.any_running()) announce();
  }
}

/// Called with the lock held.
void CpuWorkers::advance(const Claim& claim) {
  if (!options_.progress || claim.operation == nullptr || !claim.operation->is_attention()) return;
  options_.progress(static_cast<double>(++attention_items_done_) / static_cast<double>(attention_items_));
}

void CpuWorkers::wait_for_items(std::unique_lock<std::mutex>& lock) {
  const std::uint64_t seen = epoch_.load(std::memory_order_acquire);
  if (spin_) {
    lock.unlock();
    const std::int64_t until = monotonic_ns() + kSpinNs;
    while (epoch_.load(std::memory_order_acquire) == seen && monotonic_ns() < until) {
    }
    lock.lock();
  }
  wake_.wait(lock, [&] { return epoch_.load(std::memory_order_acquire) != seen; });
}

/// Carries links until the repeat is over. Called and left with the lock held.
void CpuWorkers::carry(std::unique_lock<std::mutex>& lock, Control& control, Transport& transport) {
  Patience patience(control.patience());
  std::int64_t moved_ns = monotonic_ns();
  std::uint64_t claims = claims_;
  while (error_ == nullptr && (!schedule_.finished() || schedule_.ready())) {
    bool moved = claims_ != claims;
    claims = claims_;
    if (schedule_.ready()) {
      lock.unlock();
      control.barrier("starting a repeat");
      lock.lock();
      schedule_.start(monotonic_ns());
      announce();
      moved = true;
    }
    moved = carry_once(lock, transport) || moved;
    const std::int64_t now = monotonic_ns();
    if (moved || schedule_.any_running()) {
      patience.reset();
      if (moved) moved_ns = now;
    }
    if (patience.exhausted(now)) {
      const CpuSchedule::Stuck stuck = schedule_.describe_stuck();
      throw TransportError(stuck.rank, fmt::format("{}: nothing has moved for {} s", stuck.sentence,
                                                   control.deadline().ns / 1'000'000'000));
    }
    if (!moved) pause(lock, now - moved_ns);
  }
}

/// Whether anything was posted or ended.
bool CpuWorkers::carry_once(std::unique_lock<std::mutex>& lock, Transport& transport) {
  posted_.clear();
  ended_.clear();
  for (LinkNumber number; schedule_.take_remote(number);) posted_.push_back(number);
  lock.unlock();
  for (const LinkNumber& number : posted_) transport.post(number);
  transport.poll(ended_);
  lock.lock();
  const std::int64_t now = monotonic_ns();
  for (const LinkNumber& number : ended_) schedule_.complete_remote(number, now);
  if (!ended_.empty()) announce();
  return !posted_.empty() || !ended_.empty();
}

void CpuWorkers::pause(std::unique_lock<std::mutex>& lock, std::int64_t idle_ns) {
  if (idle_ns < (spin_ ? kSpareCoreYieldNs : kYieldNs)) {
    lock.unlock();
    std::this_thread::yield();
    lock.lock();
    return;
  }
  const std::uint64_t seen = epoch_.load(std::memory_order_acquire);
  const std::chrono::nanoseconds nap(idle_ns < kLongNapsAfterNs ? kShortNapNs : kLongNapNs);
  wake_.wait_for(lock, nap, [&] { return epoch_.load(std::memory_order_acquire) != seen; });
}

void CpuWorkers::fail_stuck(const char* reason) {
  if (error_) return;
  const CpuSchedule::Stuck stuck = schedule_.describe_stuck();
  error_ = std::make_exception_ptr(DeviceError(stuck.rank, fmt::format("{}: {}", stuck.sentence, reason)));
  announce();
}

void CpuWorkers::run_item(const Claim& claim, std::uint64_t number, kernels::Scratch& scratch) const {
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
void CpuWorkers::delay(std::uint64_t number) const {
  std::uint64_t x = (options_.delay_seed + number + 1) * 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  if ((x & 1) == 0) return;
  const auto limit = static_cast<std::uint64_t>(options_.random_delay.ns);
  std::this_thread::sleep_for(std::chrono::nanoseconds((x >> 8) % limit));
}

}  // namespace strata
