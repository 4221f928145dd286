// SPDX-License-Identifier: Apache-2.0
// Marks functions that run on the host and on a GPU: the same source, compiled by the host compiler and by
// nvcc.
#pragma once

#if defined(__CUDACC__)
#define STRATA_HOST_DEVICE __host__ __device__
#define STRATA_ROLLED _Pragma("unroll 1")
#else
#define STRATA_HOST_DEVICE
#define STRATA_ROLLED
#endif
