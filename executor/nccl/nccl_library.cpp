// SPDX-License-Identifier: Apache-2.0
#include "executor/nccl/nccl_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>

#include "core/base/check.hpp"
#include "executor/device_error.hpp"

namespace strata {

namespace {

constexpr int kOldest = 21800;  ///< has every function and ends non-blocking communicators well

DeviceError found(const std::string& what) {
  return DeviceError(-1, fmt::format("NCCL: found {}, expected libnccl.so.2, version {} or later (the "
                                     "environment variable STRATA_NCCL names a file)",
                                     what, nccl_version_text(kOldest)));
}

template <typename Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) throw found(fmt::format("a library without {}", name));
}

const char* usual_file() {
  const char* const named = std::getenv("STRATA_NCCL");
  return named != nullptr && *named != '\0' ? named : "libnccl.so.2";
}

}  // namespace

NcclLibrary load_nccl(const char* file) {
  void* const library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    throw found(reason == nullptr ? "no library" : fmt::format("no library ({})", reason));
  }
  NcclLibrary nccl;
  find(library, "ncclGetVersion", nccl.get_version);
  if (nccl.get_version(&nccl.version) != ncclSuccess) throw found("a library that does not tell its version");
  if (nccl.version < kOldest) throw found("version " + nccl_version_text(nccl.version));
  find(library, "ncclGetErrorString", nccl.error_string);
  find(library, "ncclGetLastError", nccl.last_error);
  find(library, "ncclGetUniqueId", nccl.unique_id);
  find(library, "ncclCommInitRankConfig", nccl.init_rank);
  find(library, "ncclCommGetAsyncError", nccl.async_error);
  find(library, "ncclGroupStart", nccl.group_start);
  find(library, "ncclGroupEnd", nccl.group_end);
  find(library, "ncclSend", nccl.send);
  find(library, "ncclRecv", nccl.receive);
  find(library, "ncclCommFinalize", nccl.finalize);
  find(library, "ncclCommDestroy", nccl.destroy);
  find(library, "ncclCommAbort", nccl.abort);
  return nccl;
}

const NcclLibrary& nccl_library() {
  static const NcclLibrary kLibrary = load_nccl(usual_file());
  return kLibrary;
}

std::string nccl_version_text(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

}  // namespace strata
