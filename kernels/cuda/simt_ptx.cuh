// SPDX-License-Identifier: Apache-2.0
// The device operations of simt.hpp as instructions of sm_80 and later. Included by simt.hpp only.
#pragma once

#include <cstdint>

#include "kernels/attention_types.hpp"

namespace strata::kernels::simt {

STRATA_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
STRATA_DEVICE int thread_index_here() {
  int index = 0;
  asm volatile("mov.u32 %0, %%tid.x;\n" : "=r"(index));
  return index;
}
STRATA_DEVICE int block_index() { return static_cast<int>(blockIdx.x); }
STRATA_DEVICE int block_count() { return static_cast<int>(gridDim.x); }
STRATA_DEVICE int multiprocessor_index() {
  int index = 0;
  asm volatile("mov.u32 %0, %%smid;\n" : "=r"(index));
  return index;
}

STRATA_DEVICE Shared shared_begin() {
  extern __shared__ __align__(1024) unsigned char dynamic_shared[];
  return static_cast<Shared>(__cvta_generic_to_shared(dynamic_shared));
}

STRATA_DEVICE void block_barrier() { __syncthreads(); }
STRATA_DEVICE void warp_barrier() { __syncwarp(); }

STRATA_DEVICE std::uint32_t shuffle_xor(std::uint32_t value, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFU, value, mask);
}
STRATA_DEVICE float shuffle_xor(float value, int mask) { return __shfl_xor_sync(0xFFFFFFFFU, value, mask); }
STRATA_DEVICE std::uint32_t shuffle(std::uint32_t value, int lane) {
  return __shfl_sync(0xFFFFFFFFU, value, lane);
}

template <Element kElement>
STRATA_DEVICE void mma(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  static_assert(kElement != Element::f32);
  if constexpr (kElement == Element::bf16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

template <int kCount>
STRATA_DEVICE void load_matrix(std::uint32_t (&words)[kCount], Shared address) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4);
  if constexpr (kCount == 4) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address));
  } else if constexpr (kCount == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];\n"
                 : "=r"(words[0]), "=r"(words[1])
                 : "r"(address));
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];\n" : "=r"(words[0]) : "r"(address));
  }
}

template <int kCount>
STRATA_DEVICE void load_matrix_transposed(std::uint32_t (&words)[kCount], Shared address) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4);
  if constexpr (kCount == 4) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address));
  } else if constexpr (kCount == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];\n"
                 : "=r"(words[0]), "=r"(words[1])
                 : "r"(address));
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];\n"
                 : "=r"(words[0])
                 : "r"(address));
  }
}

STRATA_DEVICE void copy_async(Shared to, const void* from, bool valid) {
  const std::uint32_t bytes = valid ? 16 : 0;  // what is left of 16 is filled with zeros
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;\n" ::"r"(to),
               "l"(__cvta_generic_to_global(from)), "r"(bytes)
               : "memory");
}

STRATA_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

template <int kPending>
STRATA_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

STRATA_DEVICE std::uint32_t load_word(Shared from) {
  std::uint32_t word = 0;
  asm volatile("ld.shared.b32 %0, [%1];\n" : "=r"(word) : "r"(from) : "memory");
  return word;
}
STRATA_DEVICE float load_float(Shared from) { return __uint_as_float(load_word(from)); }
STRATA_DEVICE void load_words(std::uint32_t (&words)[4], Shared from) {
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(from)
               : "memory");
}
STRATA_DEVICE void store_word(Shared to, std::uint32_t word) {
  asm volatile("st.shared.b32 [%0], %1;\n" ::"r"(to), "r"(word) : "memory");
}
STRATA_DEVICE void store_float(Shared to, float value) { store_word(to, __float_as_uint(value)); }
STRATA_DEVICE void store_words(Shared to, const std::uint32_t (&words)[2]) {
  asm volatile("st.shared.v2.b32 [%0], {%1, %2};\n" ::"r"(to), "r"(words[0]), "r"(words[1]) : "memory");
}
STRATA_DEVICE void store_words(Shared to, const std::uint32_t (&words)[4]) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};\n" ::"r"(to), "r"(words[0]), "r"(words[1]),
               "r"(words[2]), "r"(words[3])
               : "memory");
}

STRATA_DEVICE void store_global(void* to, const std::uint32_t (&words)[4]) {
  *static_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
}

STRATA_DEVICE std::int32_t take_ticket(std::int32_t* counter) { return atomicAdd(counter, 1); }

STRATA_DEVICE float exp2_fast(float x) {
  float result = 0;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(result) : "f"(x));
  return result;
}
STRATA_DEVICE float exp_accurate(float x) { return expf(x); }
STRATA_DEVICE float log_accurate(float x) { return logf(x); }
STRATA_DEVICE float log1p_accurate(float x) { return log1pf(x); }

template <Element kElement>
STRATA_DEVICE std::uint32_t pack(float low, float high) {
  static_assert(kElement != Element::f32);
  std::uint32_t word = 0;
  if constexpr (kElement == Element::bf16) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(word) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;\n" : "=r"(word) : "f"(high), "f"(low));
  }
  return word;
}

}  // namespace strata::kernels::simt
