// SPDX-License-Identifier: Apache-2.0
// The issue loop allocates nothing: a run of many layers and repeats asks for exactly as many blocks of
// memory as a run of one. This program counts every call of operator new.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "executor/cpu/cpu_executor.hpp"
#include "executor/device/device_executor.hpp"
#include "tests/executor/hand_programs.hpp"

namespace {
std::atomic<long> allocations{0};
}  // namespace

// Not inlined: g++ would see malloc's memory given to delete and call that a mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace strata {
namespace {

long allocations_of(const Execution& execution, const CpuOptions& options) {
  const long before = allocations;
  run_on_cpu(execution, options);
  return allocations - before;
}

TEST(CpuExecutor, AllocatesNothingInTheIssueLoop) {
  const Execution execution = testing::two_rank_execution(ElementType::f32);
  for (const bool record : {false, true}) {
    CpuOptions options;
    options.threads = 2;
    options.record_timeline = record;
    const long once = allocations_of(execution, options);
    options.layers = 20;
    options.repeats = 5;
    EXPECT_EQ(allocations_of(execution, options), once) << "recording: " << record;
    EXPECT_GT(once, 0);
  }
}

/// Does nothing, at once.
class IdleAccelerator : public Accelerator {
 public:
  std::string description() const override { return "idle"; }
  std::int64_t free_bytes() override { return std::int64_t{1} << 30; }
  std::byte* allocate(std::int64_t bytes) override {
    memory_.resize(memory_.size() + 1);
    memory_.back().resize(static_cast<std::size_t>(bytes));
    return memory_.back().data();
  }
  void upload(std::byte*, std::span<const std::byte>) override {}
  void download(std::span<std::byte>, const std::byte*) override {}
  std::int32_t prepare_attention(kernels::WorkKind, const kernels::AttentionShape&, std::int32_t) override {
    return 0;
  }
  std::int32_t add_range_name(const std::string&) override { return 0; }
  void begin_range(std::int32_t, std::int64_t) override { ++calls_; }
  void end_range() override {}
  std::int32_t add_stream(bool) override { return streams_++; }
  std::int32_t add_events(std::int64_t count, bool) override {
    const std::int32_t first = events_;
    events_ += static_cast<std::int32_t>(count);
    return first;
  }
  void record(std::int32_t, std::int32_t) override { ++calls_; }
  void wait(std::int32_t, std::int32_t) override { ++calls_; }
  void launch(std::int32_t, const DeviceLaunch&, std::byte*) override { ++calls_; }
  void fill(std::int32_t, std::byte*, std::int64_t, int) override { ++calls_; }
  bool happened(std::int32_t) override { return true; }
  std::int64_t elapsed_ns(std::int32_t, std::int32_t) override { return 0; }
  std::int64_t calls() const { return calls_; }

 private:
  std::vector<std::vector<std::byte>> memory_;
  std::int32_t streams_ = 0, events_ = 0;
  std::int64_t calls_ = 0;
};

TEST(DeviceExecutor, AllocatesNothingInTheIssueLoop) {
  const Execution execution = testing::two_rank_execution(ElementType::f32);
  DeviceOptions options;
  options.record_timeline = false;
  options.keep_results = false;
  options.threads = 1;
  for (const bool deadline : {false, true}) {
    options.deadline.ns = deadline ? 1'000'000'000 : 0;
    std::vector<long> allocated;
    std::vector<std::int64_t> calls;
    for (const std::int32_t layers : {2, 60}) {
      options.layers = layers;
      IdleAccelerator device;
      const long before = allocations;
      run_on_device(execution, options, device);
      allocated.push_back(allocations - before);
      calls.push_back(device.calls());
    }
    EXPECT_EQ(allocated[0], allocated[1]) << "deadline: " << deadline;
    EXPECT_GT(calls[1], 20 * calls[0]);
  }
}

}  // namespace
}  // namespace strata
