// SPDX-License-Identifier: Apache-2.0
// Shared by the files that wrap MPI, without its header.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "executor/job/control.hpp"
#include "executor/transport.hpp"

namespace strata {

/// TransportError with MPI's own words unless `code` is success.
void check_mpi(int code, std::string_view what);

/// `communicators` points at one MPI_Comm per lane, which outlive the transport.
std::unique_ptr<Transport> make_mpi_transport(const PreparedRun& run, const Control& control,
                                              const void* communicators, std::int32_t lanes);

}  // namespace strata
