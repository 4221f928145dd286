// SPDX-License-Identifier: Apache-2.0
// What a device is told to do: launches whose arguments are device pointers, and whose lists lie at offsets
// of one block of device memory, filled once before the run. Plain data, the same for a GPU and for whatever
// stands in for one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <variant>
#include <vector>

#include "kernels/attention_work.hpp"
#include "kernels/cuda/device_lists.hpp"
#include "kernels/functors/head_functors.hpp"
#include "kernels/functors/row_functors.hpp"

namespace strata {

/// An array in the lists: `offset` bytes after their start.
template <typename Entry>
struct ListPlace {
  std::int64_t offset = 0;
  std::int32_t count = 0;

  Entry* in(std::byte* lists) const { return reinterpret_cast<Entry*>(lists + offset); }
};

/// Collects all lists of a run; upload `bytes()` and launches find them.
class DeviceLists {
 public:
  template <typename Entry>
  ListPlace<Entry> add(std::span<const Entry> entries) {
    static_assert(std::is_trivially_copyable_v<Entry> && alignof(Entry) <= kAlignment);
    const std::size_t begin = (bytes_.size() + kAlignment - 1) / kAlignment * kAlignment;
    bytes_.resize(begin + entries.size_bytes());
    if (!entries.empty()) std::memcpy(bytes_.data() + begin, entries.data(), entries.size_bytes());
    return {static_cast<std::int64_t>(begin), static_cast<std::int32_t>(entries.size())};
  }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  static constexpr std::size_t kAlignment = 128;
  std::vector<std::byte> bytes_;
};

/// A row functor over ranges that lay_out_ranges has seen.
template <typename FunctorType>
struct RowsLaunch {
  using Functor = FunctorType;
  ListPlace<typename Functor::Range> ranges;
  std::int64_t tiles = 0;
};
using CopyLaunch = RowsLaunch<kernels::CopyFunctor>;
using CastLaunch = RowsLaunch<kernels::CastFunctor>;
using FillLaunch = RowsLaunch<kernels::FillFunctor>;
using DeltaLaunch = RowsLaunch<kernels::DeltaFunctor>;
struct AddLaunch {
  RowsLaunch<kernels::AddFunctor> rows;
  ListPlace<kernels::AddPart> parts;
};
struct MergeLaunch {
  RowsLaunch<kernels::MergeFunctor> rows;
  ListPlace<kernels::MergePart> parts;
};

/// Attention in plain fp32. The descriptors exist twice: for the kernel, and for the host that sizes grids.
struct ReferenceLaunch {
  kernels::AttentionShape shape;
  kernels::OutputMode mode = kernels::OutputMode::write;
  bool backward = false;
  ListPlace<kernels::AttentionBlock> blocks;
  ListPlace<kernels::QueryRows> queries;
  ListPlace<kernels::KeyRows> keys;
  std::vector<kernels::QueryRows> host_queries;
  std::vector<kernels::KeyRows> host_keys;
};

/// Attention on tensor cores: one of forward, grad_q and grad_kv over its own tiles. The counters that
/// `tickets` holds are the launch's own, so that launches may overlap.
struct TiledLaunch {
  kernels::WorkKind kind = kernels::WorkKind::forward;
  kernels::AttentionShape shape;
  kernels::OutputMode mode = kernels::OutputMode::write;
  ListPlace<kernels::DeviceTile> tiles;
  ListPlace<kernels::DeviceSegment> segments;
  ListPlace<kernels::QueryRows> queries;
  ListPlace<kernels::KeyRows> keys;
  ListPlace<kernels::AttentionTickets> tickets;

  kernels::AttentionArguments arguments(std::byte* lists) const {
    return {tiles.in(lists), segments.in(lists), queries.in(lists),
            keys.in(lists),  tickets.in(lists),  tiles.count,
            shape.group(),   shape.scale,        mode};
  }
};

using DeviceLaunch = std::variant<CopyLaunch, AddLaunch, CastLaunch, FillLaunch, MergeLaunch, DeltaLaunch,
                                  ReferenceLaunch, TiledLaunch>;

}  // namespace strata
