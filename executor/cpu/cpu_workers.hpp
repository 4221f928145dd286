// SPDX-License-Identifier: Apache-2.0
// The worker threads of one process: they take items from one schedule under one lock. The calling thread
// works too, or, when ranks of other processes take part, carries the links to them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <vector>

#include "core/base/thread_team.hpp"
#include "executor/cpu/cpu_schedule.hpp"
#include "executor/job/control.hpp"
#include "executor/transport.hpp"

namespace strata {

struct WorkerOptions {
  std::int32_t threads = 1;  ///< threads that compute
  bool caller_works = true;  ///< the calling thread is one of them
  bool spin = false;         ///< idle workers watch for items a while before they sleep
  std::size_t scratch_bytes = 1;
  bool stream = false;               ///< copies between ranks go around the caches
  std::int64_t attention_items = 0;  ///< of a layer, as attention_items says; for progress
};

class CpuWorkers {
 public:
  /// DeviceError when not one thread can be started and the calling thread does not compute.
  CpuWorkers(CpuSchedule& schedule, const CpuOptions& options, const WorkerOptions& workers);
  ~CpuWorkers();
  CpuWorkers(const CpuWorkers&) = delete;
  CpuWorkers& operator=(const CpuWorkers&) = delete;

  /// The threads that compute: fewer than were asked for where the system gives no more.
  std::int32_t threads() const { return caller_ + static_cast<std::int32_t>(team_.size()); }

  /// Runs one repeat to its end; throws what a worker threw.
  void run(std::int32_t repeat);
  /// The same, with the calling thread carrying remote links. TransportError naming rank, instruction and
  /// peer when this process waits for others longer than the control's deadline.
  void run(std::int32_t repeat, Control& control, Transport& transport);

 private:
  void begin(std::int32_t repeat);
  void finish(std::unique_lock<std::mutex>& lock);
  void announce();
  void serve(std::int32_t worker);
  bool over() const { return schedule_.finished() || error_ != nullptr; }
  void work(std::unique_lock<std::mutex>& lock, std::int32_t worker);
  void wait_for_items(std::unique_lock<std::mutex>& lock);
  void carry(std::unique_lock<std::mutex>& lock, Control& control, Transport& transport);
  bool carry_once(std::unique_lock<std::mutex>& lock, Transport& transport);
  void pause(std::unique_lock<std::mutex>& lock, std::int64_t idle_ns);
  void advance(const Claim& claim);
  void fail_stuck(const char* reason);
  void run_item(const Claim& claim, std::uint64_t number, kernels::Scratch& scratch) const;
  void delay(std::uint64_t number) const;

  CpuSchedule& schedule_;
  const CpuOptions& options_;
  std::vector<kernels::Scratch> scratch_;
  bool spin_ = false, stream_ = false;
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::atomic<std::uint64_t> epoch_{0};
  std::uint64_t claims_ = 0;
  std::int64_t attention_items_ = 0, attention_items_done_ = 0;  ///< of all layers and repeats
  std::int64_t begin_ns_ = 0;
  std::int64_t generation_ = 0;  ///< of repeats
  std::int32_t busy_ = 0;
  bool stop_ = false;
  std::exception_ptr error_;
  std::vector<LinkNumber> posted_, ended_;
  std::int32_t caller_ = 0;  ///< 1 when the calling thread computes
  ThreadTeam team_;          ///< last: its threads use everything above
};

}  // namespace strata
