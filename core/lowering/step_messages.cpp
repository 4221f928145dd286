// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/step_messages.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

namespace strata::detail {

namespace {

/// The buffer of a part or copy until the lane's buffer of bytes is there.
constexpr std::int32_t kBytes = -1;

/// Appends a copy, or widens the last one where it goes on and is one of those from `first` on. A row takes
/// `source_step` and `target_step` rows of the buffers: its bytes in a message, else 1.
void append_copy(const RowCopy& copy, std::int64_t source_step, std::int64_t target_step, std::size_t first,
                 std::vector<RowCopy>& copies) {
  if (copies.size() > first) {
    RowCopy& last = copies.back();
    const bool goes_on = last.source == copy.source && last.target == copy.target &&
                         last.heads == copy.heads &&
                         last.source_row + last.row_count * source_step == copy.source_row &&
                         last.target_row + last.row_count * target_step == copy.target_row;
    if (goes_on) {
      last.row_count += copy.row_count;
      return;
    }
  }
  copies.push_back(copy);
}

}  // namespace

StepMessages::StepMessages(RankRows& rows, std::int64_t own_message_bytes)
    : rows_(rows),
      own_message_bytes_(own_message_bytes),
      lanes_(static_cast<std::size_t>(rows.lane_count())) {}

void StepMessages::begin(std::int32_t step) {
  pack_.copies.clear();
  for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
    lanes_[lane] = {};
    lanes_[lane].exchange.step = step;
    lanes_[lane].exchange.lane = static_cast<std::int32_t>(lane);
  }
}

std::uint64_t StepMessages::kind_of(const SliceShape& shape, const WireBuffer& wire, std::int32_t number) {
  constexpr int kHeadBits = 16;
  static_assert((kMaxQueryHeads >> kHeadBits) == 0);
  const std::uint64_t is_f32 = wire.type == ElementType::f32 ? 1 : 0;
  const auto tensor = static_cast<std::uint64_t>(shape.tensor);
  const auto buffer = tensor * 3 + static_cast<std::uint64_t>(number);
  const std::uint64_t heads = static_cast<std::uint64_t>(shape.heads.begin) << kHeadBits |
                              static_cast<std::uint64_t>(shape.heads.end);
  return ((is_f32 << 8) + buffer) << (2 * kHeadBits) | heads;
}

void StepMessages::append_segments(const SliceShape& shape, std::int32_t slice) {
  std::int32_t number = 0;
  for (const WireBuffer& wire : wire_buffers(shape.tensor, rows_.model())) {
    Segment& segment = segments_.emplace_back();
    segment.kind = kind_of(shape, wire, number);
    segment.position = shape.position;
    segment.slice = slice;
    segment.heads = shape.heads;
    segment.row_count = shape.row_count;
    segment.row_bytes = wire.row_bytes(shape.heads);
    segment.number = number++;
  }
}

void StepMessages::append_link(std::int32_t lane, std::int32_t peer, std::size_t segment) {
  links_.push_back({lane * rank_count() + peer, static_cast<std::int32_t>(segment)});
}

template <typename Alone, typename Together>
void StepMessages::each_message(Alone alone, Together together) {
  const std::int32_t ways = rank_count() * rows_.lane_count();
  by_way_.sort(
      links_, ways, [](const Link& link) { return link.way; }, std::less<>());
  const auto before = [&](const Link& a, const Link& b) { return segment(a.segment) < segment(b.segment); };
  for (auto first = links_.begin(), end = first; first != links_.end(); first = end) {
    const auto same_way = [&](const Link& link) { return link.way == first->way; };
    end = std::find_if_not(first, links_.end(), same_way);
    if (!std::is_sorted(first, end, before)) std::sort(first, end, before);
    Lane& lane = lanes_[static_cast<std::size_t>(first->way / rank_count())];
    const std::int32_t peer = first->way % rank_count();
    packet_.clear();
    for (auto link = first; link != end; ++link) {
      if (travels_alone(segment(link->segment))) {
        alone(lane, peer, segment(link->segment));
      } else {
        packet_.push_back(link->segment);
      }
    }
    if (!packet_.empty()) together(lane, peer, packet_);
  }
}

