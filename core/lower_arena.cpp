// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/check.hpp"
#include "core/lower_detail.hpp"

namespace strata::detail {

namespace {

constexpr std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

/// When a scratch buffer is used within a pass, in issue order.
struct Lifetime {
  std::int32_t buffer = 0;
  std::int32_t first = -1;
  std::int32_t last = -1;
  std::int64_t offset = 0;
  std::int64_t size = 0;
  std::vector<std::int32_t> last_by_stream;
};

std::vector<Lifetime> lifetimes(const RankProgram& program, const std::vector<Instruction>& instructions) {
  std::vector<Lifetime> by_buffer(program.buffers.size());
  const std::size_t streams = static_cast<std::size_t>(program.lane_count) + 1;
  std::vector<Access> accesses;
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    accesses.clear();
    append_accesses(program, instructions[i].op, accesses);
    for (const Access& access : accesses) {
      Lifetime& life = by_buffer[static_cast<std::size_t>(access.buffer)];
      if (life.first < 0) {
        life.first = static_cast<std::int32_t>(i);
        life.last_by_stream.assign(streams, -1);
      }
      life.last = static_cast<std::int32_t>(i);
      life.last_by_stream[static_cast<std::size_t>(instructions[i].stream)] = static_cast<std::int32_t>(i);
    }
  }
  std::vector<Lifetime> used;
  for (std::size_t b = 0; b < by_buffer.size(); ++b) {
    if (program.buffers[b].persistent || by_buffer[b].first < 0) continue;
    by_buffer[b].buffer = static_cast<std::int32_t>(b);
    by_buffer[b].size = aligned(program.buffers[b].bytes().count);
    used.push_back(std::move(by_buffer[b]));
  }
  std::stable_sort(used.begin(), used.end(),
                   [](const Lifetime& a, const Lifetime& b) { return a.first < b.first; });
  return used;
}

bool share_bytes(const Lifetime& a, const Lifetime& b) {
  return a.offset < b.offset + b.size && b.offset < a.offset + a.size;
}

/// The lowest offset at which `life` fits between the buffers that are alive with it.
std::int64_t first_fit(const std::vector<Lifetime>& placed, std::size_t count, const Lifetime& life) {
  std::vector<std::pair<std::int64_t, std::int64_t>> taken;
  for (std::size_t i = 0; i < count; ++i) {
    if (placed[i].last >= life.first) taken.emplace_back(placed[i].offset, placed[i].offset + placed[i].size);
  }
  std::sort(taken.begin(), taken.end());
  std::int64_t offset = 0;
  for (const auto& [begin, end] : taken) {
    if (offset + life.size <= begin) break;
    offset = std::max(offset, end);
  }
  return offset;
}

void add_wait(Instruction& instruction, std::int32_t earlier) {
  auto& waits = instruction.wait_for;
  const auto at = std::lower_bound(waits.begin(), waits.end(), earlier);
  if (at == waits.end() || *at != earlier) waits.insert(at, earlier);
}

bool starts_before(const HeldRun& a, const HeldRun& b) { return a.span < b.span; }

/// Places one pass's scratch buffers from `base`; returns the end of the space they take.
std::int64_t place_pass(RankProgram& program, std::vector<Instruction>& instructions, std::int64_t base) {
  std::vector<Lifetime> lives = lifetimes(program, instructions);
  std::int64_t end = 0;
  for (std::size_t i = 0; i < lives.size(); ++i) {
    Lifetime& life = lives[i];
    life.offset = first_fit(lives, i, life);
    end = std::max(end, life.offset + life.size);
    program.buffers[static_cast<std::size_t>(life.buffer)].arena_offset = base + life.offset;
    Instruction& writer = instructions[static_cast<std::size_t>(life.first)];
    for (std::size_t other = 0; other < i; ++other) {
      if (lives[other].last >= life.first || !share_bytes(lives[other], life)) continue;
      for (std::size_t stream = 0; stream < lives[other].last_by_stream.size(); ++stream) {
        const std::int32_t user = lives[other].last_by_stream[stream];
        if (user >= 0 && static_cast<std::int32_t>(stream) != writer.stream) add_wait(writer, user);
      }
    }
  }
  return base + end;
}

/// Of several waits on one stream only the latest says anything.
void drop_implied_waits(std::vector<Instruction>& instructions) {
  std::vector<std::int32_t> kept;
  for (Instruction& instruction : instructions) {
    kept.clear();
    for (auto wait = instruction.wait_for.rbegin(); wait != instruction.wait_for.rend(); ++wait) {
      const std::int32_t stream = instructions[static_cast<std::size_t>(*wait)].stream;
      const auto same_stream = [&](std::int32_t other) {
        return instructions[static_cast<std::size_t>(other)].stream == stream;
      };
      if (std::none_of(kept.begin(), kept.end(), same_stream)) kept.push_back(*wait);
    }
    std::sort(kept.begin(), kept.end());
    instruction.wait_for = kept;
  }
}

}  // namespace

