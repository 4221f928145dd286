// SPDX-License-Identifier: Apache-2.0
#include "tests/executor/random_batches.hpp"

#include <algorithm>
#include <array>
#include <random>

namespace strata::testing {

namespace {

/// Uniform draws that are the same on every platform.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : engine_(seed) {}
  std::int64_t number(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool one_in(std::int64_t n) { return number(1, n) == 1; }

 private:
  std::mt19937_64 engine_;
};

std::vector<std::int64_t> random_lengths(Draw& draw, std::int64_t ranks, std::int64_t low,
                                         std::int64_t high) {
  constexpr std::array<std::int64_t, 12> kPrimes{2, 3, 5, 7, 13, 31, 61, 67, 127, 131, 251, 257};
  const std::int64_t budget = draw.number(low, high);
  std::vector<std::int64_t> lengths;
  std::int64_t left = budget;
  const auto take = [&](std::int64_t length) {
    lengths.push_back(std::min(length, left));
    left -= lengths.back();
  };
  switch (draw.number(0, 6)) {
    case 0:  // one document
      take(budget);
      break;
    case 1:  // one giant among many tiny ones
      for (std::int64_t tiny = draw.number(1, 20); tiny > 0 && left > 1; --tiny) take(draw.number(1, 3));
      if (left > 0) take(left);
      std::rotate(lengths.begin(), lengths.begin() + draw.number(0, std::ssize(lengths) - 1), lengths.end());
      break;
    case 2:  // single tokens only
      left = std::min<std::int64_t>(left, 40);
      while (left > 0) take(1);
      break;
    case 3:  // fewer tokens than ranks
      left = low == 1 ? std::max<std::int64_t>(1, ranks - draw.number(0, ranks - 1)) : left;
      while (left > 0) take(draw.number(1, std::max<std::int64_t>(1, left)));
      break;
    case 4:  // primes
      while (left > 0) take(kPrimes[static_cast<std::size_t>(draw.number(0, std::ssize(kPrimes) - 1))]);
      break;
    case 5:  // halves
      while (left > 0) take(std::max<std::int64_t>(1, left / 2));
      break;
    default:
      while (left > 0) take(draw.number(1, std::max<std::int64_t>(1, budget / 2)));
  }
  return lengths;
}

}  // namespace

RandomBatch random_batch(std::uint64_t number, BatchSize size) {
  Draw draw(number * 2 + (size == BatchSize::large ? 1 : 0));
  RandomBatch batch;
  batch.seed = number;
  WaveRequest& request = batch.request;
  const bool small = size == BatchSize::small;
  request.rank_count = static_cast<std::int32_t>(draw.number(1, 16));
  request.lengths = small ? random_lengths(draw, request.rank_count, 1, 512)
                          : random_lengths(draw, request.rank_count, 1024, 4096);
  auto document = static_cast<std::int32_t>(draw.number(0, 3));
  for (std::size_t i = 0; i < request.lengths.size(); ++i) request.documents.push_back(document++);

  ModelShape& model = request.model;
  model.kv_heads = static_cast<std::int32_t>(small ? draw.number(1, 3) : 1);
  auto group = static_cast<std::int32_t>(draw.number(1, 8));
  if (!small) group = std::min(group, 2);
  if (model.kv_heads * group > 8) group = 8 / model.kv_heads;
  model.query_heads = model.kv_heads * group;
  // Half of the time as many heads as the ranks divide, so that ulysses takes part on many ranks too.
  if (small && draw.one_in(2)) model.query_heads = model.kv_heads * request.rank_count;
  if (!small && draw.one_in(2)) {
    request.rank_count = draw.one_in(2) ? 2 : 4;
    model.query_heads = 4;
  }
  model.head_dim = static_cast<std::int32_t>(8 * draw.number(1, small ? 3 : 2));
  model.value_head_dim = draw.one_in(6) ? model.head_dim + 8 : model.head_dim;
  model.hidden = model.query_heads * model.head_dim;
  model.ffn = 2 * model.hidden;
  constexpr std::array kTypes{ElementType::f32, ElementType::bf16, ElementType::f32, ElementType::f16};
  model.element_type = kTypes[number % kTypes.size()];
  if (draw.one_in(5)) {
    model.attention = AttentionKind::window;
    model.window = draw.one_in(2) ? draw.number(1, 8) : draw.number(1, 200);
  }
  return batch;
}

PlanOptions random_options(std::uint64_t batch, std::uint64_t strategy) {
  Draw draw(batch * 64 + strategy);
  PlanOptions options;
  options.exchange = draw.one_in(2) ? ExchangeMode::full : ExchangeMode::needed;
  options.kv = draw.one_in(2) ? BackwardKeep::retain : BackwardKeep::refetch;
  options.gradient_return = draw.one_in(2) ? GradientReturn::owner : GradientReturn::reverse_tree;
  return options;
}

}  // namespace strata::testing
