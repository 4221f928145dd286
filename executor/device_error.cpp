// SPDX-License-Identifier: Apache-2.0
#include "executor/device_error.hpp"

#include <fmt/format.h>

namespace strata {

DeviceError::DeviceError(int rank, const std::string& message)
    : std::runtime_error(rank < 0 ? message : fmt::format("rank {}: {}", rank, message)), rank_(rank) {}

}  // namespace strata
