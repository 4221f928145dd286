// SPDX-License-Identifier: Apache-2.0
// Shows that attention over work lists equals the float64 oracle, forward and backward, however the rows and
// heads are scattered and the blocks dealt; and that the bits do not depend on who runs the items in which
// order. Every problem is random, surrounded by NaN, and judged by the project's error figure.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "kernels/cpu_features.hpp"
#include "tests/kernels/attention_problem.hpp"

namespace strata::kernels::test {
namespace {

AttentionShape shape_of(Element element, std::int32_t kv_heads, std::int32_t group, std::int32_t k_dim,
                        std::int32_t v_dim) {
  return {element, kv_heads * group, kv_heads, k_dim, v_dim, 1.0F / std::sqrt(static_cast<float>(k_dim))};
}

/// A shape, documents and a mask drawn from `seed`; `small` keeps the oracle cheap.
ProblemOptions random_options(std::uint32_t seed, std::int64_t longest) {
  std::mt19937 generator(seed);
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(generator);
  };
  const std::int32_t dims[] = {1, 3, 8, 16, 20, 32, 64, 96, 128, 192, 256};
  const auto dim = [&] { return dims[pick(0, 10)]; };
  const Element elements[] = {Element::bf16, Element::f16, Element::f32, Element::f32};
  ProblemOptions options;
  const std::int32_t k_dim = dim();
  options.shape = shape_of(elements[pick(0, 3)], static_cast<std::int32_t>(pick(1, 3)),
                           static_cast<std::int32_t>(pick(1, 8)), k_dim, pick(0, 2) == 0 ? dim() : k_dim);
  const std::int64_t documents = pick(1, 4);
  for (std::int64_t d = 0; d < documents; ++d) {
    options.queries.push_back(pick(0, 3) == 0 ? pick(1, 3) : pick(1, longest));
    options.keys.push_back(pick(0, 2) == 0 ? pick(1, longest) : options.queries.back());
  }
  options.window = std::array<std::int64_t, 4>{0, 0, pick(1, 40), -1}[static_cast<std::size_t>(pick(0, 3))];
  return options;
}

void expect_matches_oracle(const Problem& problem, const std::string& what) {
  EXPECT_LE(problem.forward_error(), problem.tolerance().forward) << what;
  EXPECT_LE(problem.backward_error(), problem.tolerance().backward) << what;
  EXPECT_TRUE(problem.untouched()) << what;
}

/// Restores the best instruction set however a test ends.
struct InstructionSetGuard {
  std::string best = instruction_set();
  ~InstructionSetGuard() { select_instruction_set(best); }
};

TEST(Attention, EqualsTheOracleForRandomMasksShapesAndScatteredPieces) {
  for (std::uint32_t seed = 1; seed <= 150; ++seed) {
    const ProblemOptions options = random_options(seed, 90);
    Problem problem(options, seed);
    problem.run(1, 0);
    expect_matches_oracle(problem, "seed " + std::to_string(seed));
  }
}

TEST(Attention, EqualsTheOracleWhenBlocksAreDealtOverSeveralLaunches) {
  for (std::uint32_t seed = 1001; seed <= 1060; ++seed) {
    const ProblemOptions options = random_options(seed, 90);
    Problem problem(options, seed);
    problem.run(2 + static_cast<int>(seed % 5), 0);
    expect_matches_oracle(problem, "seed " + std::to_string(seed));
  }
}

TEST(Attention, EqualsTheOracleOnEveryInstructionSet) {
  const InstructionSetGuard guard;
  for (const std::string& name : available_instruction_sets()) {
    ASSERT_TRUE(select_instruction_set(name));
    EXPECT_EQ(instruction_set(), name);
    for (std::uint32_t seed = 2001; seed <= 2020; ++seed) {
      const ProblemOptions options = random_options(seed, 60);
      Problem problem(options, seed);
      problem.run(seed % 4 == 0 ? 3 : 1, 0);
      expect_matches_oracle(problem, name + " seed " + std::to_string(seed));
    }
  }
}

TEST(Attention, EqualsTheOracleForTheTunedHeadDimensionsOverManyTiles) {
  for (const std::int32_t dim : {64, 96, 128, 192, 256}) {
    for (const Element element : {Element::f32, Element::bf16, Element::f16}) {
      ProblemOptions options;
      options.shape = shape_of(element, 1, 2, dim, dim);
      options.queries = options.keys = {517, 1, 130};
      options.cut = false;
      Problem problem(options, static_cast<std::uint32_t>(dim));
      problem.run(1, 0);
      expect_matches_oracle(problem, "dim " + std::to_string(dim));
    }
  }
}

TEST(Attention, ContinuesAboveTheWidestChunkOfColumns) {
  ProblemOptions options;
  options.shape = shape_of(Element::f32, 1, 3, 576, 520);
  options.queries = options.keys = {70};
  Problem problem(options, 5);
  problem.run(1, 0);
  expect_matches_oracle(problem, "576/520");
}

TEST(Attention, OneTokenDocumentsCopyTheirValueAndHaveNoScoreGradient) {
  ProblemOptions options;
  options.shape = shape_of(Element::f32, 2, 2, 16, 16);
  options.queries = options.keys = std::vector<std::int64_t>(40, 1);
  options.cut = false;
  Problem problem(options, 3);
  problem.run(1, 0);
  expect_matches_oracle(problem, "one-token documents");
  const KeyArrays& keys = problem.keys[0];
  for (std::int64_t row = 0; row < 40; ++row) {
    for (std::int64_t head = 0; head < 4; ++head) {
      for (std::int64_t c = 0; c < 16; ++c) {
        EXPECT_EQ(problem.queries[0].out.get((row * 4 + head) * 16 + c),
                  keys.kv.get((row * 2 + head / 2) * 32 + 16 + c));
      }
    }
  }
}

TEST(Attention, StaysAccurateWhenScoresReachTensOfThousands) {
  // q and k of one dimension, small integers: scores are exact in fp32, so only the softmax itself is on
  // trial.
  for (const double offset : {1e4, -1e4}) {
    AttentionShape shape = shape_of(Element::f32, 1, 1, 1, 4);
    std::vector<float> q(70, 1.0F), kv, out(280), lse(70);
    std::vector<double> k, v;
    for (int j = 0; j < 70; ++j) {
      k.push_back(offset + j % 3);
      kv.push_back(static_cast<float>(k.back()));
      for (int c = 0; c < 4; ++c) {
        v.push_back((j * 7 + c * 3) % 11 - 5);
        kv.push_back(static_cast<float>(v.back()));
      }
    }
    const std::vector<double> ones(70, 1.0);
    const ReferenceInput input{70, 70, 1, 1, 1, 4, 1.0, ones, k, v, {}};
    const ReferenceOutput expected = reference_forward(input, causal_mask(70, 70));
    AttentionBlock block;
    block.query_count = block.key_count = 70;
    block.head_end = 1;
    block.hi = 0;
    const AttentionWork work = build_forward_work(shape, {&block, 1}, OutputMode::write);
    const QueryRows queries{q.data(), out.data(), lse.data(), nullptr, nullptr, nullptr, 70, 0, 1};
    const KeyRows keys{kv.data(), nullptr, 70, 0, 1};
    Scratch scratch(shape);
    for (std::int64_t i = 0; i < item_count(work); ++i)
      run_item(work, {{&queries, 1}, {&keys, 1}}, i, scratch);
    for (std::size_t i = 0; i < lse.size(); ++i) EXPECT_NEAR(lse[i] / expected.lse[i], 1.0, 3e-7) << i;
    // Scores enter the exponential in base 2: their product with log2(e) rounds at 1e4, an error of 1e-3 at
    // most.
    for (std::size_t i = 0; i < out.size(); ++i) EXPECT_NEAR(out[i], expected.out[i], 5e-3) << i;
  }
}

TEST(Attention, RowsWithoutAnyKeyAreZeroOrUnchanged) {
  AttentionShape shape = shape_of(Element::f32, 1, 1, 8, 8);
  std::vector<float> q(10 * 8, 1.0F), kv(10 * 16, 1.0F);
  AttentionBlock block;
  block.query_count = block.key_count = 10;
  block.head_end = 1;
  block.hi = -4;  // query i sees keys up to i - 4: the first four see nothing
  for (const OutputMode mode : {OutputMode::write, OutputMode::merge}) {
    std::vector<float> out(80, 7.0F), lse(10, 3.0F);
    const AttentionWork work = build_forward_work(shape, {&block, 1}, mode);
    const QueryRows queries{q.data(), out.data(), lse.data(), nullptr, nullptr, nullptr, 10, 0, 1};
    const KeyRows keys{kv.data(), nullptr, 10, 0, 1};
    Scratch scratch(shape);
    for (std::int64_t i = 0; i < item_count(work); ++i)
      run_item(work, {{&queries, 1}, {&keys, 1}}, i, scratch);
    for (std::size_t row = 0; row < 4; ++row) {
      EXPECT_EQ(lse[row], mode == OutputMode::write ? -INFINITY : 3.0F);
      for (std::size_t c = 0; c < 8; ++c)
        EXPECT_EQ(out[row * 8 + c], mode == OutputMode::write ? 0.0F : 7.0F);
    }
    for (std::size_t row = 4; row < 10; ++row) EXPECT_TRUE(std::isfinite(lse[row]));
  }
}

TEST(Attention, APoisonedKeyThatIsSeenShowsInTheResult) {
  ProblemOptions options;
  options.shape = shape_of(Element::f32, 1, 2, 16, 16);
  options.queries = options.keys = {50};
  Problem problem(options, 9);
  const Piece piece = problem.documents[0].key_pieces[0];
  problem.keys[static_cast<std::size_t>(piece.source)].kv.set(
      piece.place * problem.keys[static_cast<std::size_t>(piece.source)].head_count * 32, NAN);
  problem.run(1, 0);
  EXPECT_TRUE(std::isnan(problem.forward_error()));
  EXPECT_TRUE(std::isnan(problem.backward_error()));
}

TEST(Attention, GivesTheSameBitsForEveryItemOrderAndThreadCount) {
  for (std::uint32_t seed = 3001; seed <= 3008; ++seed) {
    Problem problem(random_options(seed, 150), seed);
    problem.run(1, 0);
    const std::vector<Tensor> first = problem.results();
    for (std::uint32_t order = 1; order <= 5; ++order) {
      problem.run(1, order);
      EXPECT_TRUE(problem.results() == first) << "seed " << seed << " order " << order;
    }
    for (const int threads : {2, 4}) {
      problem.run_threaded(threads);
      EXPECT_TRUE(problem.results() == first) << "seed " << seed << " threads " << threads;
    }
  }
}

}  // namespace
}  // namespace strata::kernels::test
