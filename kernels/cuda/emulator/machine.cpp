// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/emulator/machine.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <new>
#include <utility>

#include "kernels/cuda/emulator/sanitizers.hpp"

namespace strata::kernels::emulator {
namespace {

const char* name_of(Operation operation) {
  switch (operation) {
    case Operation::barrier:
      return "warp_barrier";
    case Operation::shuffle_xor:
      return "shuffle_xor";
    case Operation::shuffle:
      return "shuffle";
    case Operation::mma:
      return "mma";
    case Operation::load_matrix:
      return "load_matrix";
    case Operation::load_matrix_transposed:
      return "load_matrix_transposed";
  }
  return "an operation";
}

std::string name_of(const Fiber& fiber) {
  return "block " + std::to_string(fiber.block) + " thread " + std::to_string(fiber.thread);
}

std::string place_of(const Fiber& fiber) {
  switch (fiber.state) {
    case FiberState::at_warp:
      return std::string("at ") + name_of(fiber.request->operation) + " " +
             std::to_string(fiber.request->detail);
    case FiberState::at_block:
      return "at block_barrier";
    case FiberState::finished:
      return "at its end";
    case FiberState::ready:
      return "under way";
  }
  return "somewhere";
}

/// makecontext passes integers only: a pointer comes in two halves.
void enter_fiber(unsigned high, unsigned low) {
  const auto bits = (static_cast<std::uintptr_t>(high) << 32) | low;
  reinterpret_cast<Machine*>(bits)->fiber_main();
}

}  // namespace

FiberStack::FiberStack(std::size_t bytes) : bytes_(bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  bytes_ = (bytes + page - 1) / page * page;
  mapped_ = bytes_ + page;
  void* mapping = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<std::byte*>(mapping);
  begin_ = mapping_ + page;
  if (mprotect(mapping, page, PROT_NONE) != 0) {
    munmap(mapping, mapped_);
    throw std::bad_alloc();
  }
}

FiberStack::~FiberStack() { munmap(mapping_, mapped_); }

Machine::Machine(const Launch& launch, const std::function<void()>& kernel)
    : launch_(launch),
      kernel_(kernel),
      fibers_(static_cast<std::size_t>(launch.blocks) * static_cast<std::size_t>(launch.threads)),
      shared_(static_cast<std::size_t>(launch.blocks), SharedMemory(launch.shared_bytes)),
      arrived_(static_cast<std::size_t>(launch.blocks)),
      arrived_in_warp_(fibers_.size() / kWarpLanes),
      random_(launch.seed) {
  for (std::size_t f = 0; f < fibers_.size(); ++f) {
    Fiber& fiber = fibers_[f];
    fiber.block = static_cast<int>(f) / launch.threads;
    fiber.thread = static_cast<int>(f) % launch.threads;
    prepare(fiber);
    ready_.push_back(&fiber);
  }
}

void Machine::prepare(Fiber& fiber) {
  fiber.stack = std::make_unique<FiberStack>(launch_.stack_bytes);
  fiber.stack_begin = fiber.stack->begin();
  fiber.stack_bytes = fiber.stack->bytes();
  fiber.tsan_fiber = sanitizers::make_fiber();
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack->begin();
  fiber.context.uc_stack.ss_size = fiber.stack->bytes();
  fiber.context.uc_link = nullptr;
  const auto bits = reinterpret_cast<std::uintptr_t>(this);
  makecontext(&fiber.context, reinterpret_cast<void (*)()>(&enter_fiber), 2,
              static_cast<unsigned>(bits >> 32), static_cast<unsigned>(bits));
}

Machine::~Machine() {
  for (const Fiber& fiber : fibers_) sanitizers::destroy_fiber(fiber.tsan_fiber);
}

void Machine::run() {
  outside_.tsan_fiber = sanitizers::current_fiber();
  running_ = &outside_;
  switch_to(take_ready());
  if (failure_) std::rethrow_exception(failure_);
  for (const Fiber& fiber : fibers_) {
    if (fiber.state != FiberState::finished) throw EmulationError(stuck());
  }
}

void Machine::fiber_main() {
  const void* left_begin = nullptr;
  std::size_t left_bytes = 0;
  sanitizers::finish_switch(nullptr, &left_begin, &left_bytes);
  if (outside_.stack_begin == nullptr) {  // the first fiber of all is entered from outside
    outside_.stack_begin = left_begin;
    outside_.stack_bytes = left_bytes;
  }
  Fiber& self = *running_;
  try {
    kernel_();
  } catch (const EmulationError& error) {
    failure_ = std::make_exception_ptr(EmulationError(name_of(self) + " " + error.what()));
  } catch (...) {
    failure_ = std::current_exception();
  }
  self.state = FiberState::finished;
  leave();
}

/// To whoever is ready; back to the caller of run() when nobody is, or after a failure.
void Machine::leave() {
  Fiber* next = failure_ ? nullptr : take_ready();
  switch_to(next == nullptr ? &outside_ : next);
}

void Machine::switch_to(Fiber* next) {
  Fiber* self = running_;
  if (next == self) return;
  running_ = next;
  const bool ends = self->state == FiberState::finished;
  sanitizers::start_switch(ends ? nullptr : &self->fake_stack, next->stack_begin, next->stack_bytes,
                           next->tsan_fiber);
  swapcontext(&self->context, &next->context);
  sanitizers::finish_switch(self->fake_stack, nullptr, nullptr);
}

void Machine::make_ready(Fiber& fiber) {
  fiber.state = FiberState::ready;
  ready_.push_back(&fiber);
}

Fiber* Machine::take_ready() {
  if (ready_.empty()) return nullptr;
  random_ += 0x9E3779B97F4A7C15ULL;  // SplitMix64
  std::uint64_t mixed = random_;
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9ULL;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBULL;
  std::swap(ready_[(mixed >> 16) % ready_.size()], ready_.back());
  Fiber* fiber = ready_.back();
  ready_.pop_back();
  return fiber;
}

void Machine::yield() {
  make_ready(*running_);
  leave();
}

Machine::Warp Machine::warp_of(const Fiber& fiber) {
  Warp warp{};
  const auto first = static_cast<std::size_t>(&fiber - fibers_.data()) / kWarpLanes * kWarpLanes;
  for (std::size_t lane = 0; lane < warp.size(); ++lane) warp[lane] = &fibers_[first + lane];
  return warp;
}

void Machine::wait_for_warp(Request& request) {
  Fiber& self = *running_;
  const auto warp_index = static_cast<std::size_t>(&self - fibers_.data()) / kWarpLanes;
  self.request = &request;
  if (++arrived_in_warp_[warp_index] < kWarpLanes) {
    self.state = FiberState::at_warp;
    leave();
    return;
  }
  arrived_in_warp_[warp_index] = 0;
  const Warp warp = warp_of(self);
  for (const Fiber* other : warp) {
    if (other->request->operation != request.operation || other->request->detail != request.detail) {
      diverged(self, *other);
    }
  }
  perform(warp);
  for (Fiber* other : warp) make_ready(*other);
  leave();
}

void Machine::wait_for_block() {
  Fiber& self = *running_;
  const auto block = static_cast<std::size_t>(self.block);
  self.state = FiberState::at_block;
  if (++arrived_[block] == launch_.threads) {
    arrived_[block] = 0;
    for (int t = 0; t < launch_.threads; ++t) {
      Fiber& other = fibers_[block * static_cast<std::size_t>(launch_.threads) + static_cast<std::size_t>(t)];
      ++other.block_barriers;
      make_ready(other);
    }
  }
  leave();
}

void Machine::diverged(const Fiber& fiber, const Fiber& other) const {
  throw EmulationError("is at " + std::string(name_of(fiber.request->operation)) + " " +
                       std::to_string(fiber.request->detail) + " while thread " +
                       std::to_string(other.thread) + " of its warp is at " +
                       name_of(other.request->operation) + " " + std::to_string(other.request->detail));
}

/// Nobody can go on: names two threads of one block that wait for each other.
std::string Machine::stuck() const {
  const Fiber* waiting = fibers_.data();
  for (const FiberState state : {FiberState::at_block, FiberState::at_warp}) {
    for (const Fiber& fiber : fibers_) {
      if (fiber.state == state) waiting = &fiber;
    }
  }
  std::string text = name_of(*waiting) + " waits for ever " + place_of(*waiting);
  const bool in_warp = waiting->state == FiberState::at_warp;
  for (const Fiber& fiber : fibers_) {
    const bool together = fiber.block == waiting->block &&
                          (!in_warp || fiber.thread / kWarpLanes == waiting->thread / kWarpLanes);
    if (!together || fiber.state == waiting->state) continue;
    return text + " while " + name_of(fiber) + " is " + place_of(fiber);
  }
  return text;
}

void Machine::perform(const Warp& warp) {
  std::array<Request*, kWarpLanes> lanes{};
  for (std::size_t lane = 0; lane < warp.size(); ++lane) lanes[lane] = warp[lane]->request;
  const int detail = lanes[0]->detail;
  std::array<std::uint32_t, kWarpLanes> values{};
  switch (lanes[0]->operation) {
    case Operation::barrier:
      for (Fiber* fiber : warp) ++fiber->warp_barriers;
      return;
    case Operation::shuffle_xor:
    case Operation::shuffle:
      for (std::size_t lane = 0; lane < lanes.size(); ++lane) values[lane] = lanes[lane]->value;
      for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
        const auto from = lanes[0]->operation == Operation::shuffle ? 0 : lane;
        lanes[lane]->value = values.at(from ^ static_cast<std::size_t>(detail));
      }
      return;
    case Operation::mma:
      multiply(static_cast<Element>(detail), lanes);
      return;
    case Operation::load_matrix:
    case Operation::load_matrix_transposed:
      load_matrices(warp);
      return;
  }
}

void Machine::load_matrices(const Warp& warp) {
  const bool transposed = warp[0]->request->operation == Operation::load_matrix_transposed;
  Accessor who = warp[0]->accessor();
  who.thread = Accessor::kWholeWarp;
  for (int m = 0; m < warp[0]->request->detail; ++m) {
    std::uint16_t matrix[kChunkElements][kChunkElements];
    for (const Fiber* fiber : warp) {
      const int lane = fiber->thread % kWarpLanes;
      if (ldmatrix_matrix(lane) != m) continue;
      shared_of(*fiber).read(who, fiber->request->address, matrix[ldmatrix_row(lane)], kChunkBytes);
    }
    for (const Fiber* fiber : warp) {
      std::uint32_t word = 0;
      for (int half = 0; half < 2; ++half) {
        const FragmentPlace place = place_in_matrix(fiber->thread % kWarpLanes, half, transposed);
        word |= static_cast<std::uint32_t>(matrix[place.row][place.column]) << (16 * half);
      }
      fiber->request->words[m] = word;
    }
  }
}

}  // namespace strata::kernels::emulator
