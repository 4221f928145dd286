// SPDX-License-Identifier: Apache-2.0
// NCCL's functions, found in a shared library at run time; their types are those of NCCL's header.
#pragma once

#include <nccl.h>

#include <string>

namespace strata {

struct NcclLibrary {
  decltype(&ncclGetVersion) get_version = nullptr;
  decltype(&ncclGetErrorString) error_string = nullptr;
  decltype(&ncclGetLastError) last_error = nullptr;
  decltype(&ncclGetUniqueId) unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) init_rank = nullptr;
  decltype(&ncclCommGetAsyncError) async_error = nullptr;
  decltype(&ncclGroupStart) group_start = nullptr;
  decltype(&ncclGroupEnd) group_end = nullptr;
  decltype(&ncclSend) send = nullptr;
  decltype(&ncclRecv) receive = nullptr;
  decltype(&ncclCommFinalize) finalize = nullptr;
  decltype(&ncclCommDestroy) destroy = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  int version = 0;  ///< major * 10000 + minor * 100 + patch
};

/// The same library at every call; it stays loaded. Throws DeviceError; see open_nccl.
const NcclLibrary& nccl_library();

/// "2.28.9"
std::string nccl_version_text(int version);

}  // namespace strata
