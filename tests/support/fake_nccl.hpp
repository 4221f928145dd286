// SPDX-License-Identifier: Apache-2.0
// NCCL's functions over a host network: what they are called with and in which order, non-blocking calls that
// take a while, and every way in which they can fail.
#pragma once

#include <cstdint>
#include <vector>

#include "executor/nccl/nccl_library.hpp"
#include "tests/support/host_network.hpp"

namespace strata::testing {

/// What one process's NCCL does; `use` it in that process's thread, and outlive its communicators.
struct FakeNccl {
  HostNetwork* network = nullptr;
  int looks_until_ready = 3;  ///< of each call that goes on in the background; -1: it never ends
  ncclResult_t init_result = ncclInProgress, send_result = ncclSuccess;
  std::int64_t fails_at = -1;  ///< this look, counted from 0, and all later ones, find a remote error

  int opened = 0, exchanges = 0, finalized = 0, destroyed = 0, aborted = 0;
  int used_after_end = 0;  ///< calls with a communicator that was destroyed or aborted
  std::int64_t looks = 0;

  void use();
  static NcclLibrary library();
};

/// The stream's number as if it were CUDA's.
void* native_stream(std::int32_t stream);

}  // namespace strata::testing
