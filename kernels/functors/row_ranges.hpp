// SPDX-License-Identifier: Apache-2.0
// The index space of a row kernel: a list of ranges, so that one launch serves a whole instruction. A range
// has *units* (a row, or a row and head); a team of 1..32 lanes handles a unit; a warp takes the ranges'
// units in tiles. The same arithmetic runs in a grid on the GPU and in a loop on the CPU.
#pragma once

#include <cstdint>

#include "kernels/host_device.hpp"

namespace strata::kernels {

inline constexpr std::int32_t kTeamLanes = 32;
/// Bytes that a warp moves before it looks for the next tile: enough to hide the search, and so few that a
/// few megabytes fill a GPU.
inline constexpr std::int64_t kWarpTileBytes = 8192;

/// Part of every range; written by lay_out_ranges. `lanes` is a power of two.
struct RangeSpan {
  std::int64_t units = 0;
  std::int64_t first_tile = 0;
  std::int32_t tile_units = 1;
  std::int32_t lanes = 1;
};

/// Units [begin, end) of range number `range`.
struct WarpTile {
  std::int32_t range = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

STRATA_HOST_DEVICE inline std::int64_t tile_count(const RangeSpan& span) {
  return (span.units + span.tile_units - 1) / span.tile_units;
}

/// The tile's range is the last one that starts at or before it; ranges without units own no tile.
template <class Range>
STRATA_HOST_DEVICE WarpTile locate_tile(const Range* ranges, std::int32_t count, std::int64_t tile) {
  std::int32_t low = 0;
  std::int32_t high = count;  // ranges[low].first_tile <= tile < ranges[high].first_tile
  STRATA_ROLLED
  while (high - low > 1) {
    const std::int32_t middle = low + (high - low) / 2;
    (ranges[middle].span.first_tile <= tile ? low : high) = middle;
  }
  const RangeSpan& span = ranges[low].span;
  const std::int64_t begin = (tile - span.first_tile) * span.tile_units;
  const std::int64_t end = begin + span.tile_units;
  return {low, begin, end < span.units ? end : span.units};
}

/// Gives every range its lanes and tiles; returns the number of tiles. `Functor::units`, `::chunks` and
/// `::unit_bytes` tell how many units a range has, how many chunks each, and what a unit moves.
template <class Functor>
std::int64_t lay_out_ranges(typename Functor::Range* ranges, std::int32_t count) {
  std::int64_t tiles = 0;
  for (std::int32_t r = 0; r < count; ++r) {
    RangeSpan& span = ranges[r].span;
    span.units = Functor::units(ranges[r]);
    span.lanes = 1;
    while (span.lanes < kTeamLanes && span.lanes < Functor::chunks(ranges[r])) span.lanes *= 2;
    const std::int64_t teams = kTeamLanes / span.lanes;
    const std::int64_t bytes = Functor::unit_bytes(ranges[r]) > 0 ? Functor::unit_bytes(ranges[r]) : 1;
    const std::int64_t passes = kWarpTileBytes / (bytes * teams);
    span.tile_units = static_cast<std::int32_t>(teams * (passes < 1 ? 1 : passes > 64 ? 64 : passes));
    span.first_tile = tiles;
    tiles += tile_count(span);
  }
  return tiles;
}

/// Sum over a team in the order of a butterfly, which is the order of the GPU's shuffles. `values` has
/// `lanes` entries, a power of two.
inline float team_sum(float* values, std::int32_t lanes) {
  for (std::int32_t distance = lanes / 2; distance > 0; distance /= 2) {
    for (std::int32_t lane = 0; lane < distance; ++lane) values[lane] += values[lane + distance];
  }
  return values[0];
}

/// Runs a functor over its ranges on the calling thread, tile by tile, team by team, lane by lane.
template <class Functor>
void run_ranges_on_host(const Functor& functor, const typename Functor::Range* ranges, std::int32_t count,
                        std::int64_t tiles) {
  for (std::int64_t t = 0; t < tiles; ++t) {
    const WarpTile tile = locate_tile(ranges, count, t);
    const auto& range = ranges[tile.range];
    for (std::int64_t unit = tile.begin; unit < tile.end; ++unit) {
      const auto state = functor.begin(range, unit);
      float partial[kTeamLanes] = {};
      for (std::int32_t lane = 0; lane < range.span.lanes; ++lane) {
        partial[lane] = functor.lane(range, unit, lane, state);
      }
      functor.finish(range, unit, state, team_sum(partial, range.span.lanes));
    }
  }
}

}  // namespace strata::kernels
