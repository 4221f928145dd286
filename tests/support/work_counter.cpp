// SPDX-License-Identifier: Apache-2.0
// Compiled without the instrumentation that it serves.
#include "tests/support/work_counter.hpp"

#include <cstddef>
#include <cstdlib>
#include <new>
#include <thread>

namespace {

thread_local std::uint64_t blocks_entered = 0;
thread_local std::uint64_t bytes_asked = 0;

}  // namespace

/// The compiler calls it at the begin of every basic block.
extern "C" void __sanitizer_cov_trace_pc();
extern "C" void __sanitizer_cov_trace_pc() { ++blocks_entered; }

/// Stands before the library's, so that nobody starts threads whose work would not be counted.
unsigned int std::thread::hardware_concurrency() noexcept { return 1; }

void* operator new(std::size_t size) {
  bytes_asked += size;
  if (void* place = std::malloc(size > 0 ? size : 1)) return place;
  throw std::bad_alloc();
}
void operator delete(void* place) noexcept { std::free(place); }
void operator delete(void* place, std::size_t) noexcept { std::free(place); }

namespace strata::testing {

Work work_done() { return {blocks_entered, bytes_asked}; }

}  // namespace strata::testing
