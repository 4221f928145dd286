// SPDX-License-Identifier: Apache-2.0
// Order is proved with vector clocks (Mattern 1989): the clock of an instruction holds, per stream, the last
// instruction that is known to have ended before it starts.
//
// Arena bytes. `A ends before B` (every use of A before the first of B) is transitive: the first use of B is
// one of its uses, so what ended before it ended before whatever B ended before. Hence it is enough to take
// the buffers in the order of their first uses, and to ask of each whether those that had its bytes last end
// before it. The converse cannot hold: instructions know only of earlier ones.
#include "core/verify/program_order.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <utility>

namespace strata::detail {

namespace {

/// The last instruction of every stream, of many things; -1: none.
class Clocks {
 public:
  Clocks(std::size_t count, std::size_t streams) : streams_(streams), last_(count * streams, -1) {}
  std::span<std::int32_t> of(std::size_t index) { return {last_.data() + index * streams_, streams_}; }
  std::span<const std::int32_t> of(std::size_t index) const {
    return {last_.data() + index * streams_, streams_};
  }

 private:
  std::size_t streams_;
  std::vector<std::int32_t> last_;
};

/// Which buffers have which bytes of an arena.
class ArenaBytes {
 public:
  /// Gives [begin, end) to `buffer`; false, with nothing changed, where `yields(holder)` is false for one
  /// that has some of them. Every piece is given once and lost once.
  template <typename Yields>
  bool give(std::int64_t begin, std::int64_t end, std::size_t buffer, Yields yields) {
    auto first = pieces_.upper_bound(begin);
    if (first != pieces_.begin() && std::prev(first)->second.end > begin) --first;
    auto last = first;
    for (; last != pieces_.end() && last->first < end; ++last) {
      if (!yields(last->second.buffer)) return false;
    }
    if (first != last) {
      const auto [left_begin, left] = *first;
      const Piece right = std::prev(last)->second;
      pieces_.erase(first, last);
      if (left_begin < begin) pieces_[left_begin] = {begin, left.buffer};
      if (right.end > end) pieces_[end] = right;
    }
    pieces_[begin] = {end, buffer};
    return true;
  }

 private:
  struct Piece {
    std::int64_t end = 0;
    std::size_t buffer = 0;
  };
  std::map<std::int64_t, Piece> pieces_;  // by begin, disjoint
};

class OrderCheck {
 public:
  OrderCheck(const RankProgram& program, Pass pass, const Accesses& accesses, const ReportOrder& on_report)
      : program_(program),
        instructions_(program.instructions(pass)),
        accesses_(accesses),
        report_(on_report),
        streams_(static_cast<std::size_t>(program.lane_count) + 1),
        clocks_(instructions_.size(), streams_),
        uses_(program.buffers.size()),
        last_reads_(program.buffers.size(), streams_),
        last_writes_(program.buffers.size(), streams_) {}

  void check() {
    set_clocks();
    if (!check_uses()) return;
    const std::vector<std::size_t> used = used_buffers();
    if (!share_in_turn(used)) report_sharing(used);
  }

 private:
  void report(std::string rule, std::size_t instruction, std::string message) const {
    report_(std::move(rule), instruction, std::move(message));
  }

  void set_clocks() {
    std::vector<std::int32_t> last(streams_, -1);
    for (std::size_t i = 0; i < instructions_.size(); ++i) {
      const auto clock = clocks_.of(i);
      const auto include = [&](std::int32_t earlier) {
        if (earlier < 0) return;
        const auto known = clocks_.of(static_cast<std::size_t>(earlier));
        for (std::size_t s = 0; s < streams_; ++s) clock[s] = std::max(clock[s], known[s]);
        const std::int32_t of = instructions_[static_cast<std::size_t>(earlier)].stream;
        std::int32_t& own = clock[static_cast<std::size_t>(of)];
        own = std::max(own, earlier);
      };
      const auto stream = static_cast<std::size_t>(instructions_[i].stream);
      include(last[stream]);
      for (const std::int32_t wait : instructions_[i].wait_for) include(wait);
      last[stream] = static_cast<std::int32_t>(i);
    }
  }

  bool ordered(std::span<const std::int32_t> earlier, std::size_t instruction) const {
    const auto clock = clocks_.of(instruction);
    for (std::size_t s = 0; s < streams_; ++s) {
      if (earlier[s] > clock[s] && earlier[s] != static_cast<std::int32_t>(instruction)) return false;
    }
    return true;
  }

