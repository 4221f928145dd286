// SPDX-License-Identifier: Apache-2.0
// Turns the slices of a step into few messages. A slice is one segment for every buffer that it travels in.
// Large segments travel alone. The small ones between two ranks travel as one message, one after the other in
// an order that both ends know. An end whose segments lie in one buffer in this order sends or receives them
// there; otherwise it copies them into or out of a buffer of bytes. So both ends agree on every message
// without knowing how the other holds its rows. Inside of lowering.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/bucket_sort.hpp"
#include "core/lowering/rank_rows.hpp"
#include "core/lowering/step_slices.hpp"

namespace strata::detail {

class StepMessages {
 public:
  /// Segments of at least `own_message_bytes` travel alone.
  StepMessages(RankRows& rows, std::int64_t own_message_bytes);

  /// What is added from here on belongs to `step`.
  void begin(std::int32_t step);
  void add(const SentSlices& sent);
  void add(const std::vector<ReceivedSlice>& received);
  /// Emits the packing, the exchanges and the unpacking. The last call of a step.
  void emit(CollectiveKind collective);

 private:
  /// One buffer of a slice.
  struct Segment {
    std::uint64_t kind = 0;  ///< first criterion of the order, see kind_of
    /// Second criterion: the place of the slice in the step's transfers or reductions.
    std::int32_t position = 0;
    std::int32_t slice = 0;  ///< in the list that is added
    HeadRange heads;
    std::int64_t row_count = 0, row_bytes = 0;
    std::int32_t number = 0;  ///< of its buffer in the tensor's wire form
    /// The buffer in which it lies in one piece, with its heads only; -1: there is none.
    std::int32_t buffer = -1;
    std::int64_t row = 0;

    std::int64_t bytes() const { return row_count * row_bytes; }
    bool operator<(const Segment& other) const {
      return kind != other.kind ? kind < other.kind : position < other.position;
    }
  };
  /// A segment and one of its peers.
  struct Link {
    std::int32_t way = 0;  ///< lane and peer
    std::int32_t segment = 0;
    auto operator<=>(const Link&) const = default;
  };
  /// Segments for one peer that travel together, in order.
  using Packet = std::vector<std::int32_t>;
  /// What one lane does.
  struct Lane {
    Exchange exchange;
    CopyRows pack, unpack;
    std::int64_t packed_bytes = 0, unpacked_bytes = 0;  ///< of the two buffers of bytes
  };

  std::int32_t rank_count() const { return rows_.wave().placement.rank_count(); }
  bool travels_alone(const Segment& segment) const { return segment.bytes() >= own_message_bytes_; }
  const Segment& segment(std::int32_t index) const { return segments_[static_cast<std::size_t>(index)]; }
  /// Segments are sorted by the size of their elements first, so that f32 after 16-bit rows is the only
  /// change of alignment. Those of one tensor and heads come next to each other, because they can lie in one
  /// buffer. `position` keeps canonical order among them.
  static std::uint64_t kind_of(const SliceShape& shape, const WireBuffer& wire, std::int32_t number);
  void append_segments(const SliceShape& shape, std::int32_t slice);
  void append_link(std::int32_t lane, std::int32_t peer, std::size_t segment);
  /// The messages of all links, sorted: calls alone(lane, peer, segment) for the segments that travel alone
  /// and together(lane, peer, packet) for each packet.
  template <typename Alone, typename Together>
  void each_message(Alone alone, Together together);
  /// Whether the packet lies in one buffer, in order.
  bool is_adjacent(const Packet& packet) const;
  /// A part that the packet makes in the buffer in which it lies.
  ExchangePart part_in_place(std::int32_t peer, const Packet& packet) const;
  /// A part in the lane's buffer of bytes.
  ExchangePart part_of_bytes(std::int32_t peer, const Packet& packet, std::int64_t first_byte) const;

  void pack_alone(const SentSlices& sent, Segment& segment);
  /// These return the packet's first byte in the lane's buffer of packed or unpacked bytes.
  std::int64_t pack(const SentSlices& sent, const Packet& packet, Lane& lane) const;
  std::int64_t unpack(const Packet& packet, Lane& lane) const;
  std::int32_t add_bytes(std::int64_t bytes);
  void emit(Lane& lane, CollectiveKind collective);

  RankRows& rows_;
  std::int64_t own_message_bytes_ = 0;
  std::vector<Lane> lanes_;
  CopyRows pack_;  ///< of segments that travel alone
  // Scratch that is kept from step to step.
  std::vector<Segment> segments_;
  std::vector<Link> links_;
  BucketSort<Link> by_way_;
  Packet packet_;
};

}  // namespace strata::detail
