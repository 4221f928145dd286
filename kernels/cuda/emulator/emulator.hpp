// SPDX-License-Identifier: Apache-2.0
// Runs a kernel written with simt.hpp on the host: one fiber per thread, all blocks of the grid alive at
// once, the next thread chosen by a seeded random number wherever one may wait. Warp operations meet at a
// rendezvous of 32 fibers; asynchronous copies land at the wait for their group and not before; shared memory
// starts as NaN. What a GPU would answer with silent nonsense is an EmulationError here: lanes that diverge
// at a warp operation, a barrier that not all reach, addresses outside the shared memory or misaligned,
// shared words that are read before anything wrote them or while a copy is on its way, and accesses of
// different threads without a barrier between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

#include "kernels/attention_types.hpp"

namespace strata::kernels::emulator {

class EmulationError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Launch {
  int blocks = 1;
  int threads = 32;         // of a block; a multiple of 32
  int multiprocessors = 1;  // block b runs on number b % multiprocessors
  std::size_t shared_bytes = 0;
  std::uint64_t seed = 0;  // of the order in which threads run
  std::size_t stack_bytes = std::size_t{128} << 10;
};

/// Calls `kernel` once for every thread of the grid. Throws EmulationError for what is listed above and what
/// the kernel itself throws; the fibers that are then still under way are abandoned without unwinding.
void run(const Launch& launch, const std::function<void()>& kernel);

// The operations of simt.hpp, on behalf of the fiber that runs; only inside run().
int thread_index();
int block_index();
int block_count();
int multiprocessor_index();
std::uint32_t shared_begin();
void block_barrier();
void warp_barrier();
std::uint32_t shuffle_xor(std::uint32_t value, int mask);
std::uint32_t shuffle(std::uint32_t value, int lane);
void mma(Element element, float* sum, const std::uint32_t* a, std::uint32_t b0, std::uint32_t b1);
void load_matrix(std::uint32_t* words, int count, std::uint32_t address, bool transposed);
void copy_async(std::uint32_t to, const void* from, bool valid);
void commit_copies();
void wait_copies(int pending);
void load_shared(void* to, std::uint32_t from, int bytes);
void store_shared(std::uint32_t to, const void* from, int bytes);
void require_aligned(const void* address, std::size_t bytes);

}  // namespace strata::kernels::emulator
