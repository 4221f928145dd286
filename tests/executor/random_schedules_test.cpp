// SPDX-License-Identifier: Apache-2.0
// Random schedules of any legal form, and damaged ones: what lint accepts computes what one device would, and
// nothing ends in an internal error.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <map>

#include "tests/executor/schedule_trial.hpp"
#include "tests/support/dice.hpp"
#include "tests/support/schedule_kinds.hpp"
#include "tests/support/test_scale.hpp"

namespace strata::test {
namespace {

constexpr std::uint64_t kSmall = 200, kPlain = 2'000, kFull = 40'000;

std::uint64_t wave_count() { return small_scale() ? kSmall : full_scale() ? kFull : kPlain; }

struct Tally {
  std::uint64_t right = 0, refused = 0;
  std::map<std::string, std::uint64_t> rules, kinds;

  void add(const RandomSchedule& schedule, const Trial& trial) {
    if (trial.verdict == Verdict::refused) {
      ++refused;
      ++rules[trial.rule];
    } else {
      ++right;
      for (const std::string& kind : kinds_of(schedule)) ++kinds[kind];
    }
  }

  void print(const char* name) const {
    std::printf("%s: %llu accepted and right, %llu refused\n", name, static_cast<unsigned long long>(right),
                static_cast<unsigned long long>(refused));
    for (const auto* counts : {&rules, &kinds}) {
      for (const auto& [what, count] : *counts) {
        std::printf("  %-45s %8llu\n", what.c_str(), static_cast<unsigned long long>(count));
      }
    }
  }
};

TEST(RandomSchedules, ThatAreRightAreAcceptedAndComputeWhatOneDeviceWould) {
  Tally tally;
  for (std::uint64_t seed = 0; seed < wave_count(); ++seed) {
    const RandomSchedule schedule = random_schedule(seed);
    const Trial trial = try_schedule(schedule, seed);
    ASSERT_EQ(trial.verdict, Verdict::right) << "schedule " << seed << ": " << trial.what;
    tally.add(schedule, trial);
  }
  tally.print("random schedules");
  const std::uint64_t least = wave_count() / 100;
  for (const std::string& kind : all_kinds()) {
    EXPECT_GE(tally.kinds[kind], least) << kind << " hardly ever occurs";
  }
  EXPECT_EQ(tally.kinds.size(), all_kinds().size()) << "a kind that the list does not know";
}

TEST(RandomSchedules, ThatWereDamagedAreRefusedOrStillRight) {
  Tally tally;
  for (std::uint64_t seed = 0; seed < wave_count(); ++seed) {
    RandomSchedule schedule = random_schedule(seed);
    damage(schedule, seed);
    const Trial trial = try_schedule(schedule, seed);
    ASSERT_NE(trial.verdict, Verdict::wrong) << "damaged schedule " << seed << ": " << trial.what;
    tally.add(schedule, trial);
  }
  tally.print("damaged schedules");
  EXPECT_GE(20 * tally.right, wave_count()) << "damage hardly ever leaves a right schedule";
  EXPECT_GE(2 * tally.refused, wave_count()) << "damage hardly ever breaks a schedule";
  EXPECT_GE(tally.rules.size(), 12U) << "damage breaks few rules";
}

}  // namespace
}  // namespace strata::test