void assign_arena(RankProgram& program) {
  std::int64_t base = 0;
  for (Buffer& buffer : program.buffers) {
    if (!buffer.persistent) continue;
    buffer.arena_offset = base;
    base += aligned(buffer.bytes().count);
  }
  const std::int64_t forward_end = place_pass(program, program.forward, base);
  const std::int64_t backward_end = place_pass(program, program.backward, base);
  drop_implied_waits(program.forward);
  drop_implied_waits(program.backward);
  program.arena = {std::max(forward_end, backward_end)};
}

std::int32_t ProgramBuilder::add_buffer(BufferRole role, ElementType type, std::int64_t rows, HeadRange heads,
                                        std::int32_t width, bool persistent) {
  program_.buffers.push_back({role, type, rows, heads, width, persistent, 0});
  return static_cast<std::int32_t>(program_.buffers.size()) - 1;
}

void ProgramBuilder::begin_pass(Pass pass) {
  instructions_ = pass == Pass::forward ? &program_.forward : &program_.backward;
  uses_.clear();
}

void ProgramBuilder::emit(Operation op, std::int32_t stream) {
  const std::size_t streams = static_cast<std::size_t>(program_.lane_count) + 1;
  uses_.resize(program_.buffers.size());
  accesses_.clear();
  append_accesses(program_, op, accesses_);
  const auto index = static_cast<std::int32_t>(instructions_->size());
  Instruction instruction{std::move(op), stream, {}};
  std::vector<std::int32_t> latest(streams, -1);
  const auto wait_all = [&](const std::vector<std::int32_t>& by_stream) {
    for (std::size_t s = 0; s < by_stream.size(); ++s) latest[s] = std::max(latest[s], by_stream[s]);
  };
  for (const Access& access : accesses_) {
    LastUse& use = uses_[static_cast<std::size_t>(access.buffer)];
    if (use.writes.empty()) {
      use.reads.assign(streams, -1);
      use.writes.assign(streams, -1);
    }
    wait_all(use.writes);
    if (access.write) wait_all(use.reads);
  }
  for (const Access& access : accesses_) {
    LastUse& use = uses_[static_cast<std::size_t>(access.buffer)];
    (access.write ? use.writes : use.reads)[static_cast<std::size_t>(stream)] = index;
  }
  for (std::size_t s = 0; s < streams; ++s) {
    if (latest[s] >= 0 && static_cast<std::int32_t>(s) != stream) instruction.wait_for.push_back(latest[s]);
  }
  std::sort(instruction.wait_for.begin(), instruction.wait_for.end());
  instructions_->push_back(std::move(instruction));
}

void HeldRows::add(HeadRange heads, const TokenSpan& span, std::int32_t group, std::int64_t row) {
  auto variant = std::find_if(variants_.begin(), variants_.end(),
                              [&](const Variant& candidate) { return candidate.heads == heads; });
  if (variant == variants_.end()) {
    variants_.push_back({heads, {}, 0});
    variant = std::prev(variants_.end());
  }
  variant->pieces.push_back({group, row, span});
}

