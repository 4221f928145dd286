// SPDX-License-Identifier: Apache-2.0
// What a build without NCCL has in its place.
#include "core/base/check.hpp"
#include "executor/device_error.hpp"
#include "executor/nccl/nccl_network.hpp"

namespace strata {

bool nccl_available() { return false; }

std::unique_ptr<NcclNetwork> open_nccl(Control&, const Gpu&) {
  throw DeviceError(-1, "this build of Strata has no NCCL");
}

std::string nccl_version() { throw DeviceError(-1, "this build of Strata has no NCCL"); }

}  // namespace strata
