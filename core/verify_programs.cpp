// SPDX-License-Identifier: Apache-2.0
// Order within a rank is proved with vector clocks (Mattern 1989): the clock of an instruction holds, per
// stream, the last instruction that is known to have ended before it starts.
#include "core/verify_programs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "core/parallel_for.hpp"
#include "core/program_walk.hpp"

namespace strata {

namespace {

class ProgramVerifier {
 public:
  ProgramVerifier(const std::vector<RankProgram>& programs, const std::string& place, std::size_t limit)
      : programs_(programs), place_(place), limit_(limit) {}

  std::vector<Violation> verify() {
    each_rank([](ProgramVerifier& own, const RankProgram& program) {
      own.check_buffers(program);
      for (const Pass pass : {Pass::forward, Pass::backward}) own.check_structure(program, pass);
    });
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      if (violations_.empty()) check_matching(pass);
    }
    if (!violations_.empty()) return std::move(violations_);
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      check_progress(pass, LaneOrder::concurrent, "lanes concurrent");
      check_progress(pass, LaneOrder::serialised, "lanes serialised");
    }
    each_rank([](ProgramVerifier& own, const RankProgram& program) {
      for (const Pass pass : {Pass::forward, Pass::backward}) own.check_order(program, pass);
    });
    return std::move(violations_);
  }

 private:
  /// Runs `check` for every rank on all cores and appends what it finds in rank order.
  template <typename Check>
  void each_rank(const Check& check) {
    std::vector<std::vector<Violation>> found(programs_.size());
    parallel_for(static_cast<std::int64_t>(programs_.size()), worth_threads() ? 0 : 1,
                 [&](std::int64_t rank) {
                   ProgramVerifier own(programs_, place_, limit_);
                   check(own, programs_[static_cast<std::size_t>(rank)]);
                   found[static_cast<std::size_t>(rank)] = std::move(own.violations_);
                 });
    for (auto& violations : found) {
      for (Violation& violation : violations) {
        if (violations_.size() < limit_) violations_.push_back(std::move(violation));
      }
    }
  }

  /// Starting threads costs as much as checking a few thousand parts.
  bool worth_threads() const {
    constexpr std::size_t kParts = 10'000;
    std::size_t parts = 0;
    for (const RankProgram& program : programs_) {
      for (const Instruction& instruction : program.forward) {
        if (const Exchange* exchange = exchange_of(instruction.op)) parts += exchange->receives.size();
      }
    }
    return parts > kParts;
  }

  void report(std::string rule, const RankProgram& program, Pass pass, std::size_t instruction,
              std::string message) {
    if (violations_.size() >= limit_) return;
    violations_.push_back(
        {std::move(rule),
         fmt::format("{}.programs[{}].{}[{}]", place_, program.rank, to_string(pass), instruction),
         std::move(message)});
  }

  void check_buffers(const RankProgram& program) {
    for (std::size_t b = 0; b < program.buffers.size(); ++b) {
      const Buffer& buffer = program.buffers[b];
      const bool fits = buffer.rows >= 0 && buffer.arena_offset >= 0 &&
                        buffer.arena_offset % kArenaAlignment == 0 &&
                        buffer.arena_offset + buffer.bytes().count <= program.arena.count;
      if (fits || violations_.size() >= limit_) continue;
      violations_.push_back({"arena", fmt::format("{}.programs[{}].buffers[{}]", place_, program.rank, b),
                             fmt::format("{} bytes at {} do not fit the arena of {}", buffer.bytes().count,
                                         buffer.arena_offset, program.arena.count)});
    }
  }

  void check_structure(const RankProgram& program, Pass pass) {
    const auto& instructions = program.instructions(pass);
    std::vector<Access> accesses;
    for (std::size_t i = 0; i < instructions.size(); ++i) {
      const Instruction& instruction = instructions[i];
      if (instruction.stream < 0 || instruction.stream > program.lane_count) {
        report("stream", program, pass, i, fmt::format("stream {} does not exist", instruction.stream));
      }
      for (const std::int32_t wait : instruction.wait_for) {
        if (wait < 0 || wait >= static_cast<std::int32_t>(i)) {
          report("wait_order", program, pass, i, fmt::format("waits for {}, which is not earlier", wait));
        }
      }
      accesses.clear();
      append_accesses(program, instruction.op, accesses);
      for (const Access& access : accesses) {
        const bool known =
            access.buffer >= 0 && access.buffer < static_cast<std::int32_t>(program.buffers.size());
        const std::int64_t rows = known ? program.buffers[static_cast<std::size_t>(access.buffer)].rows : -1;
        if (!known || access.row < 0 || access.row_count < 0 || access.row + access.row_count > rows) {
          report("rows", program, pass, i,
                 fmt::format("rows {}..{} of buffer {} with {} rows", access.row,
                             access.row + access.row_count, access.buffer, rows));
          break;
        }
      }
    }
  }

