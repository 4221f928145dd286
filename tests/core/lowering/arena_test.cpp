// SPDX-License-Identifier: Apache-2.0
// The arena is placed and handed over by a sweep; what comes out must be equal to a comparison of all pairs
// of buffers, on lifetimes and programs that are more varied than schedules make them.
#include "core/lowering/arena.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "core/lowering/lower.hpp"
#include "core/lowering/program_builder.hpp"
#include "tests/core/lowering/all_pairs_arena.hpp"
#include "tests/support/dice.hpp"
#include "tests/support/random_schedules.hpp"
#include "tests/support/test_scale.hpp"

namespace strata {
namespace {

using detail::LastUse;
using detail::Lifetime;
using detail::Waits;

/// Lifetimes that are sorted by first use, and the lists that they refer to.
struct RandomLives {
  std::int32_t streams = 1;
  std::vector<std::int32_t> stream_of;  ///< [instruction]
  std::vector<std::vector<LastUse>> users;
  std::vector<Lifetime> lives;
};

/// How long buffers live, in instructions, and how large they are: the shapes that schedules have, and any.
struct Shape {
  std::int32_t instructions = 1;
  std::int32_t buffers = 0;
  std::int32_t longest = 1;
  std::int64_t largest = 1;   ///< in units of kArenaAlignment; 0 occurs, too
  std::int32_t together = 1;  ///< up to as many neighbours are alike
};

RandomLives random_lives(const Shape& shape, std::uint64_t seed) {
  test::Dice dice(seed);
  RandomLives random;
  random.streams = dice.small(1, 5);
  for (std::int32_t i = 0; i < shape.instructions; ++i) {
    random.stream_of.push_back(dice.small(0, random.streams - 1));
  }
  while (static_cast<std::int32_t>(random.lives.size()) < shape.buffers) {
    const std::int32_t first = dice.small(0, shape.instructions - 1);
    const std::int32_t last = std::min(first + dice.small(0, shape.longest), shape.instructions - 1);
    std::map<std::int32_t, std::int32_t> by_stream;
    for (const std::int32_t user : {first, dice.small(first, last), dice.small(first, last), last}) {
      std::int32_t& latest = by_stream[random.stream_of[static_cast<std::size_t>(user)]];
      latest = std::max(latest, user);
    }
    for (std::int32_t alike = dice.small(1, shape.together); alike > 0; --alike) {
      auto& users = random.users.emplace_back();
      for (const auto& [stream, user] : by_stream) users.push_back({stream, user});
      const std::int64_t bytes = kArenaAlignment * dice.number(0, shape.largest);
      random.lives.push_back({static_cast<std::int32_t>(random.lives.size()), first, last, bytes, 0, {}});
    }
  }
  for (std::size_t i = 0; i < random.lives.size(); ++i) random.lives[i].users = random.users[i];
  std::stable_sort(random.lives.begin(), random.lives.end(),
                   [](const Lifetime& a, const Lifetime& b) { return a.first < b.first; });
  return random;
}

using WaitsByFirst = std::map<std::int32_t, std::vector<std::int32_t>>;

WaitsByFirst swept_handovers(const RandomLives& random) {
  WaitsByFirst waits;
  detail::hand_over_bytes(random.lives, random.streams, [&](std::int32_t first, Waits& former) {
    EXPECT_TRUE(waits.empty() || waits.rbegin()->first < first);
    waits[first] = former.take(-1);
  });
  return waits;
}

WaitsByFirst compared_handovers(const RandomLives& random) {
  WaitsByFirst waits;
  for (const test::Handover& handover : test::hand_over_all_pairs(random.lives)) {
    for (const LastUse& former : handover.former) waits[handover.first].push_back(former.instruction);
    std::sort(waits[handover.first].begin(), waits[handover.first].end());
  }
  return waits;
}

TEST(Arena, PlacesAndHandsOverLikeAComparisonOfAllPairs) {
  std::int64_t handovers = 0, reused = 0;
  for (int i = 0; i < (small_scale() ? 300 : 4000); ++i) {
    test::Dice dice(7, {i});
    const Shape shape{dice.small(1, 60), dice.small(0, 120), dice.small(0, 30), dice.number(0, 12),
                      dice.small(1, 6)};
    RandomLives random = random_lives(shape, dice.next());
    std::vector<Lifetime> expected = random.lives;
    const std::int64_t end = test::place_all_pairs(expected);
    ASSERT_EQ(detail::place_by_first_fit(random.lives), end) << i;
    std::int64_t total = 0;
    for (std::size_t life = 0; life < expected.size(); ++life) {
      ASSERT_EQ(random.lives[life].offset, expected[life].offset) << i << ": " << life;
      total += expected[life].bytes;
    }
    const WaitsByFirst waits = swept_handovers(random);
    ASSERT_EQ(waits, compared_handovers(random)) << i;
    handovers += static_cast<std::int64_t>(waits.size());
    reused += end < total ? 1 : 0;
  }
  EXPECT_GT(handovers, small_scale() ? 2000 : 30000);
  EXPECT_GT(reused, small_scale() ? 200 : 3000);
}

TEST(Arena, PlacesAHundredThousandBuffersApartFromThoseAliveWithThem) {
  // Few live long, most are short and differ in size, so that thousands of gaps are open at any time: a
  // comparison of all pairs does not end here.
  RandomLives random = random_lives({50'000, 100'000, 4'000, 40, 1}, 11);
  const std::int64_t end = detail::place_by_first_fit(random.lives);
  std::vector<std::vector<std::size_t>> ending(50'000);
  std::map<std::int64_t, std::int64_t> taken;
  std::int32_t now = 0;
  for (std::size_t i = 0; i < random.lives.size(); ++i) {
    const Lifetime& life = random.lives[i];
    if (life.bytes == 0) continue;
    for (; now < life.first; ++now) {
      for (const std::size_t over : ending[static_cast<std::size_t>(now)])
        taken.erase(random.lives[over].offset);
    }
    const auto next = taken.lower_bound(life.offset);
    ASSERT_TRUE(next == taken.end() || life.offset + life.bytes <= next->first) << i;
    ASSERT_TRUE(next == taken.begin() || std::prev(next)->second <= life.offset) << i;
    taken.emplace(life.offset, life.offset + life.bytes);
    ending[static_cast<std::size_t>(life.last)].push_back(i);
    ASSERT_LE(life.offset + life.bytes, end);
  }
  EXPECT_GT(swept_handovers(random).size(), 30'000U);
}

/// Any operations on any buffers: what schedules never issue, in an order that they never have.
RankProgram random_program(std::uint64_t seed) {
  test::Dice dice(seed);
  RankProgram program;
  program.lane_count = dice.small(1, 4);
  detail::ProgramBuilder builder(program);
  const std::int64_t largest = dice.number(0, 9);
  const auto add_buffer = [&] {
    builder.add_buffer(BufferRole::q, ElementType::f32, dice.number(0, largest), {0, 2}, dice.small(1, 64),
                       dice.one_in(12));
  };
  add_buffer();
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    builder.begin_pass(pass);
    // Half of the buffers come up once and are used for a while, as in schedules; the rest at any time.
    for (std::int32_t left = dice.small(0, 60); left > 0; --left) {
      for (std::int32_t more = dice.small(0, 4); more > 0; --more) add_buffer();
      const auto buffers = static_cast<std::int32_t>(program.buffers.size());
      const auto buffer = [&] {
        return dice.one_in(4) ? dice.small(0, buffers - 1)
                              : dice.small(std::max(0, buffers - 9), buffers - 1);
      };
      const auto rows = [&](std::int32_t b) { return builder.buffer(b).rows; };
      const std::int32_t stream = dice.small(0, program.lane_count);
      if (dice.one_in(2)) {
        Exchange exchange;
        for (std::int32_t part = dice.small(0, 6); part > 0; --part) {
          const std::int32_t sent = buffer(), received = buffer();
          exchange.sends.push_back({1, sent, 0, rows(sent)});
          exchange.receives.push_back({1, received, 0, rows(received)});
        }
        builder.emit(std::move(exchange), stream);
      } else {
        builder.emit(token_work(TokenWorkKind::delta, buffer(), buffer(), buffer()), stream);
      }
    }
  }
  builder.assign_arena();
  return program;
}

TEST(ProgramBuilder, GivesRandomProgramsThePlacesAndWaitsOfAComparisonOfAllPairs) {
  std::size_t waits = 0;
  for (std::uint64_t seed = 0; seed < (small_scale() ? 200 : 3000); ++seed) {
    const RankProgram program = random_program(seed);
    ASSERT_EQ(program, test::placed_all_pairs(program)) << seed << "\n" << to_text(program);
    for (const Instruction& instruction : program.forward) waits += instruction.wait_for.size();
  }
  EXPECT_GT(waits, small_scale() ? 5'000U : 80'000U);
}

TEST(ProgramBuilder, GivesLoweredSchedulesThePlacesAndWaitsOfAComparisonOfAllPairs) {
  for (std::uint64_t seed = 0; seed < (small_scale() ? 100 : 1500); ++seed) {
    const test::RandomSchedule schedule = test::random_schedule(seed);
    for (const RankProgram& program : lower_wave(schedule.wave, schedule.model)) {
      ASSERT_EQ(program, test::placed_all_pairs(program)) << seed << "\n" << to_text(program);
    }
  }
}

}  // namespace
}  // namespace strata
