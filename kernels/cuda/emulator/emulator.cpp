// SPDX-License-Identifier: Apache-2.0
// Fibers, their scheduler and the rendezvous of warps and blocks.
#include "kernels/cuda/emulator/emulator.hpp"

#include "kernels/cuda/emulator/machine.hpp"

namespace strata::kernels::emulator {
namespace {

/// The machine whose fiber runs on this thread: what a kernel's free functions have in place of hardware.
thread_local Machine* current_machine = nullptr;

Machine& machine() {
  if (current_machine == nullptr) throw EmulationError("a device operation outside emulator::run");
  return *current_machine;
}

class CurrentMachine {
 public:
  explicit CurrentMachine(Machine* machine) { current_machine = machine; }
  ~CurrentMachine() { current_machine = nullptr; }
  CurrentMachine(const CurrentMachine&) = delete;
  CurrentMachine& operator=(const CurrentMachine&) = delete;
};

}  // namespace

void run(const Launch& launch, const std::function<void()>& kernel) {
  if (launch.blocks < 1 || launch.multiprocessors < 1 || launch.threads < 1 ||
      launch.threads % kWarpLanes != 0) {
    throw EmulationError("a launch has at least one block, a multiprocessor and a multiple of 32 threads");
  }
  Machine machine(launch, kernel);
  const CurrentMachine scope(&machine);
  machine.run();
}

int thread_index() { return machine().running().thread; }
int block_index() { return machine().running().block; }
int block_count() { return machine().block_count(); }
int multiprocessor_index() { return machine().running().block % machine().multiprocessor_count(); }
std::uint32_t shared_begin() { return SharedMemory::kBegin; }

void block_barrier() { machine().wait_for_block(); }

void warp_barrier() {
  Request request;
  request.operation = Operation::barrier;
  machine().wait_for_warp(request);
}

std::uint32_t shuffle_xor(std::uint32_t value, int mask) {
  Request request;
  request.operation = Operation::shuffle_xor;
  request.detail = mask;
  request.value = value;
  machine().wait_for_warp(request);
  return request.value;
}

std::uint32_t shuffle(std::uint32_t value, int lane) {
  Request request;
  request.operation = Operation::shuffle;
  request.detail = lane;
  request.value = value;
  machine().wait_for_warp(request);
  return request.value;
}

void mma(Element element, float* sum, const std::uint32_t* a, std::uint32_t b0, std::uint32_t b1) {
  Request request;
  request.operation = Operation::mma;
  request.detail = static_cast<int>(element);
  request.sum = sum;
  request.a = a;
  request.b = {b0, b1};
  machine().wait_for_warp(request);
}

void load_matrix(std::uint32_t* words, int count, std::uint32_t address, bool transposed) {
  Request request;
  request.operation = transposed ? Operation::load_matrix_transposed : Operation::load_matrix;
  request.detail = count;
  request.words = words;
  request.address = address;
  machine().wait_for_warp(request);
}

void copy_async(std::uint32_t to, const void* from, bool valid) {
  Fiber& fiber = machine().running();
  if (valid) require_aligned(from, kChunkBytes);
  machine().shared_of(fiber).begin_copy(fiber.accessor(), to, kChunkBytes);
  fiber.open_copies.push_back({to, valid ? from : nullptr});
}

void commit_copies() {
  Fiber& fiber = machine().running();
  fiber.copy_groups.push_back(std::move(fiber.open_copies));
  fiber.open_copies.clear();
}

void wait_copies(int pending) {
  static constexpr std::byte kZeros[kChunkBytes] = {};
  Fiber& fiber = machine().running();
  while (fiber.copy_groups.size() > static_cast<std::size_t>(pending)) {
    for (const Copy& copy : fiber.copy_groups.front()) {
      const void* from = copy.from == nullptr ? kZeros : copy.from;
      machine().shared_of(fiber).finish_copy(fiber.accessor(), copy.to, from, kChunkBytes);
    }
    fiber.copy_groups.pop_front();
  }
  machine().yield();
}

void load_shared(void* to, std::uint32_t from, int bytes) {
  Fiber& fiber = machine().running();
  machine().shared_of(fiber).read(fiber.accessor(), from, to, bytes);
}

void store_shared(std::uint32_t to, const void* from, int bytes) {
  Fiber& fiber = machine().running();
  machine().shared_of(fiber).write(fiber.accessor(), to, from, bytes);
}

void require_aligned(const void* address, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) {
    throw EmulationError("accesses " + std::to_string(bytes) +
                         " bytes of global memory that are not aligned");
  }
}

}  // namespace strata::kernels::emulator
