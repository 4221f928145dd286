// SPDX-License-Identifier: Apache-2.0
// NCCL's functions, found in a shared library at run time; their types are those of NCCL's header.
#pragma once

#include <nccl.h>

#include <functional>
#include <memory>
#include <string>

#include "executor/nccl/nccl_network.hpp"

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

/// Loads `file` as dlopen does; it stays loaded. Throws DeviceError; see open_nccl.
NcclLibrary load_nccl(const char* file);
/// The library that open_nccl uses, the same at every call.
const NcclLibrary& nccl_library();

/// What open_nccl makes: `native_stream` gives the cudaStream_t of a stream's number.
std::unique_ptr<NcclNetwork> make_nccl_network(const NcclLibrary& nccl, Control& control,
                                               std::function<void*(std::int32_t)> native_stream);

/// "2.28.9"
std::string nccl_version_text(int version);

}  // namespace strata
