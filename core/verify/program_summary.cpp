// SPDX-License-Identifier: Apache-2.0
// Order within a rank is proved with vector clocks (Mattern 1989): the clock of an instruction holds, per
// stream, the last instruction that is known to have ended before it starts.
#include "core/verify/program_summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "core/verify/verify_messages.hpp"

namespace strata {

namespace {

class ProgramChecker {
 public:
  ProgramChecker(const RankProgram& program, std::size_t rank_count, const std::string& place,
                 std::size_t limit)
      : program_(program), rank_count_(rank_count), place_(place), limit_(limit) {}

  ProgramSummary summarize() {
    ProgramSummary summary;
    summary.rank = program_.rank;
    check_buffers();
    std::array<Accesses, 2> accesses;
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      accesses[static_cast<std::size_t>(pass)] = check_structure(pass);
    }
    std::vector<MessageLayouts> layouts;
    if (violations_.empty()) layouts = check_messages();
    summary.structure = std::exchange(violations_, {});
    if (!summary.structure.empty()) return summary;
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      PassSummary& own = summary.passes[static_cast<std::size_t>(pass)];
      own.outline = outline_of(program_, pass, rank_count_);
      collect_flows(pass, layouts[static_cast<std::size_t>(pass)], own);
      check_order(pass, accesses[static_cast<std::size_t>(pass)]);
    }
    summary.order = std::move(violations_);
    return summary;
  }

 private:
  /// Of all instructions of a pass, one after another.
  struct Accesses {
    std::vector<Access> list;
    std::vector<std::size_t> ends;  ///< [instruction]

    std::span<const Access> of(std::size_t instruction) const {
      const std::size_t begin = instruction == 0 ? 0 : ends[instruction - 1];
      return {list.begin() + static_cast<std::ptrdiff_t>(begin), ends[instruction] - begin};
    }
  };

  void report(std::string rule, Pass pass, std::size_t instruction, std::string message) {
    if (violations_.size() >= limit_) return;
    violations_.push_back(
        program_violation(std::move(rule), place_, program_.rank, pass, instruction, std::move(message)));
  }

  void check_buffers() {
    for (std::size_t b = 0; b < program_.buffers.size(); ++b) {
      const Buffer& buffer = program_.buffers[b];
      const bool fits = buffer.rows >= 0 && buffer.arena_offset >= 0 &&
                        buffer.arena_offset % kArenaAlignment == 0 &&
                        buffer.arena_offset + buffer.bytes().count <= program_.arena.count;
      if (fits || violations_.size() >= limit_) continue;
      violations_.push_back({"arena", fmt::format("{}.programs[{}].buffers[{}]", place_, program_.rank, b),
                             fmt::format("{} bytes at {} do not fit the arena of {}", buffer.bytes().count,
                                         buffer.arena_offset, program_.arena.count)});
    }
  }

  Accesses check_structure(Pass pass) {
    const auto& instructions = program_.instructions(pass);
    Accesses accesses;
    for (std::size_t i = 0; i < instructions.size(); ++i) {
      const Instruction& instruction = instructions[i];
      if (instruction.stream < 0 || instruction.stream > program_.lane_count) {
        report("stream", pass, i, fmt::format("stream {} does not exist", instruction.stream));
      }
      for (const std::int32_t wait : instruction.wait_for) {
        if (wait < 0 || wait >= static_cast<std::int32_t>(i)) {
          report("wait_order", pass, i, fmt::format("waits for {}, which is not earlier", wait));
        }
      }
      const bool computes =
          exchange_of(instruction.op) == nullptr && !std::holds_alternative<CopyRows>(instruction.op);
      append_accesses(program_, instruction.op, accesses.list);
      accesses.ends.push_back(accesses.list.size());
      for (const Access& access : accesses.of(i)) {
        const bool known =
            access.buffer >= 0 && access.buffer < static_cast<std::int32_t>(program_.buffers.size());
        const std::int64_t rows = known ? program_.buffers[static_cast<std::size_t>(access.buffer)].rows : -1;
        if (!known || access.row < 0 || access.row_count < 0 || access.row + access.row_count > rows) {
          report("rows", pass, i,
                 fmt::format("rows {}..{} of buffer {} with {} rows", access.row,
                             access.row + access.row_count, access.buffer, rows));
          break;
        }
        if (computes && program_.buffers[static_cast<std::size_t>(access.buffer)].is_message()) {
          report("message", pass, i, fmt::format("computes with message {}", access.buffer));
          break;
        }
      }
    }
    return accesses;
  }

