// SPDX-License-Identifier: Apache-2.0
// The inside of the emulator: fibers, warps and blocks, and the choice of who runs next.
#pragma once

#include <ucontext.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/attention_types.hpp"
#include "kernels/cuda/emulator/emulator.hpp"
#include "kernels/cuda/emulator/shared_memory.hpp"
#include "kernels/cuda/fragments.hpp"

namespace strata::kernels::emulator {

enum class Operation { barrier, shuffle_xor, shuffle, mma, load_matrix, load_matrix_transposed };

/// What one lane brings to a warp operation. `detail` must agree among the lanes.
struct Request {
  Operation operation = Operation::barrier;
  int detail = 0;
  std::uint32_t value = 0;    // shuffles: in and out
  std::uint32_t address = 0;  // ldmatrix
  std::uint32_t* words = nullptr;
  float* sum = nullptr;  // mma
  const std::uint32_t* a = nullptr;
  std::array<std::uint32_t, 2> b{};
};

/// 16 bytes on their way to shared memory; zeros when there is no source.
struct Copy {
  std::uint32_t to = 0;
  const void* from = nullptr;
};

/// A stack of its own, with a page below that may not be touched.
class FiberStack {
 public:
  explicit FiberStack(std::size_t bytes);
  ~FiberStack();
  FiberStack(const FiberStack&) = delete;
  FiberStack& operator=(const FiberStack&) = delete;
  [[nodiscard]] std::byte* begin() const { return begin_; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  std::byte* mapping_ = nullptr;
  std::byte* begin_ = nullptr;
  std::size_t mapped_ = 0;
  std::size_t bytes_ = 0;
};

enum class FiberState { ready, at_warp, at_block, finished };

struct Fiber {
  ucontext_t context{};
  std::unique_ptr<FiberStack> stack;
  const void* stack_begin = nullptr;
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's
  void* tsan_fiber = nullptr;
  FiberState state = FiberState::ready;
  int block = 0;
  int thread = 0;
  std::int64_t block_barriers = 0;
  std::int64_t warp_barriers = 0;
  Request* request = nullptr;
  std::vector<Copy> open_copies;
  std::deque<std::vector<Copy>> copy_groups;

  [[nodiscard]] Accessor accessor() const {
    return {thread, thread / kWarpLanes, block_barriers, warp_barriers};
  }
};

class Machine {
 public:
  Machine(const Launch& launch, const std::function<void()>& kernel);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  void run();

  Fiber& running() { return *running_; }
  SharedMemory& shared_of(const Fiber& fiber) { return shared_[static_cast<std::size_t>(fiber.block)]; }
  [[nodiscard]] int block_count() const { return launch_.blocks; }
  [[nodiscard]] int multiprocessor_count() const { return launch_.multiprocessors; }

  /// Suspends the running fiber until the rest of its warp, or block, has come to the same operation.
  void wait_for_warp(Request& request);
  void wait_for_block();
  /// Lets another fiber run; the running one stays ready.
  void yield();

  /// First code of every fiber.
  void fiber_main();

 private:
  using Warp = std::array<Fiber*, kWarpLanes>;

  void prepare(Fiber& fiber);
  [[nodiscard]] Warp warp_of(const Fiber& fiber);
  void perform(const Warp& warp);
  void load_matrices(const Warp& warp);
  void make_ready(Fiber& fiber);
  Fiber* take_ready();
  void leave();
  void switch_to(Fiber* next);
  [[nodiscard]] std::string stuck() const;
  [[noreturn]] void diverged(const Fiber& fiber, const Fiber& other) const;

  Launch launch_;
  const std::function<void()>& kernel_;
  std::vector<Fiber> fibers_;
  std::vector<SharedMemory> shared_;
  std::vector<int> arrived_;          // by block, at its barrier
  std::vector<int> arrived_in_warp_;  // by warp of the grid
  std::vector<Fiber*> ready_;
  std::uint64_t random_ = 0;
  Fiber* running_ = nullptr;
  Fiber outside_;  // the caller of run()
  std::exception_ptr failure_;
};

/// sum += a * b for the operands of 32 lanes (fragments.hpp): exact products, summed in double, rounded once.
void multiply(Element element, const std::array<Request*, kWarpLanes>& lanes);

}  // namespace strata::kernels::emulator