  /// Both ends of every pair list the same parts, in the same order, in the same exchange: a running digest
  /// of the sizes per (exchange, pair) is enough to compare, since equal programs are not at stake but equal
  /// lists.
  void check_matching(Pass pass) {
    using Key =
        std::tuple<std::int32_t, std::int32_t, std::int32_t, std::int32_t>;  // step, lane, source, target
    struct Flow {
      Key key;
      std::uint64_t sizes = 0;
      std::int64_t count = 0;
      auto operator<=>(const Flow&) const = default;
    };
    std::vector<Flow> sends, receives;
    std::vector<Flow> by_peer(programs_.size());
    for (const RankProgram& program : programs_) {
      const auto collect = [&](const Exchange& exchange, const std::vector<ExchangePart>& parts,
                               bool outgoing) {
        for (const ExchangePart& part : parts) {
          if (part.peer < 0 || part.peer >= static_cast<std::int32_t>(programs_.size())) return false;
          Flow& flow = by_peer[static_cast<std::size_t>(part.peer)];
          const std::int64_t bytes =
              part.row_count * program.buffers[static_cast<std::size_t>(part.buffer)].row_bytes();
          flow.sizes = (flow.sizes ^ static_cast<std::uint64_t>(bytes)) * 0x9e3779b97f4a7c15ULL + 1;
          flow.sizes ^= flow.sizes >> 31;
          ++flow.count;
        }
        for (std::size_t peer = 0; peer < by_peer.size(); ++peer) {
          if (by_peer[peer].count == 0) continue;
          const auto other = static_cast<std::int32_t>(peer);
          const std::int32_t source = outgoing ? program.rank : other;
          by_peer[peer].key = {exchange.step, exchange.lane, source, outgoing ? other : program.rank};
          (outgoing ? sends : receives).push_back(by_peer[peer]);
          by_peer[peer] = {};
        }
        return true;
      };
      const auto& instructions = program.instructions(pass);
      for (std::size_t i = 0; i < instructions.size(); ++i) {
        const Exchange* exchange = exchange_of(instructions[i].op);
        if (exchange == nullptr) continue;
        if (!collect(*exchange, exchange->sends, true) || !collect(*exchange, exchange->receives, false)) {
          report("matching", program, pass, i, "names a peer that does not exist");
          return;
        }
      }
    }
    std::sort(sends.begin(), sends.end());
    std::sort(receives.begin(), receives.end());
    if (sends == receives) return;
    const std::size_t common = std::min(sends.size(), receives.size());
    std::size_t at = 0;
    while (at < common && sends[at] == receives[at]) ++at;
    const auto& [step, lane, source, target] = (at < sends.size() ? sends[at] : receives[at]).key;
    if (violations_.size() >= limit_) return;
    violations_.push_back({"matching", fmt::format("{}.programs.{}", place_, to_string(pass)),
                           fmt::format("step {} lane {}: what rank {} sends rank {} is not what it expects",
                                       step, lane, source, target)});
  }

  void check_progress(Pass pass, LaneOrder lanes, const char* mode) {
    const auto stuck = walk_programs(programs_, pass, lanes, [](std::int32_t, std::int32_t) {});
    for (const StuckInstruction& at : stuck) {
      report("deadlock", programs_[static_cast<std::size_t>(at.rank)], pass,
             static_cast<std::size_t>(at.instruction), fmt::format("can never run ({})", mode));
    }
  }

  using Clock = std::vector<std::int32_t>;

  static std::vector<Clock> clocks(const RankProgram& program, const std::vector<Instruction>& instructions) {
    const std::size_t streams = static_cast<std::size_t>(program.lane_count) + 1;
    std::vector<Clock> clocks(instructions.size(), Clock(streams, -1));
    std::vector<std::int32_t> last(streams, -1);
    const auto include = [&](Clock& clock, std::int32_t earlier) {
      if (earlier < 0) return;
      const auto e = static_cast<std::size_t>(earlier);
      for (std::size_t s = 0; s < streams; ++s) clock[s] = std::max(clock[s], clocks[e][s]);
      auto& own = clock[static_cast<std::size_t>(instructions[e].stream)];
      own = std::max(own, earlier);
    };
    for (std::size_t i = 0; i < instructions.size(); ++i) {
      const auto stream = static_cast<std::size_t>(instructions[i].stream);
      include(clocks[i], last[stream]);
      for (const std::int32_t wait : instructions[i].wait_for) include(clocks[i], wait);
      last[stream] = static_cast<std::int32_t>(i);
    }
    return clocks;
  }