  bool check_uses() {
    for (std::size_t i = 0; i < instructions_.size(); ++i) {
      const auto stream = static_cast<std::size_t>(instructions_[i].stream);
      for (const Access& access : accesses_.of(i)) {
        const auto b = static_cast<std::size_t>(access.buffer);
        std::int32_t& last = (access.write ? last_writes_ : last_reads_).of(b)[stream];
        if (last == static_cast<std::int32_t>(i)) continue;  // another piece of what was looked at
        if (uses_[b].first < 0) uses_[b] = {static_cast<std::int32_t>(i), access.write};
        if (!ordered(last_writes_.of(b), i) || (access.write && !ordered(last_reads_.of(b), i))) {
          report("unordered", i, fmt::format("buffer {} is in use by others", access.buffer));
          return false;
        }
        last = static_cast<std::int32_t>(i);
      }
    }
    return true;
  }

  /// Those that have bytes in this pass; reports the ones that are read before they are written.
  std::vector<std::size_t> used_buffers() const {
    std::vector<std::size_t> used;
    for (std::size_t b = 0; b < uses_.size(); ++b) {
      const Buffer& buffer = program_.buffers[b];
      if (buffer.bytes().count == 0 || (uses_[b].first < 0 && !buffer.persistent)) continue;
      if (!buffer.persistent && !uses_[b].first_is_write) {
        report("unwritten", static_cast<std::size_t>(uses_[b].first),
               fmt::format("buffer {} is read before anything wrote it", b));
      }
      used.push_back(b);
    }
    return used;
  }

  bool ends_before(std::size_t early, std::size_t late) const {
    if (uses_[early].first < 0 || uses_[late].first < 0) return false;
    const auto start = clocks_.of(static_cast<std::size_t>(uses_[late].first));
    const auto reads = last_reads_.of(early), writes = last_writes_.of(early);
    for (std::size_t s = 0; s < streams_; ++s) {
      if (std::max(reads[s], writes[s]) > start[s]) return false;
    }
    return true;
  }

  bool is_persistent(std::size_t buffer) const { return program_.buffers[buffer].persistent; }

  /// Whether no two of `used` that share bytes may be alive together.
  bool share_in_turn(std::vector<std::size_t> used) const {
    std::sort(used.begin(), used.end(), [&](std::size_t a, std::size_t b) {
      if (is_persistent(a) != is_persistent(b)) return is_persistent(a);
      return uses_[a].first != uses_[b].first ? uses_[a].first < uses_[b].first : a < b;
    });
    ArenaBytes arena;
    return std::all_of(used.begin(), used.end(), [&](std::size_t b) {
      const Buffer& buffer = program_.buffers[b];
      return arena.give(buffer.arena_offset, buffer.arena_offset + buffer.bytes().count, b,
                        [&](std::size_t holder) { return !is_persistent(holder) && ends_before(holder, b); });
    });
  }

  /// The first two of `used`, by place, that share bytes and may be alive together.
  void report_sharing(std::vector<std::size_t> used) const {
    std::sort(used.begin(), used.end(), [&](std::size_t a, std::size_t b) {
      return program_.buffers[a].arena_offset < program_.buffers[b].arena_offset;
    });
    for (std::size_t i = 0; i < used.size(); ++i) {
      const Buffer& buffer = program_.buffers[used[i]];
      const std::int64_t end = buffer.arena_offset + buffer.bytes().count;
      for (std::size_t j = i + 1; j < used.size() && program_.buffers[used[j]].arena_offset < end; ++j) {
        const bool persistent = is_persistent(used[i]) || is_persistent(used[j]);
        if (!persistent && (ends_before(used[i], used[j]) || ends_before(used[j], used[i]))) continue;
        report("arena", 0,
               fmt::format("buffers {} and {} share bytes and may be alive together", used[i], used[j]));
        return;
      }
    }
  }

  /// The first use of a buffer.
  struct Use {
    std::int32_t first = -1;
    bool first_is_write = false;
  };

  const RankProgram& program_;
  const std::vector<Instruction>& instructions_;
  const Accesses& accesses_;
  const ReportOrder& report_;
  std::size_t streams_;
  Clocks clocks_;                    // of instructions
  std::vector<Use> uses_;            // [buffer]
  Clocks last_reads_, last_writes_;  // of buffers
};

}  // namespace

void check_order(const RankProgram& program, Pass pass, const Accesses& accesses, const ReportOrder& report) {
  OrderCheck(program, pass, accesses, report).check();
}

}  // namespace strata::detail
