// SPDX-License-Identifier: Apache-2.0
#include "core/verify/program_summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/verify/program_order.hpp"
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
    std::array<detail::Accesses, 2> accesses;
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
      detail::check_order(program_, pass, accesses[static_cast<std::size_t>(pass)],
                          [&](std::string rule, std::size_t instruction, std::string message) {
                            report(std::move(rule), pass, instruction, std::move(message));
                          });
    }
    summary.order = std::move(violations_);
    return summary;
  }

 private:
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

  detail::Accesses check_structure(Pass pass) {
    const auto& instructions = program_.instructions(pass);
    detail::Accesses accesses;
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
      if (flow.count == 0) named_.push_back(part.peer);
      flow.rows = mixed_digest(flow.rows, layouts.digest(part));
      ++flow.count;
    }
    if (!std::is_sorted(named_.begin(), named_.end())) std::sort(named_.begin(), named_.end());
    for (const std::int32_t peer : named_) {
      PeerFlow& flow = flows.emplace_back(std::exchange(by_peer_[static_cast<std::size_t>(peer)], {}));
      flow.step = exchange.step;
      flow.lane = exchange.lane;
      flow.peer = peer;
    }
    named_.clear();
    return true;
  }

  const RankProgram& program_;
  std::size_t rank_count_;
  const std::string& place_;
  std::size_t limit_;
  std::vector<Violation> violations_;
  std::vector<PeerFlow> by_peer_;    // of one exchange; count 0: none
  std::vector<std::int32_t> named_;  // the peers that it has
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
