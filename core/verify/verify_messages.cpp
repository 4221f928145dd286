// SPDX-License-Identifier: Apache-2.0
#include "core/verify/verify_messages.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "core/program/messages.hpp"

namespace strata {

namespace {

/// A running digest of runs of rows; runs of the same kind become one.
class RunDigest {
 public:
  void add(ElementType type, std::int64_t row_bytes, std::int64_t bytes) {
    if (type != type_ || row_bytes != row_bytes_) {
      end_run();
      type_ = type;
      row_bytes_ = row_bytes;
    }
    bytes_ += bytes;
  }
  std::uint64_t finish() {
    end_run();
    return value_;
  }

 private:
  void mix(std::int64_t number) { value_ = mixed_digest(value_, static_cast<std::uint64_t>(number)); }
  void end_run() {
    if (bytes_ == 0) return;
    mix(static_cast<std::int64_t>(type_));
    mix(row_bytes_);
    mix(std::exchange(bytes_, 0));
  }

  ElementType type_ = ElementType::f32;
  std::int64_t row_bytes_ = 0, bytes_ = 0;
  std::uint64_t value_ = 0;
};

const Buffer& buffer_at(const RankProgram& program, std::int32_t index) {
  return program.buffers[static_cast<std::size_t>(index)];
}

/// What is wrong with a copy that has no message at either end, or "".
std::string unlike(const Buffer& source, const Buffer& target, HeadRange heads) {
  if (source.type != target.type || source.width != target.width) return "buffers of other elements";
  if (!contains(source.heads, heads) || !contains(target.heads, heads)) return "heads that a buffer lacks";
  return "";
}

}  // namespace

bool MessageLayouts::Range::operator<(const Range& other) const {
  return std::tie(buffer, begin, end, instruction) <
         std::tie(other.buffer, other.begin, other.end, other.instruction);
}

MessageLayouts::MessageLayouts(const RankProgram& program, Pass pass) : program_(program) {
  const auto is_message = [](const Buffer& buffer) { return buffer.is_message(); };
  if (std::any_of(program.buffers.begin(), program.buffers.end(), is_message)) {
    uses_.resize(program.buffers.size());
  }
  const auto& instructions = program.instructions(pass);
  for (std::size_t i = 0; i < instructions.size() && !fault_; ++i) {
    if (const Exchange* exchange = exchange_of(instructions[i].op)) read(*exchange, i);
    if (const auto* copy = std::get_if<CopyRows>(&instructions[i].op)) {
      for (const RowCopy& each : copy->copies) read(each, i);
    }
  }
  check_uses();
  check_parts();
}

void MessageLayouts::fail(std::string rule, std::size_t instruction, std::string message) {
  if (!fault_) fault_ = Fault{std::move(rule), instruction, std::move(message)};
}

void MessageLayouts::read(const Exchange& exchange, std::size_t index) {
  if (uses_.empty()) return;
  for (const auto* parts : {&exchange.sends, &exchange.receives}) {
    for (const ExchangePart& part : *parts) {
      if (!buffer_at(program_, part.buffer).is_message()) continue;
      Use& use = uses_[static_cast<std::size_t>(part.buffer)];
      (parts == &exchange.sends ? use.sent : use.received) = true;
      use.instruction = static_cast<std::int32_t>(index);
      parts_.push_back({{part.buffer, part.row, part.row + part.row_count, use.instruction}, 0});
    }
  }
}

void MessageLayouts::read(const RowCopy& copy, std::size_t index) {
  const Buffer& source = buffer_at(program_, copy.source);
  const Buffer& target = buffer_at(program_, copy.target);
  if (!source.is_message() && !target.is_message()) {
    const std::string fault = unlike(source, target, copy.heads);
    if (fault.empty()) return;
    return fail("copy", index, fmt::format("copies b{} to b{}: {}", copy.source, copy.target, fault));
  }
  const std::int32_t message = source.is_message() ? copy.source : copy.target;
  const Buffer& rows = source.is_message() ? target : source;
  if (copy.row_count <= 0 || copy.heads.count() <= 0 || rows.is_message() ||
      !contains(rows.heads, copy.heads)) {
    return fail("copy", index,
                fmt::format("copies b{} to b{}: no rows and a message", copy.source, copy.target));
  }
  Use& use = uses_[static_cast<std::size_t>(message)];
  (source.is_message() ? use.emptied : use.filled) = true;
  use.instruction = static_cast<std::int32_t>(index);
  const std::int64_t begin = source.is_message() ? copy.source_row : copy.target_row;
  rows_.push_back({{message, begin, begin + rows_touched(program_, copy, message), use.instruction},
                   rows.bytes_of_heads(copy.heads),
                   rows.type});
}

void MessageLayouts::check_uses() {
  for (std::size_t b = 0; b < uses_.size(); ++b) {
    const Use& use = uses_[b];
    const bool leaves = use.filled && use.sent && !use.emptied && !use.received;
    const bool comes = use.emptied && use.received && !use.filled && !use.sent;
    const bool unused = !use.filled && !use.sent && !use.emptied && !use.received;
    if (leaves || comes || unused) continue;
    fail("message", static_cast<std::size_t>(use.instruction),
         fmt::format("message {} is neither filled and sent nor received and emptied", b));
  }
}

void MessageLayouts::check_parts() {
  if (!std::is_sorted(rows_.begin(), rows_.end())) std::sort(rows_.begin(), rows_.end());
  std::sort(parts_.begin(), parts_.end());
  // The same bytes may go to several peers: the first exchange that sends them stays.
  parts_.erase(std::unique(parts_.begin(), parts_.end()), parts_.end());
  auto rows = rows_.begin();
  for (Part& part : parts_) {
    const bool leaves = uses_[static_cast<std::size_t>(part.buffer)].filled;
    RunDigest digest;
    std::int64_t covered = part.begin;
    for (; rows != rows_.end() && rows->buffer == part.buffer && rows->begin == covered &&
           rows->end <= part.end && covered < part.end;
         ++rows) {
      digest.add(rows->type, rows->row_bytes, rows->end - rows->begin);
      covered = rows->end;
      // The order of issue is enough: conflicting uses of a buffer are proved to be ordered like it.
      const bool in_time =
          leaves ? rows->instruction < part.instruction : rows->instruction > part.instruction;
      if (in_time) continue;
      fail("message", static_cast<std::size_t>(part.instruction),
           fmt::format("bytes {}..{} of message {} are {}", rows->begin, rows->end, part.buffer,
                       leaves ? "sent before they are copied" : "copied before they are received"));
    }
    part.digest = digest.finish();
    if (covered == part.end) continue;
    fail("message", static_cast<std::size_t>(part.instruction),
         fmt::format("bytes {}..{} of message {} are not copied", covered, part.end, part.buffer));
  }
  if (rows == rows_.end()) return;
  fail("message", static_cast<std::size_t>(rows->instruction),
       fmt::format("bytes {}..{} of message {} are not exchanged", rows->begin, rows->end, rows->buffer));
}

std::uint64_t MessageLayouts::digest(const ExchangePart& part) const {
  const Buffer& buffer = buffer_at(program_, part.buffer);
  if (buffer.is_message()) {
    const Part wanted{{part.buffer, part.row, part.row + part.row_count, 0}, 0};
    return std::lower_bound(parts_.begin(), parts_.end(), wanted)->digest;
  }
  RunDigest digest;
  digest.add(buffer.type, buffer.row_bytes(), part.row_count * buffer.row_bytes());
  return digest.finish();
}

}  // namespace strata
