// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "core/base/check.hpp"
#include "core/base/checked.hpp"
#include "core/lowering/lower_detail.hpp"

namespace strata::detail {

/// A scratch buffer of one pass, in issue order.
struct ProgramBuilder::Lifetime {
  std::int32_t buffer = 0;
  std::int32_t first = -1;
  std::int32_t last = -1;
  std::int64_t offset = 0;
  std::int64_t size = 0;
  std::vector<std::int32_t> last_by_stream;

  bool shares_bytes(const Lifetime& other) const {
    return offset < other.offset + other.size && other.offset < offset + size;
  }
};

namespace {

constexpr std::int64_t kMostArenaBytes = std::int64_t{1} << 61;

constexpr std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

/// The lowest offset at which `life` fits between the buffers that are alive with it. `by_offset` lists what
/// is placed already.
template <typename Lifetime>
std::int64_t first_fit(const std::vector<Lifetime>& lives, const std::vector<std::size_t>& by_offset,
                       const Lifetime& life) {
  std::int64_t offset = 0;
  for (const std::size_t other : by_offset) {
    const Lifetime& placed = lives[other];
    if (placed.last < life.first) continue;
    if (offset + life.size <= placed.offset) break;
    offset = std::max(offset, placed.offset + placed.size);
  }
  return offset;
}

void add_wait(Instruction& instruction, std::int32_t earlier) {
  auto& waits = instruction.wait_for;
  const auto at = std::lower_bound(waits.begin(), waits.end(), earlier);
  if (at == waits.end() || *at != earlier) waits.insert(at, earlier);
}

bool starts_before(const HeldRun& a, const HeldRun& b) { return a.span < b.span; }

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

std::vector<ProgramBuilder::Lifetime> ProgramBuilder::lifetimes(Pass pass) const {
  std::vector<Lifetime> lives;
  const std::vector<Use>& uses = uses_[static_cast<std::size_t>(pass)];
  for (std::size_t b = 0; b < uses.size(); ++b) {
    if (program_.buffers[b].persistent || uses[b].first < 0) continue;
    Lifetime& life = lives.emplace_back();
    life.buffer = static_cast<std::int32_t>(b);
    life.first = uses[b].first;
    life.size = aligned(program_.buffers[b].bytes().count);
    life.last_by_stream = uses[b].reads;
    for (std::size_t stream = 0; stream < life.last_by_stream.size(); ++stream) {
      std::int32_t& last = life.last_by_stream[stream];
      last = std::max(last, uses[b].writes[stream]);
      life.last = std::max(life.last, last);
    }
  }
  std::stable_sort(lives.begin(), lives.end(),
                   [](const Lifetime& a, const Lifetime& b) { return a.first < b.first; });
  return lives;
}

/// Places one pass's scratch buffers from `base`; returns the end of the space they take.
std::int64_t ProgramBuilder::place_pass(Pass pass, std::int64_t base) {
  auto& instructions = pass == Pass::forward ? program_.forward : program_.backward;
  std::vector<Lifetime> lives = lifetimes(pass);
  std::int64_t end = 0;
  std::vector<std::size_t> by_offset;
  by_offset.reserve(lives.size());
  for (std::size_t i = 0; i < lives.size(); ++i) {
    Lifetime& life = lives[i];
    life.offset = first_fit(lives, by_offset, life);
    by_offset.insert(std::upper_bound(by_offset.begin(), by_offset.end(), life.offset,
                                      [&](std::int64_t offset, std::size_t placed) {
                                        return offset < lives[placed].offset;
                                      }),
                     i);
    end = std::max(end, life.offset + life.size);
    program_.buffers[static_cast<std::size_t>(life.buffer)].arena_offset = base + life.offset;
    Instruction& writer = instructions[static_cast<std::size_t>(life.first)];
    for (std::size_t other = 0; other < i; ++other) {
      if (lives[other].last >= life.first || !lives[other].shares_bytes(life)) continue;
      for (std::size_t stream = 0; stream < lives[other].last_by_stream.size(); ++stream) {
        const std::int32_t user = lives[other].last_by_stream[stream];
        if (user >= 0 && static_cast<std::int32_t>(stream) != writer.stream) add_wait(writer, user);
      }
    }
  }
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
    base += aligned(buffer.bytes().count);
  }
  const std::int64_t forward_end = place_pass(Pass::forward, base);
  const std::int64_t backward_end = place_pass(Pass::backward, base);
  drop_implied_waits(program_.forward);
  drop_implied_waits(program_.backward);
  program_.arena = {std::max(forward_end, backward_end)};
}

std::int32_t ProgramBuilder::add_buffer(BufferRole role, ElementType type, std::int64_t rows, HeadRange heads,
                                        std::int32_t width, bool persistent) {
  program_.buffers.push_back({role, type, rows, heads, width, persistent, 0});
  return static_cast<std::int32_t>(program_.buffers.size()) - 1;
}

void ProgramBuilder::begin_pass(Pass pass) { pass_ = pass; }

void ProgramBuilder::emit(Operation op, std::int32_t stream) {
  const std::size_t streams = static_cast<std::size_t>(program_.lane_count) + 1;
  auto& instructions = pass_ == Pass::forward ? program_.forward : program_.backward;
  std::vector<Use>& uses = uses_[static_cast<std::size_t>(pass_)];
  uses.resize(program_.buffers.size());
  accesses_.clear();
  append_accesses(program_, op, accesses_);
  const auto index = static_cast<std::int32_t>(instructions.size());
  Instruction instruction{std::move(op), stream, {}};
  std::vector<std::int32_t> latest(streams, -1);
  const auto wait_all = [&](const std::vector<std::int32_t>& by_stream) {
    for (std::size_t s = 0; s < by_stream.size(); ++s) latest[s] = std::max(latest[s], by_stream[s]);
  };
  for (const Access& access : accesses_) {
    Use& use = uses[static_cast<std::size_t>(access.buffer)];
    if (use.first < 0) {
      use.first = index;
      use.reads.assign(streams, -1);
      use.writes.assign(streams, -1);
    }
    wait_all(use.writes);
    if (access.write) wait_all(use.reads);
  }
  for (const Access& access : accesses_) {
    Use& use = uses[static_cast<std::size_t>(access.buffer)];
    (access.write ? use.writes : use.reads)[static_cast<std::size_t>(stream)] = index;
  }
  for (std::size_t s = 0; s < streams; ++s) {
    if (latest[s] >= 0 && static_cast<std::int32_t>(s) != stream) instruction.wait_for.push_back(latest[s]);
  }
  std::sort(instruction.wait_for.begin(), instruction.wait_for.end());
  instructions.push_back(std::move(instruction));
}

void HeldRows::add(HeadRange heads, const TokenSpan& span, std::int32_t group, std::int64_t row) {
  auto variant = std::find_if(variants_.begin(), variants_.end(),
                              [&](const Variant& candidate) { return candidate.heads == heads; });
  if (variant == variants_.end()) {
    variants_.push_back({heads, {}, 0});
    variant = std::prev(variants_.end());
  }
  auto& pieces = variant->pieces;
  const HeldRun run{group, row, span};
  if (pieces.size() > variant->sealed && pieces.back().continues_in(run)) {
    pieces.back().span.end = span.end;
  } else {
    pieces.push_back(run);
  }
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
      if (pieces[kept].continues_in(pieces[i])) {
        pieces[kept].span.end = pieces[i].span.end;
      } else {
        pieces[++kept] = pieces[i];
      }
    }
    if (!pieces.empty()) pieces.resize(kept + 1);
    variant.sealed = pieces.size();
  }
}