  /// When a buffer's bytes are in use: first and last user per stream.
  struct Usage {
    std::int32_t first = -1;
    bool first_is_write = false;
    Clock last_reads, last_writes;
  };

  void check_order(const RankProgram& program, Pass pass) {
    const auto& instructions = program.instructions(pass);
    const std::vector<Clock> clock = clocks(program, instructions);
    const std::size_t streams = static_cast<std::size_t>(program.lane_count) + 1;
    std::vector<Usage> usages(program.buffers.size());
    std::vector<Access> accesses;
    for (std::size_t i = 0; i < instructions.size(); ++i) {
      accesses.clear();
      append_accesses(program, instructions[i].op, accesses);
      const auto stream = static_cast<std::size_t>(instructions[i].stream);
      const auto ordered = [&](const Clock& earlier) {
        for (std::size_t s = 0; s < earlier.size(); ++s) {
          if (earlier[s] > clock[i][s] && earlier[s] != static_cast<std::int32_t>(i)) return false;
        }
        return true;
      };
      for (const Access& access : accesses) {
        Usage& usage = usages[static_cast<std::size_t>(access.buffer)];
        if (usage.first < 0) {
          usage = {static_cast<std::int32_t>(i), access.write, Clock(streams, -1), Clock(streams, -1)};
        }
        if (!ordered(usage.last_writes) || (access.write && !ordered(usage.last_reads))) {
          report("unordered", program, pass, i, fmt::format("buffer {} is in use by others", access.buffer));
          return;
        }
        (access.write ? usage.last_writes : usage.last_reads)[stream] = static_cast<std::int32_t>(i);
      }
    }
    check_arena_sharing(program, pass, usages, clock);
  }

  void check_arena_sharing(const RankProgram& program, Pass pass, const std::vector<Usage>& usages,
                           const std::vector<Clock>& clock) {
    std::vector<std::size_t> order;
    for (std::size_t b = 0; b < usages.size(); ++b) {
      const Buffer& buffer = program.buffers[b];
      if (buffer.bytes().count == 0 || (usages[b].first < 0 && !buffer.persistent)) continue;
      const bool input = buffer.persistent;
      if (!input && !usages[b].first_is_write) {
        report("unwritten", program, pass, static_cast<std::size_t>(usages[b].first),
               fmt::format("buffer {} is read before anything wrote it", b));
      }
      order.push_back(b);
    }
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return program.buffers[a].arena_offset < program.buffers[b].arena_offset;
    });
    const auto ends_before = [&](const Usage& early, const Usage& late) {
      if (early.first < 0 || late.first < 0) return false;
      const Clock& start = clock[static_cast<std::size_t>(late.first)];
      for (std::size_t s = 0; s < start.size(); ++s) {
        if (std::max(early.last_reads[s], early.last_writes[s]) > start[s]) return false;
      }
      return true;
    };
    for (std::size_t i = 0; i < order.size(); ++i) {
      const Buffer& buffer = program.buffers[order[i]];
      const std::int64_t end = buffer.arena_offset + buffer.bytes().count;
      for (std::size_t j = i + 1; j < order.size() && program.buffers[order[j]].arena_offset < end; ++j) {
        const Usage& a = usages[order[i]];
        const Usage& b = usages[order[j]];
        const bool persistent = buffer.persistent || program.buffers[order[j]].persistent;
        if (!persistent && (ends_before(a, b) || ends_before(b, a))) continue;
        report("arena", program, pass, 0,
               fmt::format("buffers {} and {} share bytes and may be alive together", order[i], order[j]));
        return;
      }
    }
  }

  const std::vector<RankProgram>& programs_;
  std::string place_;
  std::size_t limit_;
  std::vector<Violation> violations_;
};

}  // namespace

std::vector<Violation> verify_programs(const std::vector<RankProgram>& programs, const std::string& place,
                                       std::size_t limit) {
  return ProgramVerifier(programs, place, limit).verify();
}

}  // namespace strata
