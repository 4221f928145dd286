// SPDX-License-Identifier: Apache-2.0
// The part of the verification that compares ranks: matching of both ends, and the walk.
#include "core/verify/verify_programs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "core/base/parallel_for.hpp"
#include "core/verify/program_summary.hpp"

namespace strata {

namespace {

class SummaryVerifier {
 public:
  SummaryVerifier(std::vector<ProgramSummary> summaries, const std::string& place, std::size_t limit)
      : summaries_(std::move(summaries)), place_(place), limit_(limit) {}

  std::vector<Violation> verify() {
    for (ProgramSummary& summary : summaries_) append(summary.structure);
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      if (violations_.empty()) check_matching(pass);
    }
    if (!violations_.empty()) return std::move(violations_);
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      check_progress(pass, LaneOrder::concurrent, "lanes concurrent");
      // With a single lane both orders put the same instructions into the same queues.
      if (several_lanes(pass)) check_progress(pass, LaneOrder::serialised, "lanes serialised");
    }
    for (ProgramSummary& summary : summaries_) append(summary.order);
    return std::move(violations_);
  }

 private:
  void append(std::vector<Violation>& found) {
    for (Violation& violation : found) {
      if (violations_.size() < limit_) violations_.push_back(std::move(violation));
    }
  }

  bool several_lanes(Pass pass) const {
    return std::any_of(summaries_.begin(), summaries_.end(), [&](const ProgramSummary& summary) {
      return std::any_of(summary.pass(pass).outline.items.begin(), summary.pass(pass).outline.items.end(),
                         [](const PassOutline::Item& item) { return item.stream > lane_stream(0); });
    });
  }

  /// Both ends of every pair list the same parts, in the same order, in the same exchange.
  void check_matching(Pass pass) {
    for (const ProgramSummary& summary : summaries_) {
      const std::int32_t unknown = summary.pass(pass).unknown_peer;
      if (unknown < 0) continue;
      violations_.push_back(program_violation("matching", place_, summary.rank, pass,
                                              static_cast<std::size_t>(unknown),
                                              "names a peer that does not exist"));
      return;
    }
    if (!all_match(pass)) report_mismatch(pass);
  }

  /// Every flow that a rank receives is one that its source sends, and none is left over.
  bool all_match(Pass pass) const {
    std::size_t sent = 0, received = 0;
    for (std::size_t rank = 0; rank < summaries_.size(); ++rank) {
      const std::vector<PeerFlow>& receives = summaries_[rank].pass(pass).receives;
      sent += summaries_[rank].pass(pass).sends.size();
      received += receives.size();
      for (std::size_t i = 0, same = 0; i < receives.size(); ++i) {
        same = i > 0 && receives[i] == receives[i - 1] ? same + 1 : 0;
        const std::vector<PeerFlow>& sends =
            summaries_[static_cast<std::size_t>(receives[i].peer)].pass(pass).sends;
        PeerFlow expected = receives[i];
        expected.peer = static_cast<std::int32_t>(rank);
        const auto first = std::lower_bound(sends.begin(), sends.end(), expected);
        if (static_cast<std::size_t>(sends.end() - first) <= same) return false;
        if (*(first + static_cast<std::ptrdiff_t>(same)) != expected) return false;
      }
    }
    return sent == received;
  }

  void report_mismatch(Pass pass) {
    using Flow =
        std::tuple<std::int32_t, std::int32_t, std::int32_t, std::int32_t, std::uint64_t, std::int32_t>;
    std::vector<Flow> sends, receives;
    for (std::size_t r = 0; r < summaries_.size(); ++r) {
      const auto rank = static_cast<std::int32_t>(r);
      for (const PeerFlow& flow : summaries_[r].pass(pass).sends) {
        sends.emplace_back(flow.step, flow.lane, rank, flow.peer, flow.rows, flow.count);
      }
      for (const PeerFlow& flow : summaries_[r].pass(pass).receives) {
        receives.emplace_back(flow.step, flow.lane, flow.peer, rank, flow.rows, flow.count);
      }
    }
    std::sort(sends.begin(), sends.end());
    std::sort(receives.begin(), receives.end());
    const std::size_t common = std::min(sends.size(), receives.size());
    std::size_t at = 0;
    while (at < common && sends[at] == receives[at]) ++at;
    const auto& [step, lane, source, target, rows, count] = at < sends.size() ? sends[at] : receives[at];
    violations_.push_back({"matching", fmt::format("{}.programs.{}", place_, to_string(pass)),
                           fmt::format("step {} lane {}: what rank {} sends rank {} is not what it expects",
                                       step, lane, source, target)});
  }

  void check_progress(Pass pass, LaneOrder lanes, const char* mode) {
    std::vector<const PassOutline*> outlines;
    outlines.reserve(summaries_.size());
    for (const ProgramSummary& summary : summaries_) outlines.push_back(&summary.pass(pass).outline);
    for (const StuckInstruction& at : walk_outlines(outlines, lanes, [](std::int32_t, std::int32_t) {})) {
      if (violations_.size() >= limit_) return;
      violations_.push_back(program_violation(
          "deadlock", place_, summaries_[static_cast<std::size_t>(at.rank)].rank, pass,
          static_cast<std::size_t>(at.instruction), fmt::format("can never run ({})", mode)));
    }
  }

  std::vector<ProgramSummary> summaries_;
  const std::string& place_;
  std::size_t limit_;
  std::vector<Violation> violations_;
};

/// Starting threads costs as much as checking a few thousand parts.
bool worth_threads(const std::vector<RankProgram>& programs) {
  constexpr std::size_t kParts = 10'000;
  std::size_t parts = 0;
  for (const RankProgram& program : programs) {
    for (const Instruction& instruction : program.forward) {
      if (const Exchange* exchange = exchange_of(instruction.op)) parts += exchange->receives.size();
    }
  }
  return parts > kParts;
}

}  // namespace

std::vector<Violation> verify_summaries(std::vector<ProgramSummary> summaries, const std::string& place,
                                        std::size_t limit) {
  return SummaryVerifier(std::move(summaries), place, limit).verify();
}

std::vector<Violation> verify_programs(const std::vector<RankProgram>& programs, const std::string& place,
                                       std::size_t limit) {
  limit = std::max<std::size_t>(limit, 1);
  std::vector<ProgramSummary> summaries(programs.size());
  parallel_for(std::ssize(programs), worth_threads(programs) ? 0 : 1, [&](std::int64_t i) {
    const auto rank = static_cast<std::size_t>(i);
    summaries[rank] = summarize_program(programs[rank], programs.size(), place, limit);
  });
  return verify_summaries(std::move(summaries), place, limit);
}

}  // namespace strata
