// SPDX-License-Identifier: Apache-2.0
// The device operations that a tensor-core kernel is written with. Nothing else touches the device. Under
// nvcc they are instructions (simt_ptx.cuh); under the host compiler they call the emulator, which runs the
// very kernel source with one fiber per thread (emulator/simt_emulated.hpp). All operations marked *warp*
// must be reached by all 32 lanes together.
#pragma once

#include <cstdint>

#include "kernels/attention_types.hpp"
#include "kernels/bf16.hpp"
#include "kernels/cuda/fragments.hpp"

#if defined(__CUDACC__)
#define STRATA_DEVICE __device__ __forceinline__
#define STRATA_UNROLL _Pragma("unroll")
#define STRATA_NO_UNROLL _Pragma("unroll 1")
#else
#define STRATA_DEVICE inline
#define STRATA_UNROLL
#define STRATA_NO_UNROLL
#endif

namespace strata::kernels::simt {

/// Byte address in the shared memory of the block.
using Shared = std::uint32_t;

/// Thread in the (one-dimensional) block, block in the (one-dimensional) grid, blocks of the grid.
STRATA_DEVICE int thread_index();
STRATA_DEVICE int block_index();
STRATA_DEVICE int block_count();
/// The number of the multiprocessor that the block runs on.
STRATA_DEVICE int multiprocessor_index();

/// thread_index() read anew where the call stands: what is derived from it is not held in registers all
/// through a loop.
STRATA_DEVICE int thread_index_here();

/// Where the dynamic shared memory of the launch begins; a multiple of 1024.
STRATA_DEVICE Shared shared_begin();

/// All threads of the block; orders their shared memory accesses.
STRATA_DEVICE void block_barrier();
/// Warp; orders the shared memory accesses of its lanes.
STRATA_DEVICE void warp_barrier();

/// Value of the lane whose number differs by the bits of `mask`. Warp.
STRATA_DEVICE std::uint32_t shuffle_xor(std::uint32_t value, int mask);
STRATA_DEVICE float shuffle_xor(float value, int mask);
/// Value of lane `lane`, the same for all. Warp.
STRATA_DEVICE std::uint32_t shuffle(std::uint32_t value, int lane);

/// sum += a * b as one m16n8k16 product of bf16 or f16; fragments.hpp says which lane holds what. Warp.
template <Element kElement>
STRATA_DEVICE void mma(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1);

/// kCount (1, 2 or 4) matrices of 8 x 8 16-bit elements; lane l gives the address of row l % 8 of matrix l /
/// 8 (lanes beyond the last matrix any valid address). Addresses are multiples of 16. Warp.
template <int kCount>
STRATA_DEVICE void load_matrix(std::uint32_t (&words)[kCount], Shared address);
template <int kCount>
STRATA_DEVICE void load_matrix_transposed(std::uint32_t (&words)[kCount], Shared address);

/// Starts to copy 16 bytes from global memory, or zeros, without reading, when not `valid`. Both addresses
/// are multiples of 16. The bytes are there for the thread itself after the wait for their group, for other
/// threads after a barrier behind that.
STRATA_DEVICE void copy_async(Shared to, const void* from, bool valid);
/// Closes a group of the copies started since the last one; empty groups count.
STRATA_DEVICE void commit_copies();
/// Waits until at most kPending of the thread's latest groups are unfinished.
template <int kPending>
STRATA_DEVICE void wait_copies();

/// Plain shared memory accesses of 4, 8 and 16 bytes, aligned to their size.
STRATA_DEVICE std::uint32_t load_word(Shared from);
STRATA_DEVICE float load_float(Shared from);
STRATA_DEVICE void load_words(std::uint32_t (&words)[4], Shared from);
STRATA_DEVICE void store_word(Shared to, std::uint32_t word);
STRATA_DEVICE void store_float(Shared to, float value);
STRATA_DEVICE void store_words(Shared to, const std::uint32_t (&words)[2]);
STRATA_DEVICE void store_words(Shared to, const std::uint32_t (&words)[4]);

/// 16 bytes to global memory at a multiple of 16.
STRATA_DEVICE void store_global(void* to, const std::uint32_t (&words)[4]);

/// Takes a number from a counter in global memory: its value before the increment.
STRATA_DEVICE std::int32_t take_ticket(std::int32_t* counter);

/// 2^x to about two units in the last place; subnormal results are zero. 2^-inf = 0.
STRATA_DEVICE float exp2_fast(float x);
STRATA_DEVICE float exp_accurate(float x);
STRATA_DEVICE float log_accurate(float x);
STRATA_DEVICE float log1p_accurate(float x);

/// Two floats rounded to nearest even as bf16 or f16, `low` in the lower half.
template <Element kElement>
STRATA_DEVICE std::uint32_t pack(float low, float high);

}  // namespace strata::kernels::simt

#if defined(__CUDACC__)
#include "kernels/cuda/simt_ptx.cuh"
#else
#include "kernels/cuda/emulator/simt_emulated.hpp"
#endif