  /// [pass]
  std::vector<MessageLayouts> check_messages() {
    std::vector<MessageLayouts> layouts;
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      layouts.emplace_back(program_, pass);
      const auto& fault = layouts.back().fault();
      if (fault) report(fault->rule, pass, fault->instruction, fault->message);
    }
    return layouts;
  }

  void collect_flows(Pass pass, const MessageLayouts& layouts, PassSummary& summary) {
    const auto& instructions = program_.instructions(pass);
    by_peer_.resize(rank_count_);
    for (std::size_t i = 0; i < instructions.size(); ++i) {
      const Exchange* exchange = exchange_of(instructions[i].op);
      if (exchange == nullptr) continue;
      if (!append_flows(*exchange, exchange->sends, layouts, summary.sends) ||
          !append_flows(*exchange, exchange->receives, layouts, summary.receives)) {
        summary.unknown_peer = static_cast<std::int32_t>(i);
        return;
      }
    }
    for (auto* flows : {&summary.sends, &summary.receives}) {
      if (!std::is_sorted(flows->begin(), flows->end())) std::sort(flows->begin(), flows->end());
    }
  }

  /// False when a peer does not exist.
  bool append_flows(const Exchange& exchange, const std::vector<ExchangePart>& parts,
                    const MessageLayouts& layouts, std::vector<PeerFlow>& flows) {
    for (const ExchangePart& part : parts) {
      if (part.peer < 0 || static_cast<std::size_t>(part.peer) >= rank_count_) return false;
      PeerFlow& flow = by_peer_[static_cast<std::size_t>(part.peer)];
      flow.rows = (flow.rows ^ layouts.digest(part)) * 0x9e3779b97f4a7c15ULL + 1;
      flow.rows ^= flow.rows >> 31;
      ++flow.count;
    }
    for (std::size_t peer = 0; peer < by_peer_.size(); ++peer) {
      if (by_peer_[peer].count == 0) continue;
      PeerFlow& flow = flows.emplace_back(std::exchange(by_peer_[peer], {}));
      flow.step = exchange.step;
      flow.lane = exchange.lane;
      flow.peer = static_cast<std::int32_t>(peer);
    }
    return true;
  }

  using Clock = std::vector<std::int32_t>;

  std::vector<Clock> clocks(const std::vector<Instruction>& instructions) const {
    const std::size_t streams = static_cast<std::size_t>(program_.lane_count) + 1;
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

  void check_order(Pass pass, const Accesses& accesses) {
    const auto& instructions = program_.instructions(pass);
    const std::vector<Clock> clock = clocks(instructions);
    const std::size_t streams = static_cast<std::size_t>(program_.lane_count) + 1;
    std::vector<Usage> usages(program_.buffers.size());
    for (std::size_t i = 0; i < instructions.size(); ++i) {
      const auto stream = static_cast<std::size_t>(instructions[i].stream);
      const auto ordered = [&](const Clock& earlier) {
        for (std::size_t s = 0; s < earlier.size(); ++s) {
          if (earlier[s] > clock[i][s] && earlier[s] != static_cast<std::int32_t>(i)) return false;
        }
        return true;
      };
      for (const Access& access : accesses.of(i)) {
        Usage& usage = usages[static_cast<std::size_t>(access.buffer)];
        if (usage.first < 0) {
          usage = {static_cast<std::int32_t>(i), access.write, Clock(streams, -1), Clock(streams, -1)};
        }
        if (!ordered(usage.last_writes) || (access.write && !ordered(usage.last_reads))) {
          report("unordered", pass, i, fmt::format("buffer {} is in use by others", access.buffer));
          return;
        }
        (access.write ? usage.last_writes : usage.last_reads)[stream] = static_cast<std::int32_t>(i);
      }
    }
    check_arena_sharing(pass, usages, clock);
  }

  void check_arena_sharing(Pass pass, const std::vector<Usage>& usages, const std::vector<Clock>& clock) {
    std::vector<std::size_t> order;
    for (std::size_t b = 0; b < usages.size(); ++b) {
      const Buffer& buffer = program_.buffers[b];
      if (buffer.bytes().count == 0 || (usages[b].first < 0 && !buffer.persistent)) continue;
      const bool input = buffer.persistent;
      if (!input && !usages[b].first_is_write) {
        report("unwritten", pass, static_cast<std::size_t>(usages[b].first),
               fmt::format("buffer {} is read before anything wrote it", b));
      }
      order.push_back(b);
    }
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return program_.buffers[a].arena_offset < program_.buffers[b].arena_offset;
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
      const Buffer& buffer = program_.buffers[order[i]];
      const std::int64_t end = buffer.arena_offset + buffer.bytes().count;
      for (std::size_t j = i + 1; j < order.size() && program_.buffers[order[j]].arena_offset < end; ++j) {
        const Usage& a = usages[order[i]];
        const Usage& b = usages[order[j]];
        const bool persistent = buffer.persistent || program_.buffers[order[j]].persistent;
        if (!persistent && (ends_before(a, b) || ends_before(b, a))) continue;
        report("arena", pass, 0,
               fmt::format("buffers {} and {} share bytes and may be alive together", order[i], order[j]));
        return;
      }
    }
  }

  const RankProgram& program_;
  std::size_t rank_count_;
  const std::string& place_;
  std::size_t limit_;
  std::vector<Violation> violations_;
  std::vector<PeerFlow> by_peer_;
};

}  // namespace

ProgramSummary summarize_program(const RankProgram& program, std::size_t rank_count, const std::string& place,
                                 std::size_t limit) {
  return ProgramChecker(program, rank_count, place, limit).summarize();
}

Violation program_violation(std::string rule, const std::string& place, std::int32_t rank, Pass pass,
                            std::size_t instruction, std::string message) {
  return {std::move(rule), fmt::format("{}.programs[{}].{}[{}]", place, rank, to_string(pass), instruction),
          std::move(message)};
}

}  // namespace strata