bool StepMessages::is_adjacent(const Packet& packet) const {
  const Segment& first = segment(packet.front());
  std::int64_t row = first.row;
  return first.buffer >= 0 && std::all_of(packet.begin(), packet.end(), [&](std::int32_t index) {
           const bool follows = segment(index).buffer == first.buffer && segment(index).row == row;
           row += segment(index).row_count;
           return follows;
         });
}

ExchangePart StepMessages::part_in_place(std::int32_t peer, const Packet& packet) const {
  const Segment &first = segment(packet.front()), &last = segment(packet.back());
  return {peer, first.buffer, first.row, last.row + last.row_count - first.row};
}

ExchangePart StepMessages::part_of_bytes(std::int32_t peer, const Packet& packet,
                                         std::int64_t first_byte) const {
  std::int64_t bytes = 0;
  for (const std::int32_t index : packet) bytes += segment(index).bytes();
  return {peer, kBytes, first_byte, bytes};
}

void StepMessages::pack_alone(const SentSlices& sent, Segment& segment) {
  const SentSlice& slice = sent.slices[static_cast<std::size_t>(segment.slice)];
  const auto number = static_cast<std::size_t>(segment.number);
  const WireBuffer wire = wire_buffers(slice.shape.tensor, rows_.model()).buffers[number];
  segment.buffer =
      rows_.builder().add_buffer(wire.role, wire.type, segment.row_count, segment.heads, wire.width, false);
  std::int64_t row = 0;
  for (std::size_t p = slice.first_piece; p < slice.end_piece; ++p) {
    const SlicePiece& piece = sent.pieces[p];
    pack_.copies.push_back({piece.place.buffers.index[number], segment.buffer, piece.place.row, row,
                            piece.row_count, segment.heads});
    row += piece.row_count;
  }
}

std::int64_t StepMessages::pack(const SentSlices& sent, const Packet& packet, Lane& lane) const {
  lane.packed_bytes = arena_aligned(lane.packed_bytes);
  const std::int64_t begin = lane.packed_bytes;
  const std::size_t first = lane.pack.copies.size();
  for (const std::int32_t index : packet) {
    const Segment& each = segment(index);
    const SentSlice& slice = sent.slices[static_cast<std::size_t>(each.slice)];
    for (std::size_t p = slice.first_piece; p < slice.end_piece; ++p) {
      const SlicePiece& piece = sent.pieces[p];
      const std::int32_t source = piece.place.buffers.index[static_cast<std::size_t>(each.number)];
      append_copy({source, kBytes, piece.place.row, lane.packed_bytes, piece.row_count, each.heads}, 1,
                  each.row_bytes, first, lane.pack.copies);
      lane.packed_bytes += piece.row_count * each.row_bytes;
    }
  }
  return begin;
}

void StepMessages::add(const SentSlices& sent) {
  segments_.clear();
  links_.clear();
  for (std::size_t i = 0; i < sent.slices.size(); ++i) {
    const SentSlice& slice = sent.slices[i];
    const std::size_t first = segments_.size();
    append_segments(slice.shape, static_cast<std::int32_t>(i));
    const bool one_piece = slice.end_piece - slice.first_piece == 1;
    for (std::size_t s = first; s < segments_.size(); ++s) {
      const Slice& place = sent.pieces[slice.first_piece].place;
      const std::int32_t buffer = place.buffers.index[s - first];
      if (one_piece && rows_.buffer(buffer).heads == slice.shape.heads) {
        segments_[s].buffer = buffer;
        segments_[s].row = place.row;
      } else if (travels_alone(segments_[s])) {
        pack_alone(sent, segments_[s]);
      }
      slice.each_target([&](std::int32_t peer) { append_link(slice.shape.lane, peer, s); });
    }
  }
  std::map<Packet, std::int64_t> packed;  // peers that get the same rows share the bytes
  each_message(
      [](Lane& lane, std::int32_t peer, const Segment& each) {
        lane.exchange.sends.push_back({peer, each.buffer, each.row, each.row_count});
      },
      [&](Lane& lane, std::int32_t peer, const Packet& packet) {
        if (is_adjacent(packet)) {
          lane.exchange.sends.push_back(part_in_place(peer, packet));
          return;
        }
        const auto [at, is_new] = packed.try_emplace(packet, 0);
        if (is_new) at->second = pack(sent, packet, lane);
        lane.exchange.sends.push_back(part_of_bytes(peer, packet, at->second));
      });
}

