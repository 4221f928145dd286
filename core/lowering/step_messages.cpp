// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/step_messages.hpp"

#include <algorithm>
#include <span>
#include <tuple>
#include <utility>

namespace strata::detail {

namespace {

/// The buffer of a part or copy until the lane's buffer of bytes is there.
constexpr std::int32_t kBytes = -1;

constexpr std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

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

StepMessages::StepMessages(RankRows& rows, std::int32_t step, std::int64_t own_message_bytes)
    : rows_(rows),
      own_message_bytes_(own_message_bytes),
      lanes_(static_cast<std::size_t>(rows.lane_count())) {
  for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
    lanes_[lane].exchange.step = step;
    lanes_[lane].exchange.lane = static_cast<std::int32_t>(lane);
  }
}

/// Elements of one size follow each other, so that f32 after 16-bit rows is the only change of alignment;
/// slices of one tensor and heads do, so that they can lie in one buffer; and these in canonical order.
bool StepMessages::comes_before(const Segment& a, const Segment& b) {
  const auto key = [](const Segment& segment) {
    return std::tuple(segment.type == ElementType::f32, segment.shape->tensor, segment.number,
                      segment.shape->heads, segment.shape->position);
  };
  return key(a) < key(b);
}

void StepMessages::append_segments(const SliceShape& shape, std::int32_t index,
                                   std::vector<Segment>& segments) const {
  std::size_t number = 0;
  for (const WireBuffer& wire : wire_form(shape.tensor, rows_.model())) {
    segments.push_back({&shape, number++, wire.type,
                        checked_product(shape.row_count, wire.row_bytes(shape.heads)), -1, 0, index});
  }
}

template <typename Visit>
void StepMessages::each_peer(std::vector<Link>& links, Visit visit) {
  const auto before = [](const Link& a, const Link& b) {
    return std::tie(a.lane, a.peer) < std::tie(b.lane, b.peer);
  };
  std::stable_sort(links.begin(), links.end(), before);
  for (std::size_t first = 0, end = 0; first < links.size(); first = end) {
    while (end < links.size() && !before(links[first], links[end])) ++end;
    visit(links[first].lane, links[first].peer, std::span(links).subspan(first, end - first));
  }
}

bool StepMessages::is_adjacent(const Packet& packet, const std::vector<Segment>& segments) {
  const Segment& first = segments[packet.front()];
  std::int64_t row = first.row;
  return first.buffer >= 0 && std::all_of(packet.begin(), packet.end(), [&](std::size_t index) {
           const Segment& segment = segments[index];
           const bool follows = segment.buffer == first.buffer && segment.row == row;
           row += segment.shape->row_count;
           return follows;
         });
}

void StepMessages::pack_alone(const SentSlices& sent, Segment& segment) {
  const SentSlice& slice = sent.slices[static_cast<std::size_t>(segment.index)];
  const WireBuffer wire = wire_form(segment.shape->tensor, rows_.model()).buffers[segment.number];
  segment.buffer = rows_.builder().add_buffer(wire.role, wire.type, segment.shape->row_count,
                                              segment.shape->heads, wire.width, false);
  segment.row = 0;
  std::int64_t row = 0;
  for (std::size_t p = slice.first_piece; p < slice.end_piece; ++p) {
    const SlicePiece& piece = sent.pieces[p];
    append_copy({piece.place.buffers.index[segment.number], segment.buffer, piece.place.row, row,
                 piece.row_count, segment.shape->heads},
                1, 1, 0, pack_.copies);
    row += piece.row_count;
  }
}

std::int64_t StepMessages::pack(const SentSlices& sent, const std::vector<Segment>& segments,
                                const Packet& packet, Lane& lane) {
  const std::int64_t begin = lane.packed_bytes;
  const std::size_t first = lane.pack.copies.size();
  for (const std::size_t index : packet) {
    const Segment& segment = segments[index];
    const SentSlice& slice = sent.slices[static_cast<std::size_t>(segment.index)];
    for (std::size_t p = slice.first_piece; p < slice.end_piece; ++p) {
      const SlicePiece& piece = sent.pieces[p];
      append_copy({piece.place.buffers.index[segment.number], kBytes, piece.place.row, lane.packed_bytes,
                   piece.row_count, segment.shape->heads},
                  1, segment.row_bytes(), first, lane.pack.copies);
      lane.packed_bytes += piece.row_count * segment.row_bytes();
    }
  }
  return begin;
}

void StepMessages::add(const SentSlices& sent) {
  std::vector<Segment> segments;
  for (std::size_t i = 0; i < sent.slices.size(); ++i) {
    const SentSlice& slice = sent.slices[i];
    const std::size_t first = segments.size();
    append_segments(slice.shape, static_cast<std::int32_t>(i), segments);
    if (slice.end_piece - slice.first_piece != 1) continue;
    const Slice& place = sent.pieces[slice.first_piece].place;
    for (std::size_t s = first; s < segments.size(); ++s) {
      const std::int32_t buffer = place.buffers.index[segments[s].number];
      if (rows_.buffer(buffer).heads != slice.shape.heads) continue;
      segments[s].buffer = buffer;
      segments[s].row = place.row;
    }
  }
  std::sort(segments.begin(), segments.end(), comes_before);
  std::vector<Link> links;
  for (std::size_t s = 0; s < segments.size(); ++s) {
    Segment& segment = segments[s];
    if (travels_alone(segment) && segment.buffer < 0) pack_alone(sent, segment);
    sent.slices[static_cast<std::size_t>(segment.index)].each_target([&](std::int32_t peer) {
      links.push_back({segment.shape->lane, peer, s});
    });
  }
  std::map<Packet, std::int64_t> packed;  // peers that get the same rows share the bytes
  each_peer(links, [&](std::int32_t number, std::int32_t peer, std::span<const Link> of_peer) {
    Lane& lane = lanes_[static_cast<std::size_t>(number)];
    std::vector<ExchangePart>& sends = lane.exchange.sends;
    Packet packet;
    std::int64_t rows = 0, bytes = 0;
    for (const Link& link : of_peer) {
      const Segment& segment = segments[link.segment];
      if (travels_alone(segment)) {
        sends.push_back({peer, segment.buffer, segment.row, segment.shape->row_count});
        continue;
      }
      packet.push_back(link.segment);
      rows += segment.shape->row_count;
      bytes += segment.bytes;
    }
    if (packet.empty()) return;
    if (is_adjacent(packet, segments)) {
      sends.push_back({peer, segments[packet.front()].buffer, segments[packet.front()].row, rows});
      return;
    }
    const auto [at, is_new] = packed.try_emplace(packet, 0);
    if (is_new) {
      lane.packed_bytes = aligned(lane.packed_bytes);
      at->second = pack(sent, segments, packet, lane);
    }
    sends.push_back({peer, kBytes, at->second, bytes});
  });
}

std::int64_t StepMessages::unpack(const std::vector<Segment>& segments, const Packet& packet, Lane& lane) {
  lane.unpacked_bytes = aligned(lane.unpacked_bytes);
  const std::int64_t begin = lane.unpacked_bytes;
  const std::size_t first = lane.unpack.copies.size();
  for (const std::size_t index : packet) {
    const Segment& segment = segments[index];
    append_copy({kBytes, segment.buffer, lane.unpacked_bytes, segment.row, segment.shape->row_count,
                 segment.shape->heads},
                segment.row_bytes(), 1, first, lane.unpack.copies);
    lane.unpacked_bytes += segment.bytes;
  }
  return begin;
}

void StepMessages::add(const std::vector<ReceivedSlice>& received) {
  std::vector<Segment> segments;
  for (std::size_t i = 0; i < received.size(); ++i) {
    const std::size_t first = segments.size();
    append_segments(received[i].shape, static_cast<std::int32_t>(i), segments);
    for (std::size_t s = first; s < segments.size(); ++s) {
      segments[s].buffer = received[i].place.buffers.index[segments[s].number];
      segments[s].row = received[i].place.row;
    }
  }
  std::sort(segments.begin(), segments.end(), [](const Segment& a, const Segment& b) {
    if (comes_before(a, b) || comes_before(b, a)) return comes_before(a, b);
    return a.index < b.index;  // several sources of one reduction
  });
  std::vector<Link> links;
  for (std::size_t s = 0; s < segments.size(); ++s) {
    const ReceivedSlice& slice = received[static_cast<std::size_t>(segments[s].index)];
    links.push_back({slice.shape.lane, slice.source, s});
  }
  each_peer(links, [&](std::int32_t number, std::int32_t peer, std::span<const Link> of_peer) {
    Lane& lane = lanes_[static_cast<std::size_t>(number)];
    std::vector<ExchangePart>& receives = lane.exchange.receives;
    Packet packet;
    std::int64_t rows = 0, bytes = 0;
    for (const Link& link : of_peer) {
      const Segment& segment = segments[link.segment];
      if (travels_alone(segment)) {
        receives.push_back({peer, segment.buffer, segment.row, segment.shape->row_count});
        continue;
      }
      packet.push_back(link.segment);
      rows += segment.shape->row_count;
      bytes += segment.bytes;
    }
    if (packet.empty()) return;
    if (is_adjacent(packet, segments)) {
      receives.push_back({peer, segments[packet.front()].buffer, segments[packet.front()].row, rows});
    } else {
      receives.push_back({peer, kBytes, unpack(segments, packet, lane), bytes});
    }
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
