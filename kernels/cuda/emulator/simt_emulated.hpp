// SPDX-License-Identifier: Apache-2.0
// The device operations of simt.hpp on the host: each asks the emulator, on behalf of the fiber that runs.
// Included by simt.hpp only.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/attention_types.hpp"
#include "kernels/bf16.hpp"
#include "kernels/cuda/emulator/emulator.hpp"
#include "kernels/f16.hpp"

namespace strata::kernels::simt {

inline int thread_index() { return emulator::thread_index(); }
inline int thread_index_here() { return emulator::thread_index(); }
inline int block_index() { return emulator::block_index(); }
inline int block_count() { return emulator::block_count(); }
inline int multiprocessor_index() { return emulator::multiprocessor_index(); }
inline Shared shared_begin() { return emulator::shared_begin(); }
inline void block_barrier() { emulator::block_barrier(); }
inline void warp_barrier() { emulator::warp_barrier(); }

inline std::uint32_t shuffle_xor(std::uint32_t value, int mask) { return emulator::shuffle_xor(value, mask); }
inline float shuffle_xor(float value, int mask) {
  return float_of_bits(emulator::shuffle_xor(float_bits(value), mask));
}
inline std::uint32_t shuffle(std::uint32_t value, int lane) { return emulator::shuffle(value, lane); }

template <Element kElement>
void mma(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  static_assert(kElement != Element::f32);
  emulator::mma(kElement, sum, a, b0, b1);
}

template <int kCount>
void load_matrix(std::uint32_t (&words)[kCount], Shared address) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4);
  emulator::load_matrix(words, kCount, address, false);
}
template <int kCount>
void load_matrix_transposed(std::uint32_t (&words)[kCount], Shared address) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4);
  emulator::load_matrix(words, kCount, address, true);
}

inline void copy_async(Shared to, const void* from, bool valid) { emulator::copy_async(to, from, valid); }
inline void commit_copies() { emulator::commit_copies(); }
template <int kPending>
void wait_copies() {
  emulator::wait_copies(kPending);
}

inline std::uint32_t load_word(Shared from) {
  std::uint32_t word = 0;
  emulator::load_shared(&word, from, 4);
  return word;
}
inline float load_float(Shared from) { return float_of_bits(load_word(from)); }
inline void load_words(std::uint32_t (&words)[4], Shared from) { emulator::load_shared(words, from, 16); }
inline void store_word(Shared to, std::uint32_t word) { emulator::store_shared(to, &word, 4); }
inline void store_float(Shared to, float value) { store_word(to, float_bits(value)); }
inline void store_words(Shared to, const std::uint32_t (&words)[2]) { emulator::store_shared(to, words, 8); }
inline void store_words(Shared to, const std::uint32_t (&words)[4]) { emulator::store_shared(to, words, 16); }

inline void store_global(void* to, const std::uint32_t (&words)[4]) {
  emulator::require_aligned(to, 16);
  std::memcpy(to, words, 16);
}

inline std::int32_t take_ticket(std::int32_t* counter) { return (*counter)++; }

inline float exp2_fast(float x) {
  const float result = std::exp2(x);
  return result < 0x1p-126F ? 0.0F : result;
}
inline float exp_accurate(float x) { return std::exp(x); }
inline float log_accurate(float x) { return std::log(x); }
inline float log1p_accurate(float x) { return std::log1p(x); }

template <Element kElement>
std::uint32_t pack(float low, float high) {
  static_assert(kElement != Element::f32);
  using Storage = std::conditional_t<kElement == Element::bf16, Bf16, F16>;
  Storage halves[2];
  narrow(low, &halves[0]);
  narrow(high, &halves[1]);
  return static_cast<std::uint32_t>(halves[0].bits) | (static_cast<std::uint32_t>(halves[1].bits) << 16);
}

}  // namespace strata::kernels::simt