std::int64_t StepMessages::unpack(const Packet& packet, Lane& lane) const {
  lane.unpacked_bytes = arena_aligned(lane.unpacked_bytes);
  const std::int64_t begin = lane.unpacked_bytes;
  const std::size_t first = lane.unpack.copies.size();
  for (const std::int32_t index : packet) {
    const Segment& each = segment(index);
    append_copy({kBytes, each.buffer, lane.unpacked_bytes, each.row, each.row_count, each.heads},
                each.row_bytes, 1, first, lane.unpack.copies);
    lane.unpacked_bytes += each.bytes();
  }
  return begin;
}

void StepMessages::add(const std::vector<ReceivedSlice>& received) {
  segments_.clear();
  links_.clear();
  for (std::size_t i = 0; i < received.size(); ++i) {
    const ReceivedSlice& slice = received[i];
    const std::size_t first = segments_.size();
    append_segments(slice.shape, static_cast<std::int32_t>(i));
    for (std::size_t s = first; s < segments_.size(); ++s) {
      segments_[s].buffer = slice.place.buffers.index[s - first];
      segments_[s].row = slice.place.row;
      append_link(slice.shape.lane, slice.source, s);
    }
  }
  each_message(
      [](Lane& lane, std::int32_t peer, const Segment& each) {
        lane.exchange.receives.push_back({peer, each.buffer, each.row, each.row_count});
      },
      [&](Lane& lane, std::int32_t peer, const Packet& packet) {
        lane.exchange.receives.push_back(is_adjacent(packet)
                                             ? part_in_place(peer, packet)
                                             : part_of_bytes(peer, packet, unpack(packet, lane)));
      });
}

std::int32_t StepMessages::add_bytes(std::int64_t bytes) {
  return rows_.builder().add_buffer(BufferRole::message, ElementType::f32, bytes, {0, 1}, 1, false);
}

void StepMessages::emit(Lane& lane, CollectiveKind collective) {
  const std::int32_t stream = lane_stream(lane.exchange.lane);
  if (collective == CollectiveKind::none) {
    rows_.builder().emit(std::move(lane.exchange), stream);
  } else {
    rows_.builder().emit(Collective{collective, std::move(lane.exchange)}, stream);
  }
  // On the lane: what computes meanwhile need not wait for the exchange.
  if (!lane.unpack.copies.empty()) rows_.builder().emit(std::move(lane.unpack), stream);
}

void StepMessages::emit(CollectiveKind collective) {
  for (Lane& lane : lanes_) {
    const std::int32_t packed = lane.packed_bytes > 0 ? add_bytes(lane.packed_bytes) : kBytes;
    const std::int32_t unpacked = lane.unpacked_bytes > 0 ? add_bytes(lane.unpacked_bytes) : kBytes;
    const auto set = [](std::vector<ExchangePart>& parts, std::int32_t buffer) {
      for (ExchangePart& part : parts) part.buffer = part.buffer == kBytes ? buffer : part.buffer;
    };
    set(lane.exchange.sends, packed);
    set(lane.exchange.receives, unpacked);
    for (RowCopy& copy : lane.pack.copies) copy.target = packed;
    for (RowCopy& copy : lane.unpack.copies) copy.source = unpacked;
    pack_.copies.insert(pack_.copies.end(), lane.pack.copies.begin(), lane.pack.copies.end());
  }
  if (!pack_.copies.empty()) rows_.builder().emit(std::move(pack_), kComputeStream);
  for (Lane& lane : lanes_) {
    if (!lane.exchange.sends.empty() || !lane.exchange.receives.empty()) emit(lane, collective);
  }
}

}  // namespace strata::detail
