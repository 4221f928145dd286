// SPDX-License-Identifier: Apache-2.0
#include "tests/core/lowering/all_pairs_arena.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace strata::test {

namespace {

using detail::LastUse;
using detail::Lifetime;

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

bool share_bytes(const Lifetime& a, const Lifetime& b) {
  return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

/// [stream] -> last instruction
using Users = std::map<std::int32_t, std::int32_t>;
void add_latest(Users& users, std::int32_t stream, std::int32_t instruction) {
  const auto [at, added] = users.try_emplace(stream, instruction);
  if (!added) at->second = std::max(at->second, instruction);
}

struct Use {
  std::int32_t first = -1;
  Users reads, writes;
};

/// Sets the waits that the operations themselves need; returns the uses of every buffer.
std::vector<Use> wait_for_operations(const RankProgram& program, std::vector<Instruction>& instructions) {
  std::vector<Use> uses(program.buffers.size());
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    Instruction& instruction = instructions[i];
    const auto index = static_cast<std::int32_t>(i);
    std::vector<Access> accesses;
    append_accesses(program, instruction.op, accesses);
    Users waits;
    for (const Access& access : accesses) {
      Use& use = uses[static_cast<std::size_t>(access.buffer)];
      if (use.first < 0) use.first = index;
      for (const auto& [stream, user] : use.writes) add_latest(waits, stream, user);
      if (!access.write) continue;
      for (const auto& [stream, user] : use.reads) add_latest(waits, stream, user);
    }
    for (const Access& access : accesses) {
      Use& use = uses[static_cast<std::size_t>(access.buffer)];
      (access.write ? use.writes : use.reads)[instruction.stream] = index;
    }
    std::set<std::int32_t> wait_for;
    for (const auto& [stream, user] : waits) {
      if (stream != instruction.stream) wait_for.insert(user);
    }
    instruction.wait_for.assign(wait_for.begin(), wait_for.end());
  }
  return uses;
}

std::int64_t place_pass(RankProgram& program, std::vector<Instruction>& instructions, std::int64_t base) {
  const std::vector<Use> uses = wait_for_operations(program, instructions);
  std::vector<std::vector<LastUse>> users(uses.size());
  std::vector<Lifetime> lives;
  for (std::size_t b = 0; b < uses.size(); ++b) {
    if (program.buffers[b].persistent || uses[b].first < 0) continue;
    Users last = uses[b].reads;
    for (const auto& [stream, user] : uses[b].writes) add_latest(last, stream, user);
    Lifetime life{static_cast<std::int32_t>(b), uses[b].first, 0, 0, 0, {}};
    life.bytes = aligned(program.buffers[b].bytes().count);
    for (const auto& [stream, user] : last) {
      users[b].push_back({stream, user});
      life.last = std::max(life.last, user);
    }
    life.users = users[b];
    lives.push_back(life);
  }
  std::stable_sort(lives.begin(), lives.end(),
                   [](const Lifetime& a, const Lifetime& b) { return a.first < b.first; });
  const std::int64_t end = place_all_pairs(lives);
  for (const Lifetime& life : lives) {
    program.buffers[static_cast<std::size_t>(life.buffer)].arena_offset = base + life.offset;
  }
  for (const Handover& handover : hand_over_all_pairs(lives)) {
    Instruction& heir = instructions[static_cast<std::size_t>(handover.first)];
    Users waits;
    for (const std::int32_t earlier : heir.wait_for) {
      add_latest(waits, instructions[static_cast<std::size_t>(earlier)].stream, earlier);
    }
    for (const LastUse& former : handover.former) add_latest(waits, former.stream, former.instruction);
    heir.wait_for.clear();
    for (const auto& [stream, user] : waits) {
      if (stream != heir.stream) heir.wait_for.push_back(user);
    }
    std::sort(heir.wait_for.begin(), heir.wait_for.end());
  }
  return base + end;
}

}  // namespace

std::int64_t place_all_pairs(std::vector<Lifetime>& lives) {
  std::int64_t end = 0;
  std::vector<std::size_t> by_offset;
  for (std::size_t i = 0; i < lives.size(); ++i) {
    Lifetime& life = lives[i];
    life.offset = 0;
    for (const std::size_t other : by_offset) {
      const Lifetime& placed = lives[other];
      if (placed.last < life.first) continue;
      if (life.offset + life.bytes <= placed.offset) break;
      life.offset = std::max(life.offset, placed.offset + placed.bytes);
    }
    const auto lies_before = [&](std::int64_t offset, std::size_t placed) {
      return offset < lives[placed].offset;
    };
    by_offset.insert(std::upper_bound(by_offset.begin(), by_offset.end(), life.offset, lies_before), i);
    end = std::max(end, life.offset + life.bytes);
  }
  return end;
}

std::vector<Handover> hand_over_all_pairs(const std::vector<Lifetime>& lives) {
  std::map<std::int32_t, Users> former;
  for (std::size_t i = 0; i < lives.size(); ++i) {
    for (std::size_t other = 0; other < i; ++other) {
      if (lives[other].last >= lives[i].first || !share_bytes(lives[other], lives[i])) continue;
      for (const LastUse& user : lives[other].users) {
        add_latest(former[lives[i].first], user.stream, user.instruction);
      }
    }
  }
  std::vector<Handover> handovers;
  for (const auto& [first, users] : former) {
    Handover& handover = handovers.emplace_back();
    handover.first = first;
    for (const auto& [stream, user] : users) handover.former.push_back({stream, user});
  }
  return handovers;
}

RankProgram placed_all_pairs(RankProgram program) {
  std::int64_t base = 0;
  for (Buffer& buffer : program.buffers) {
    buffer.arena_offset = 0;
    if (!buffer.persistent) continue;
    buffer.arena_offset = base;
    base += aligned(buffer.bytes().count);
  }
  const std::int64_t forward_end = place_pass(program, program.forward, base);
  const std::int64_t backward_end = place_pass(program, program.backward, base);
  program.arena = {std::max(forward_end, backward_end)};
  return program;
}

}  // namespace strata::test