void HeldRows::seal() {
  for (Variant& variant : variants_) {
    auto& pieces = variant.pieces;
    if (variant.sealed == pieces.size()) continue;
    const auto fresh = pieces.begin() + static_cast<std::ptrdiff_t>(variant.sealed);
    if (!std::is_sorted(fresh, pieces.end(), starts_before)) std::sort(fresh, pieces.end(), starts_before);
    std::inplace_merge(pieces.begin(), fresh, pieces.end(), starts_before);
    std::size_t kept = 0;
    for (std::size_t i = 1; i < pieces.size(); ++i) {
      HeldRun& last = pieces[kept];
      const HeldRun& next = pieces[i];
      const bool joins = next.span.document == last.span.document && next.span.begin == last.span.end &&
                         next.group == last.group && next.row == last.row + last.span.length();
      if (joins) {
        last.span.end = next.span.end;
      } else {
        pieces[++kept] = next;
      }
    }
    if (!pieces.empty()) pieces.resize(kept + 1);
    variant.sealed = pieces.size();
  }
}

bool HeldRows::touches(const TokenSpan& span) const {
  for (const Variant& variant : variants_) {
    const auto piece = std::upper_bound(
        variant.pieces.begin(), variant.pieces.end(), span, [](const TokenSpan& value, const HeldRun& held) {
          return std::pair(value.document, value.begin) < std::pair(held.span.document, held.span.end);
        });
    if (piece != variant.pieces.end() && piece->span.document == span.document &&
        piece->span.begin <= span.begin) {
      return true;
    }
  }
  return false;
}

std::vector<HeadRange> HeldRows::head_parts(HeadRange heads) const {
  std::vector<HeadRange> parts;
  head_parts(heads, parts);
  return parts;
}

void HeldRows::head_parts(HeadRange heads, std::vector<HeadRange>& parts) const {
  parts.assign(1, heads);
  for (const Variant& variant : variants_) {
    for (const std::int32_t border : {variant.heads.begin, variant.heads.end}) {
      for (std::size_t i = 0; i < parts.size(); ++i) {
        if (parts[i].begin >= border || border >= parts[i].end) continue;
        const HeadRange upper{border, parts[i].end};
        parts[i].end = border;
        parts.insert(parts.begin() + static_cast<std::ptrdiff_t>(i) + 1, upper);
        break;
      }
    }
  }
}

void HeldRows::resolve(const TokenSpan& span, HeadRange heads, std::vector<HeldRun>& runs) const {
  const std::size_t first_run = runs.size();
  for (const Variant& variant : variants_) {
    if (!contains(variant.heads, heads)) continue;
    auto piece = std::upper_bound(
        variant.pieces.begin(), variant.pieces.end(), span, [](const TokenSpan& value, const HeldRun& held) {
          return std::pair(value.document, value.begin) < std::pair(held.span.document, held.span.end);
        });
    for (; piece != variant.pieces.end(); ++piece) {
      const TokenSpan shared = intersect(piece->span, span);
      if (shared.empty()) break;
      runs.push_back({piece->group, piece->row + shared.begin - piece->span.begin, shared});
    }
  }
  const auto begin = runs.begin() + static_cast<std::ptrdiff_t>(first_run);
  if (runs.end() - begin > 1) std::sort(begin, runs.end(), starts_before);
  std::int64_t covered = span.begin;
  for (auto run = begin; run != runs.end(); ++run) {
    STRATA_CHECK(run->span.begin == covered, "rows {}..{} of document {} are not held exactly once", covered,
                 run->span.begin, span.document);
    covered = run->span.end;
  }
  STRATA_CHECK(covered == span.end, "rows {}..{} of document {} are not held", covered, span.end,
               span.document);
}

}  // namespace strata::detail