std::size_t HeldRows::Variant::find(const TokenSpan& span) const {
  const auto ends_after = [&](const HeldRun& piece) {
    return span.document == piece.span.document ? span.begin < piece.span.end
                                                : span.document < piece.span.document;
  };
  constexpr std::size_t kNear = 4;
  std::size_t at = std::min(found, pieces.size());
  if (at == 0 || !ends_after(pieces[at - 1])) {
    for (const std::size_t end = std::min(at + kNear, pieces.size()); at < end; ++at) {
      if (ends_after(pieces[at])) return found = at;
    }
  }
  const auto piece = std::partition_point(pieces.begin(), pieces.end(),
                                          [&](const HeldRun& candidate) { return !ends_after(candidate); });
  return found = static_cast<std::size_t>(piece - pieces.begin());
}

void HeldRows::head_parts(HeadRange heads, std::vector<HeadRange>& parts) const {
  parts.resize(1);
  parts.front() = heads;
  if (variants_.size() == 1 && contains(variants_.front().heads, heads)) return;
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

void HeldRows::find_held(const TokenSpan& span, HeadRange heads, std::vector<HeldRun>& runs) const {
  const std::size_t first_run = runs.size();
  if (variants_.size() == 1 && contains(variants_.front().heads, heads)) {  // nearly always
    const Variant& variant = variants_.front();
    const std::size_t at = variant.find(span);
    if (at < variant.pieces.size() && contains(variant.pieces[at].span, span)) {
      const HeldRun& piece = variant.pieces[at];
      runs.push_back({piece.group, piece.row + span.begin - piece.span.begin, span});
      return;
    }
  }
  for (const Variant& variant : variants_) {
    if (!contains(variant.heads, heads)) continue;
    for (std::size_t i = variant.find(span); i < variant.pieces.size(); ++i) {
      const HeldRun& piece = variant.pieces[i];
      const TokenSpan shared = intersect(piece.span, span);
      if (shared.empty()) break;
      runs.push_back({piece.group, piece.row + shared.begin - piece.span.begin, shared});
    }
  }
  const auto begin = runs.begin() + static_cast<std::ptrdiff_t>(first_run);
  if (runs.end() - begin > 1) std::sort(begin, runs.end(), starts_before);
}

void HeldRows::resolve(const TokenSpan& span, HeadRange heads, std::vector<HeldRun>& runs) const {
  std::size_t run = runs.size();
  find_held(span, heads, runs);
  std::int64_t covered = span.begin;
  for (; run < runs.size(); ++run) {
    STRATA_CHECK(runs[run].span.begin == covered, "rows {}..{} of document {} are not held exactly once",
                 covered, runs[run].span.begin, span.document);
    covered = runs[run].span.end;
  }
  STRATA_CHECK(covered == span.end, "rows {}..{} of document {} are not held", covered, span.end,
               span.document);
}

}  // namespace strata::detail
