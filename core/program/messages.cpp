// SPDX-License-Identifier: Apache-2.0
#include "core/program/messages.hpp"

#include <algorithm>
#include <vector>

namespace strata {

namespace {

const Buffer& buffer_at(const RankProgram& program, std::int32_t index) {
  return program.buffers[static_cast<std::size_t>(index)];
}

bool is_message(const RankProgram& program, std::int32_t index) {
  return index >= 0 && static_cast<std::size_t>(index) < program.buffers.size() &&
         buffer_at(program, index).is_message();
}

/// Bytes of messages that forward fills with rows of kv.
class PackedKeys {
 public:
  explicit PackedKeys(const RankProgram& program) {
    for (const Instruction& instruction : program.forward) {
      const auto* copy = std::get_if<CopyRows>(&instruction.op);
      if (copy == nullptr) continue;
      for (const RowCopy& each : copy->copies) {
        if (buffer_at(program, each.source).role != BufferRole::kv || !is_message(program, each.target))
          continue;
        ranges_.push_back({each.target, each.target_row, rows_touched(program, each, each.target)});
      }
    }
    std::sort(ranges_.begin(), ranges_.end());
    for (const Range& range : ranges_) before_.push_back(before_.back() + range.bytes);
  }
  /// Of bytes [begin, end) of a message; no range crosses their borders.
  std::int64_t bytes_in(std::int32_t message, std::int64_t begin, std::int64_t end) const {
    return up_to(message, end) - up_to(message, begin);
  }

 private:
  struct Range {
    std::int32_t message = 0;
    std::int64_t begin = 0, bytes = 0;
    auto operator<=>(const Range&) const = default;
  };

  std::int64_t up_to(std::int32_t message, std::int64_t byte) const {
    const auto at = std::lower_bound(ranges_.begin(), ranges_.end(), Range{message, byte, 0});
    return before_[static_cast<std::size_t>(at - ranges_.begin())];
  }

  std::vector<Range> ranges_;
  std::vector<std::int64_t> before_{0};  ///< bytes of the ranges before
};

}  // namespace

CopyBytes copy_bytes(const RankProgram& program, const RowCopy& copy) {
  const Buffer& source = buffer_at(program, copy.source);
  const Buffer& target = buffer_at(program, copy.target);
  CopyBytes bytes;
  bytes.row_bytes = (source.is_message() ? target : source).bytes_of_heads(copy.heads);
  bytes.source_stride = source.is_message() ? bytes.row_bytes : source.row_bytes();
  bytes.target_stride = target.is_message() ? bytes.row_bytes : target.row_bytes();
  return bytes;
}

std::int64_t rows_touched(const RankProgram& program, const RowCopy& copy, std::int32_t buffer) {
  if (!is_message(program, buffer)) return copy.row_count;
  const std::int32_t other = buffer == copy.source ? copy.target : copy.source;
  if (other < 0 || static_cast<std::size_t>(other) >= program.buffers.size()) return copy.row_count;
  return checked_product(copy.row_count, buffer_at(program, other).bytes_of_heads(copy.heads));
}

Bytes sent_kv_bytes(const RankProgram& program) {
  const PackedKeys packed(program);
  Bytes total;
  for (const Instruction& instruction : program.forward) {
    const Exchange* exchange = exchange_of(instruction.op);
    if (exchange == nullptr) continue;
    for (const ExchangePart& part : exchange->sends) {
      const Buffer& buffer = buffer_at(program, part.buffer);
      if (buffer.is_message()) {
        total += {packed.bytes_in(part.buffer, part.row, part.row + part.row_count)};
      } else if (buffer.role == BufferRole::kv) {
        total += {part.row_count * buffer.row_bytes()};
      }
    }
  }
  return total;
}

}  // namespace strata
