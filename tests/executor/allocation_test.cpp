// SPDX-License-Identifier: Apache-2.0
// The issue loop allocates nothing: a run of many layers and repeats asks for exactly as many blocks of
// memory as a run of one. This program counts every call of operator new.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "executor/cpu_executor.hpp"
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

}  // namespace
}  // namespace strata
