// SPDX-License-Identifier: Apache-2.0
// What the verifier of programs does the short way, against the long way on random input: the walk that wakes
// ranks against one that asks all of them again and again, the sweep over arena bytes against all pairs of
// buffers, and the backward schedule that a proof hands on against the derived one.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/program/program_walk.hpp"
#include "core/schedule/backward_schedule.hpp"
#include "core/verify/verify_programs.hpp"
#include "core/verify/verify_schedule.hpp"
#include "tests/support/dice.hpp"
#include "tests/support/random_schedules.hpp"

namespace strata {
namespace {

using test::Dice;
using Visit = std::pair<std::int32_t, std::int32_t>;

/// Rendezvous as the words say it: rounds over all ranks, every head of a queue looked at afresh.
class LongWalk {
 public:
  LongWalk(const std::vector<PassOutline>& outlines, LaneOrder lanes) : outlines_(outlines) {
    for (const PassOutline& outline : outlines) {
      auto& queues = queues_.emplace_back(
          lanes == LaneOrder::serialised ? 2 : static_cast<std::size_t>(outline.lane_count) + 1);
      for (std::size_t i = 0; i < outline.items.size(); ++i) {
        const std::int32_t stream = outline.items[i].stream;
        queues[static_cast<std::size_t>(lanes == LaneOrder::serialised ? std::min(stream, 1) : stream)]
            .push_back(i);
      }
      posted_.emplace_back(outline.items.size());
      done_.emplace_back(outline.items.size());
    }
  }

  std::vector<Visit> run() {
    for (bool progress = true; progress;) {
      progress = false;
      for (std::size_t rank = 0; rank < outlines_.size(); ++rank) {
        while (advance(rank)) progress = true;
      }
    }
    return visits_;
  }

  std::vector<Visit> stuck() const {
    std::vector<Visit> all;
    for (std::size_t rank = 0; rank < queues_.size(); ++rank) {
      for (const auto& queue : queues_[rank]) {
        if (!queue.empty()) {
          all.emplace_back(static_cast<std::int32_t>(rank), static_cast<std::int32_t>(queue.front()));
        }
      }
    }
    return all;
  }

 private:
  bool advance(std::size_t rank) {
    bool progress = false;
    for (auto& queue : queues_[rank]) {
      while (!queue.empty()) {
        const std::size_t item = queue.front();
        if (!posted_[rank][item]) {
          if (!waits_are_done(rank, item)) break;
          posted_[rank][item] = progress = true;
        }
        if (!peers_have_posted(rank, item)) break;
        visits_.emplace_back(static_cast<std::int32_t>(rank), static_cast<std::int32_t>(item));
        done_[rank][item] = progress = true;
        queue.erase(queue.begin());
      }
    }
    return progress;
  }

  bool waits_are_done(std::size_t rank, std::size_t item) const {
    const PassOutline& outline = outlines_[rank];
    for (std::size_t w = item == 0 ? 0 : outline.items[item - 1].waits_end; w < outline.items[item].waits_end;
         ++w) {
      if (!done_[rank][static_cast<std::size_t>(outline.waits[w])]) return false;
    }
    return true;
  }

  bool peers_have_posted(std::size_t rank, std::size_t item) const {
    const PassOutline& outline = outlines_[rank];
    for (std::size_t p = item == 0 ? 0 : outline.items[item - 1].peers_end; p < outline.items[item].peers_end;
         ++p) {
      if (!has_posted(outline.peers[p], outline.items[item])) return false;
    }
    return true;
  }

  bool has_posted(std::int32_t peer, const PassOutline::Item& exchange) const {
    if (peer < 0 || static_cast<std::size_t>(peer) >= outlines_.size()) return false;
    const auto& items = outlines_[static_cast<std::size_t>(peer)].items;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (items[i].step != exchange.step || items[i].lane != exchange.lane) continue;
      return posted_[static_cast<std::size_t>(peer)][i];
    }
    return false;
  }

