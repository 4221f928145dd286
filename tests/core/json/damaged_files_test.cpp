// SPDX-License-Identifier: Apache-2.0
// Readers under damage: good texts with bytes flipped, removed, inserted, repeated and cut off. A reader must
// answer with an InputError or with a value that writes and reads again; anything else escapes and fails the
// test.
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>

#include "core/json/json_document.hpp"
#include "core/plan/plan_json.hpp"
#include "core/problem/batch_json.hpp"
#include "core/problem/model_json.hpp"
#include "core/problem/topology_json.hpp"
#include "core/program/timeline_json.hpp"
#include "tests/core/json/bad_input.hpp"
#include "tests/core/plan/random_plan.hpp"

namespace strata {
namespace {

/// One to four random edits of `text`.
std::string damaged(std::string text, std::mt19937_64& engine) {
  static constexpr std::string_view kTelling = "0123456789-+.eE\"\\{}[],:truefalsn \n\x00\x80\xff";
  for (std::uint64_t edits = 1 + engine() % 4; edits > 0 && !text.empty(); --edits) {
    const std::size_t at = engine() % text.size();
    const std::size_t length = std::min<std::size_t>(text.size() - at, 1 + engine() % 40);
    switch (engine() % 6) {
      case 0:
        text[at] = static_cast<char>(text[at] ^ (1 << engine() % 8));
        break;
      case 1:
        text[at] = kTelling[engine() % kTelling.size()];
        break;
      case 2:
        text.insert(at, 1, kTelling[engine() % kTelling.size()]);
        break;
      case 3:
        text.erase(at, length);
        break;
      case 4:
        text.insert(at, text.substr(at, length));
        break;
      default:
        text.resize(at);
        break;
    }
  }
  return text;
}

struct Outcome {
  int rejected = 0, accepted = 0;
};

/// `rewrite` reads a text and writes it canonically.
template <typename Rewrite>
Outcome damage(const std::string& good, const Rewrite& rewrite, int rounds) {
  Outcome outcome;
  std::mt19937_64 engine(20240607);
  EXPECT_EQ(rewrite(rewrite(good)), rewrite(good));
  for (int round = 0; round < rounds; ++round) {
    const std::string bad = damaged(good, engine);
    try {
      const std::string once = rewrite(bad);
      EXPECT_EQ(rewrite(once), once) << bad;
      ++outcome.accepted;
    } catch (const InputError& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      ++outcome.rejected;
    }
  }
  // Edits inside numbers and names survive; most others do not. Both must occur, or the test shows nothing.
  EXPECT_GT(outcome.rejected, rounds / 4);
  EXPECT_GT(outcome.accepted, 0);
  return outcome;
}

TEST(DamagedPlan, IsRejectedOrReadsAsAnotherPlan) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    damage(
        to_json(test::random_plan(seed)),
        [](const std::string& text) {
          std::istringstream in(text);
          return to_json(read_plan(in, "p"));
        },
        300);
  }
}

/// A plan as text, or the error.
template <typename Read>
std::string plan_or_error(const Read& read) {
  try {
    return to_json(read());
  } catch (const InputError& error) {
    return error.what();
  }
}

TEST(DamagedPlan, InAFileGivesWhatItGivesInAStream) {
  const std::string path = ::testing::TempDir() + "damaged_plan.json";
  std::int64_t plans = 0, rounds = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    std::mt19937_64 engine(seed);
    const std::string good = to_json(test::random_plan(seed));
    for (int round = 0; round < 150; ++round, ++rounds) {
      const std::string text = round == 0 ? good : damaged(good, engine);
      std::ofstream(path, std::ios::binary) << text;
      const std::string whole = plan_or_error([&] {
        std::istringstream in(text);
        return read_plan(in, path);
      });
      ASSERT_EQ(plan_or_error([&] { return read_plan(path); }), whole) << text;
      if (whole.front() == '{') ++plans;
    }
  }
  EXPECT_GT(plans, 12);
  EXPECT_LT(plans, rounds / 2);
}

TEST(DamagedTopology, IsRejectedOrReadsAsAnotherTopology) {
  damage(
      to_json(named_topology("cpu:3x2")),
      [](const std::string& text) {
        std::istringstream in(text);
        return to_json(read_topology(in, "t"));
      },
      3000);
}

TEST(DamagedModel, IsRejectedOrReadsAsAnotherModel) {
  damage(
      to_json(named_model("tiny")),
      [](const std::string& text) {
        std::istringstream in(text);
        return to_json(read_model(in, "m"));
      },
      3000);
}

TEST(DamagedBatches, AreRejectedOrReadAsOtherBatches) {
  damage(
      "{\"step\":0,\"packs\":[[5,6],[7]]}",
      [](const std::string& text) { return to_json(read_batch(JsonDocument::parse_text(text, "b").root())); },
      3000);
}

TEST(DamagedTimeline, IsRejectedOrReadsAsAnotherTimeline) {
  Timeline timeline{"cpu", "00", 1, 2, 2, 1, 1, true, 0, {}};
  for (std::int32_t i = 0; i < 5; ++i)
    timeline.events.push_back({0, 0, 0, Pass::forward, 0, i, i, i, i + 5, 7, 1e9});
  std::ostringstream good;
  write_timeline(timeline, good);
  damage(
      good.str(),
      [](const std::string& text) {
        std::istringstream in(text);
        std::ostringstream out;
        write_timeline(read_timeline(in, "t"), out);
        return out.str();
      },
      3000);
}

}  // namespace
}  // namespace strata
