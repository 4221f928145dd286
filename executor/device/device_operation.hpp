// SPDX-License-Identifier: Apache-2.0
// What an instruction is to a device: launches over lists, compiled before the run for arenas that already
// lie on the device. The counterpart of prepared_operation.hpp, which compiles for the CPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/problem/model_shape.hpp"
#include "core/program/rank_program.hpp"
#include "executor/device/device_launch.hpp"
#include "executor/exchange_links.hpp"

namespace strata {

/// Rows of the tiles of the tensor-core kernels; 0: the plain kernel does that part.
struct TileRows {
  std::int32_t forward = 0, grad_q = 0, grad_kv = 0;
};

/// Launches that run one after the other on one stream; none for exchanges, TokenWork.linear and empty
/// operations. The lists go to `lists`. `arena` is the device address of the rank's arena and is not read.
std::vector<DeviceLaunch> compile_operation(const RankProgram& program, const Operation& op,
                                            const ModelShape& model, const TileRows& tiles, std::byte* arena,
                                            DeviceLists& lists);

/// One link of an exchange, between two arenas on the same device; none when nothing is to be copied.
std::vector<DeviceLaunch> compile_link(std::span<const CopyChunk> chunks, DeviceLists& lists);

}  // namespace strata
