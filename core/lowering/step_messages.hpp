// SPDX-License-Identifier: Apache-2.0
// Turns the slices of a step into few messages. A slice is one segment for every buffer that it travels in.
// Large segments travel alone. The small ones between two ranks travel as one message, one after the other in
// an order that both ends know. An end whose segments lie in one buffer in this order sends or receives them
// there; otherwise it copies them into or out of a buffer of bytes. So both ends agree on every message
// without knowing how the other holds its rows. Inside of lowering.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "core/lowering/rank_rows.hpp"
#include "core/lowering/step_slices.hpp"

namespace strata::detail {

class StepMessages {
 public:
  /// Segments of at least `own_message_bytes` travel alone.
  StepMessages(RankRows& rows, std::int32_t step, std::int64_t own_message_bytes);

  void add(const SentSlices& sent);
  void add(const std::vector<ReceivedSlice>& received);
  /// Emits the packing, the exchanges and the unpacking. The last call.
  void emit(CollectiveKind collective);

 private:
  /// One buffer of a slice.
  struct Segment {
    const SliceShape* shape = nullptr;
    std::size_t number = 0;  ///< of the buffer in the tensor's wire form
    ElementType type = ElementType::f32;
    std::int64_t bytes = 0;
    std::int32_t buffer = -1;  ///< where it lies in one piece, with its heads only; -1: it does not
    std::int64_t row = 0;
    std::int32_t index = 0;  ///< of the slice

    std::int64_t row_bytes() const { return bytes / shape->row_count; }
  };
  /// A segment and one of its peers.
  struct Link {
    std::int32_t lane = 0, peer = 0;
    std::size_t segment = 0;
  };
  /// Small segments for one peer, in order.
  using Packet = std::vector<std::size_t>;
  /// What one lane does.
  struct Lane {
    Exchange exchange;
    CopyRows unpack;
    std::int64_t packed_bytes = 0, unpacked_bytes = 0;  ///< of the two buffers of bytes
    CopyRows pack;                                      ///< into the first of them
  };

  static bool comes_before(const Segment& a, const Segment& b);
  void append_segments(const SliceShape& shape, std::int32_t index, std::vector<Segment>& segments) const;
  bool travels_alone(const Segment& segment) const { return segment.bytes >= own_message_bytes_; }
  /// Calls visit(lane, peer, links) for the links with each lane and peer.
  template <typename Visit>
  static void each_peer(std::vector<Link>& links, Visit visit);
  /// Whether the packet lies in one buffer, in order.
  static bool is_adjacent(const Packet& packet, const std::vector<Segment>& segments);

  void pack_alone(const SentSlices& sent, Segment& segment);
  /// The first byte of the packet in the lane's buffer of packed bytes.
  std::int64_t pack(const SentSlices& sent, const std::vector<Segment>& segments, const Packet& packet,
                    Lane& lane);
  static std::int64_t unpack(const std::vector<Segment>& segments, const Packet& packet, Lane& lane);
  std::int32_t add_bytes(std::int64_t bytes);
  void emit(Lane& lane, CollectiveKind collective);

  RankRows& rows_;
  std::int64_t own_message_bytes_ = 0;
  std::vector<Lane> lanes_;
  CopyRows pack_;  ///< of segments that travel alone
};

}  // namespace strata::detail