  const std::vector<PassOutline>& outlines_;
  std::vector<std::vector<std::vector<std::size_t>>> queues_;  // [rank][queue]
  std::vector<std::vector<bool>> posted_, done_;               // [rank][instruction]
  std::vector<Visit> visits_;
};

/// Instructions with waits and exchanges of few steps, so that most programs meet and some never do.
std::vector<PassOutline> random_outlines(Dice& dice) {
  std::vector<PassOutline> outlines(static_cast<std::size_t>(dice.small(2, 6)));
  const std::int32_t lanes = dice.small(1, 3), steps = dice.small(1, 12);
  const bool wild = dice.one_in(4);
  for (std::size_t rank = 0; rank < outlines.size(); ++rank) {
    PassOutline& outline = outlines[rank];
    outline.lane_count = lanes;
    for (std::int32_t step = 0; step < steps; ++step) {
      PassOutline::Item item;
      const bool exchange = dice.one_in(2);
      item.stream = exchange ? 1 + step % lanes : 0;
      if (exchange) {
        item.step = wild ? dice.small(0, steps) : step;
        item.lane = item.stream - 1;
        for (std::int32_t peer = 0; peer < std::ssize(outlines); ++peer) {
          if (dice.one_in(3) && (wild || peer != static_cast<std::int32_t>(rank))) {
            outline.peers.push_back(peer);
          }
        }
        if (dice.one_in(40)) outline.peers.push_back(-1);
      }
      const auto items = static_cast<std::int32_t>(outline.items.size());
      while (items > 0 && dice.one_in(2)) outline.waits.push_back(dice.small(0, items - 1));
      item.waits_end = static_cast<std::uint32_t>(outline.waits.size());
      item.peers_end = static_cast<std::uint32_t>(outline.peers.size());
      outline.items.push_back(item);
      if (exchange && dice.one_in(3)) --step;  // twice the same step
    }
  }
  return outlines;
}

TEST(WalkPrograms, GoesTheWayOfRoundsThatAskEveryRank) {
  std::int64_t finished = 0, stopped = 0;
  for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
    Dice dice(seed);
    const std::vector<PassOutline> outlines = random_outlines(dice);
    std::vector<const PassOutline*> pointers;
    for (const PassOutline& outline : outlines) pointers.push_back(&outline);
    for (const LaneOrder lanes : {LaneOrder::concurrent, LaneOrder::serialised}) {
      std::vector<Visit> visits, stuck;
      for (const StuckInstruction& at : walk_outlines(
               pointers, lanes, [&](std::int32_t r, std::int32_t i) { visits.emplace_back(r, i); })) {
        stuck.emplace_back(at.rank, at.instruction);
      }
      LongWalk expected(outlines, lanes);
      ASSERT_EQ(visits, expected.run()) << "seed " << seed;
      ASSERT_EQ(stuck, expected.stuck()) << "seed " << seed;
      ++(stuck.empty() ? finished : stopped);
    }
  }
  EXPECT_GT(finished, 1'000);
  EXPECT_GT(stopped, 1'000);
}

/// One rank that fills and reads buffers at random places of its arena; every instruction waits for some
/// earlier ones, most for all that used its buffer.
RankProgram random_program(Dice& dice) {
  RankProgram program;
  program.lane_count = dice.small(1, 2);
  const std::int32_t buffers = dice.small(1, 8);
  const bool careful = !dice.one_in(3);
  for (std::int32_t b = 0; b < buffers; ++b) {
    const std::int64_t rows = 64 * dice.number(0, 3);
    program.buffers.push_back({BufferRole::dq_acc,
                               ElementType::f32,
                               rows,
                               {0, 1},
                               1,
                               dice.one_in(8),
                               kArenaAlignment * dice.number(0, 9)});
    program.arena = std::max(
        program.arena, Bytes{program.buffers.back().arena_offset + program.buffers.back().bytes().count});
  }
  for (std::int32_t b = 0; b < buffers; ++b) {
    for (const bool write : {true, false}) {
      Instruction instruction;
      instruction.op = token_work(TokenWorkKind::zero, write ? b : -1, write ? -1 : b);
      instruction.stream = dice.small(0, program.lane_count);
      for (std::int32_t i = 0; i < std::ssize(program.forward); ++i) {
        if (careful ? !dice.one_in(50) : dice.one_in(2)) instruction.wait_for.push_back(i);
      }
      if (dice.one_in(5)) continue;
      program.forward.push_back(std::move(instruction));
    }
  }
  return program;
}

/// Of programs of which every instruction uses one buffer whole: whether two that share bytes may be alive
/// together, by what happens before what.
bool share_while_alive(const RankProgram& program) {
  const auto& list = program.forward;
  std::vector<std::vector<bool>> before(list.size(), std::vector<bool>(list.size()));  // [late][early]
  std::vector<std::vector<std::size_t>> uses(program.buffers.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto include = [&](std::size_t early) {
      before[i][early] = true;
      for (std::size_t e = 0; e < early; ++e) before[i][e] = before[i][e] || before[early][e];
    };
    for (const std::int32_t wait : list[i].wait_for) include(static_cast<std::size_t>(wait));
    for (std::size_t e = 0; e < i; ++e) {
      if (list[e].stream == list[i].stream) include(e);
    }
    const auto& work = std::get<TokenWork>(list[i].op);
    uses[static_cast<std::size_t>(std::max(work.target, work.source))].push_back(i);
  }
  const auto ends_before = [&](std::size_t a, std::size_t b) {
    return std::all_of(uses[a].begin(), uses[a].end(), [&](std::size_t early) {
      return std::all_of(uses[b].begin(), uses[b].end(),
                         [&](std::size_t late) { return before[late][early]; });
    });
  };
  for (std::size_t a = 0; a < uses.size(); ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      const Buffer& first = program.buffers[a];
      const Buffer& second = program.buffers[b];
      const bool apart = first.arena_offset + first.bytes().count <= second.arena_offset ||
                         second.arena_offset + second.bytes().count <= first.arena_offset;
      const bool empty = first.bytes().count == 0 || second.bytes().count == 0;
      const bool unused = (uses[a].empty() && !first.persistent) || (uses[b].empty() && !second.persistent);
      if (apart || empty || unused) continue;
      if (first.persistent || second.persistent || (!ends_before(a, b) && !ends_before(b, a))) return true;
    }
  }
  return false;
}

TEST(VerifyPrograms, FindsSharedBytesExactlyWhereSomePairOfBuffersHasThem) {
  std::int64_t shared = 0, apart = 0;
  for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
    Dice dice(seed);
    const RankProgram program = random_program(dice);
    const std::vector<Violation> violations = verify_programs({program}, "waves[0]");
    const auto has = [&](const char* rule) {
      return std::any_of(violations.begin(), violations.end(),
                         [&](const Violation& violation) { return violation.rule == rule; });
    };
    if (has("unordered")) continue;  // then nobody asks about bytes
    const bool expected = share_while_alive(program);
    ASSERT_EQ(has("arena"), expected) << "seed " << seed;
    ++(expected ? shared : apart);
  }
  EXPECT_GT(shared, 1'000);
  EXPECT_GT(apart, 1'000);
}

TEST(VerifyWave, HandsOnTheBackwardThatIsDerived) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    const test::RandomSchedule schedule = test::random_schedule(seed);
    CommSchedule backward;
    const auto violations =
        verify_wave(schedule.wave, schedule.model, schedule.rank_count, "wave", 1, &backward);
    ASSERT_TRUE(violations.empty()) << "seed " << seed << ": " << violations.front().message;
    ASSERT_TRUE(backward == derive_backward(schedule.wave, schedule.model)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace strata
