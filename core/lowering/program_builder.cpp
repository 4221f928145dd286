// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/program_builder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/base/check.hpp"
#include "core/base/checked.hpp"

namespace strata::detail {

namespace {

constexpr std::int64_t kMostArenaBytes = std::int64_t{1} << 61;

}  // namespace

std::int32_t ProgramBuilder::add_buffer(BufferRole role, ElementType type, std::int64_t rows, HeadRange heads,
                                        std::int32_t width, bool persistent) {
  program_.buffers.push_back({role, type, rows, heads, width, persistent, 0});
  return static_cast<std::int32_t>(program_.buffers.size()) - 1;
}

void ProgramBuilder::begin_pass(Pass pass) { pass_ = pass; }

void ProgramBuilder::wait_for_users(const PassUses& uses, const Access& access) {
  std::int32_t at = uses.buffers[static_cast<std::size_t>(access.buffer)].list;
  while (at != kNone) {
    const StreamUse& use = uses.stream_uses[static_cast<std::size_t>(at)];
    const std::int32_t user = access.write ? std::max(use.read, use.write) : use.write;
    if (user != kNone) waits_.add(use.stream, user);
    at = use.next;
  }
}

void ProgramBuilder::add_use(PassUses& uses, const Access& access, std::int32_t stream,
                             std::int32_t instruction) {
  BufferUse& buffer = uses.buffers[static_cast<std::size_t>(access.buffer)];
  if (buffer.first == kNone) buffer.first = instruction;
  std::int32_t at = buffer.list;
  while (at != kNone && uses.stream_uses[static_cast<std::size_t>(at)].stream != stream) {
    at = uses.stream_uses[static_cast<std::size_t>(at)].next;
  }
  if (at == kNone) {
    at = static_cast<std::int32_t>(uses.stream_uses.size());
    uses.stream_uses.push_back({stream, kNone, kNone, std::exchange(buffer.list, at)});
  }
  StreamUse& use = uses.stream_uses[static_cast<std::size_t>(at)];
  (access.write ? use.write : use.read) = instruction;
}

void ProgramBuilder::emit(Operation op, std::int32_t stream) {
  auto& instructions = pass_ == Pass::forward ? program_.forward : program_.backward;
  PassUses& uses = uses_[static_cast<std::size_t>(pass_)];
  uses.buffers.resize(program_.buffers.size());
  accesses_.clear();
  append_accesses(program_, op, accesses_);
  const auto index = static_cast<std::int32_t>(instructions.size());
  for (const Access& access : accesses_) wait_for_users(uses, access);
  for (const Access& access : accesses_) add_use(uses, access, stream, index);
  instructions.push_back({std::move(op), stream, waits_.take(stream)});
}

std::vector<Lifetime> ProgramBuilder::lifetimes(const PassUses& uses, std::vector<LastUse>& last_uses) const {
  std::vector<Lifetime> lives;
  last_uses.reserve(uses.stream_uses.size());  // the lives refer to its places
  for (std::size_t b = 0; b < uses.buffers.size(); ++b) {
    if (program_.buffers[b].persistent || uses.buffers[b].first == kNone) continue;
    const std::size_t begin = last_uses.size();
    Lifetime life{static_cast<std::int32_t>(b), uses.buffers[b].first, 0, 0, 0, {}};
    life.bytes = arena_aligned(program_.buffers[b].bytes().count);
    for (std::int32_t at = uses.buffers[b].list; at != kNone;) {
      const StreamUse& use = uses.stream_uses[static_cast<std::size_t>(at)];
      last_uses.push_back({use.stream, std::max(use.read, use.write)});
      life.last = std::max(life.last, last_uses.back().instruction);
      at = use.next;
    }
    life.users = {last_uses.data() + begin, last_uses.size() - begin};
    lives.push_back(life);
  }
  std::stable_sort(lives.begin(), lives.end(),
                   [](const Lifetime& a, const Lifetime& b) { return a.first < b.first; });
  return lives;
}

/// Places one pass's scratch buffers from `base`; returns the end of the space they take.
std::int64_t ProgramBuilder::place_pass(Pass pass, std::int64_t base) {
  auto& instructions = pass == Pass::forward ? program_.forward : program_.backward;
  std::vector<LastUse> last_uses;
  std::vector<Lifetime> lives = lifetimes(uses_[static_cast<std::size_t>(pass)], last_uses);
  const std::int64_t end = place_by_first_fit(lives);
  for (const Lifetime& life : lives) {
    program_.buffers[static_cast<std::size_t>(life.buffer)].arena_offset = base + life.offset;
  }
  hand_over_bytes(lives, program_.lane_count + 1, [&](std::int32_t first, Waits& waits) {
    Instruction& heir = instructions[static_cast<std::size_t>(first)];
    for (const std::int32_t earlier : heir.wait_for) {
      waits.add(instructions[static_cast<std::size_t>(earlier)].stream, earlier);
    }
    heir.wait_for = waits.take(heir.stream);
  });
  return base + end;
}

/// No offset or end in the arena exceeds what all buffers take together, which is a quarter of what 64 bits
/// count.
void ProgramBuilder::check_countable() const {
  std::int64_t total = 0;
  for (const Buffer& buffer : program_.buffers) {
    const std::int64_t bytes = buffer.bytes().count;
    total = checked_sum(total, bytes == kUncountable ? bytes : checked_sum(bytes, kArenaAlignment));
  }
  if (total <= kMostArenaBytes) return;
  throw UncountableError(fmt::format("rank {}", program_.rank), "buffers of more than 2 EiB for one layer",
                         "fewer tokens or heads, or smaller dimensions of a head");
}

void ProgramBuilder::assign_arena() {
  check_countable();
  std::int64_t base = 0;
  for (Buffer& buffer : program_.buffers) {
    if (!buffer.persistent) continue;
    buffer.arena_offset = base;
    base += arena_aligned(buffer.bytes().count);
  }
  const std::int64_t forward_end = place_pass(Pass::forward, base);
  const std::int64_t backward_end = place_pass(Pass::backward, base);
  program_.arena = {std::max(forward_end, backward_end)};
}

}  // namespace strata::detail
