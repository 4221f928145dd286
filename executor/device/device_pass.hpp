// SPDX-License-Identifier: Apache-2.0
// One pass of all ranks as a flat list of commands for a device: every order that the programs ask for
// becomes an event. Compiled once; the issue loop only reads it, for every layer again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/problem/model_shape.hpp"
#include "core/program/rank_program.hpp"
#include "executor/device/device_launch.hpp"
#include "executor/device/device_network.hpp"
#include "executor/device/device_operation.hpp"
#include "executor/exchange_links.hpp"

namespace strata {

struct DeviceCommand {
  enum class Kind : std::uint8_t { wait, record, launch, poison, exchange };
  Kind kind = Kind::launch;
  std::int32_t stream = 0;
  std::int32_t index = 0;         ///< of the pass's events, launches, pieces or exchanges
  std::int32_t rank = 0;          ///< on whose behalf
  std::int32_t instruction = -1;  ///< -1: none, the beginning or end of the rank's pass
};

/// Memory to be made NaN.
struct PoisonedPiece {
  std::byte* data = nullptr;
  std::int64_t bytes = 0;
};

/// What one exchange sends to and receives from other processes.
struct DeviceExchange {
  std::int32_t lane = 0;
  std::vector<NetworkPart> parts;
};

/// Events are numbers of the pass; -1: not recorded.
struct DeviceInstruction {
  std::int32_t begin = -1;  ///< its waits are over and its stream is free; an exchange is posted
  std::int32_t end = -1;
  std::vector<std::int32_t> partners;  ///< begins of the exchanges of this process that it meets
  std::int32_t range_name = 0;         ///< what a profiler calls it
  std::int64_t bytes = 0;              ///< sent to other ranks
  double flops = 0;
};

struct DevicePass {
  std::vector<DeviceCommand> commands;
  std::vector<DeviceLaunch> launches;
  std::vector<PoisonedPiece> pieces;
  std::vector<DeviceExchange> exchanges;
  std::vector<std::vector<DeviceInstruction>> ranks;  ///< [rank][instruction]; empty for other processes'
  std::vector<std::int32_t> ended;  ///< events: all streams of a rank of this process are through the pass
  std::int32_t events = 0;
};

/// Which streams the ranks use.
struct DeviceStreams {
  bool serial = false;              ///< stream 0 alone, so that nothing ever runs beside anything
  std::vector<std::int32_t> first;  ///< [rank] its compute stream; those of its lanes follow; -1: none here
  std::vector<std::int32_t> lanes;  ///< [rank]

  std::int32_t of(std::size_t rank, std::int32_t stream) const {
    return serial ? first.front() : first[rank] + stream;
  }
};

struct DevicePassOptions {
  TileRows tiles;
  bool stamps = false;  ///< record begin and end of every instruction
  bool poison = false;  ///< as CpuOptions::poison, where one stream writes all of a buffer
};

/// Instructions are issued in the order of walk_programs; a link's copy goes to the receiver's stream when
/// both its ends have been issued. Where `local` is not all ranks but one, its instructions are issued in
/// program order and its exchanges go to a DeviceNetwork. Throws DeviceError, naming rank and instruction,
/// when some instruction can never run; InternalError for ranges that leave their buffers.
DevicePass compile_pass(const std::vector<RankProgram>& programs, Pass pass, const ModelShape& model,
                        std::span<std::byte* const> arenas, RankBlock local, const DeviceStreams& streams,
                        const DevicePassOptions& options, DeviceLists& lists);

}  // namespace strata
