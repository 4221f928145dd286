// SPDX-License-Identifier: Apache-2.0
#include "tests/support/hand_built_waves.hpp"

#include <numeric>

#include "core/schedule/backward_schedule.hpp"

namespace strata::test {

namespace {

constexpr HeadRange kQueryHeads{0, 4};
constexpr HeadRange kKvHeads{0, 2};

TokenSpan rows(std::int64_t begin, std::int64_t end) { return {0, begin, end}; }

/// Document 0 cut into `ranks` equal pieces.
Wave contiguous(std::int32_t ranks, std::int64_t tokens_each, std::size_t steps) {
  Wave wave;
  wave.documents = {0};
  wave.lengths = {ranks * tokens_each};
  GroupLayout group{{}, {{"ring", ranks}}, {0}};
  group.ranks.resize(static_cast<std::size_t>(ranks));
  std::iota(group.ranks.begin(), group.ranks.end(), 0);
  wave.groups = {group};
  for (std::int32_t rank = 0; rank < ranks; ++rank) {
    wave.placement.spans.push_back({rows(rank * tokens_each, (rank + 1) * tokens_each)});
  }
  wave.schedule.steps.resize(steps);
  return wave;
}

void compute_own_keys(Wave& wave) {
  for (std::int32_t rank = 0; rank < wave.placement.rank_count(); ++rank) {
    const TokenSpan own = wave.placement.spans[static_cast<std::size_t>(rank)].front();
    wave.schedule.steps[0].tasks.push_back({rank, own, own, kQueryHeads});
  }
}

}  // namespace

ModelShape hand_built_model() {
  ModelShape model = named_model("tiny");
  model.query_heads = kQueryHeads.end;
  model.kv_heads = kKvHeads.end;
  return model;
}

Wave multicast_wave() {
  Wave wave = contiguous(3, 4, 2);
  compute_own_keys(wave);
  wave.schedule.steps[0].transfers = {
      {0, {{1, 3}}, TensorKind::kv, rows(0, 4), kKvHeads, 0, 1},
      {1, {{2, 3}}, TensorKind::kv, rows(4, 8), kKvHeads, 0, 1},
  };
  wave.schedule.steps[1].tasks = {
      {1, rows(4, 8), rows(0, 4), kQueryHeads},
      {2, rows(8, 12), rows(0, 8), kQueryHeads},
  };
  return wave;
}

Wave relay_wave() {
  Wave wave = contiguous(3, 4, 3);
  compute_own_keys(wave);
  wave.schedule.steps[0].transfers = {
      {0, {{1, 2}}, TensorKind::kv, rows(0, 4), kKvHeads, 0, 1},
      {1, {{2, 3}}, TensorKind::kv, rows(4, 8), kKvHeads, 0, 1},
  };
  wave.schedule.steps[1].transfers = {{1, {{2, 3}}, TensorKind::kv, rows(0, 4), kKvHeads, 0, 2}};
  wave.schedule.steps[1].tasks = {
      {1, rows(4, 8), rows(0, 4), kQueryHeads},
      {2, rows(8, 12), rows(4, 8), kQueryHeads},
  };
  wave.schedule.steps[2].tasks = {{2, rows(8, 12), rows(0, 4), kQueryHeads}};
  wave.backward.gradient_return = GradientReturn::reverse_tree;
  return wave;
}

Wave head_split_wave() {
  Wave wave = contiguous(2, 6, 3);
  wave.groups[0].dims[0].name = "ulysses";
  wave.schedule.steps[0].collective = CollectiveKind::all_to_all;
  wave.schedule.steps[0].transfers = {
      {0, {{1, 2}}, TensorKind::q, rows(0, 6), {2, 4}, 0, 1},
      {1, {{0, 1}}, TensorKind::q, rows(6, 12), {0, 2}, 0, 1},
      {0, {{1, 2}}, TensorKind::kv, rows(0, 6), {1, 2}, 0, 1},
      {1, {{0, 1}}, TensorKind::kv, rows(6, 12), {0, 1}, 0, 1},
  };
  wave.schedule.steps[1].tasks = {
      {0, rows(0, 12), rows(0, 12), {0, 2}},
      {1, rows(0, 12), rows(0, 12), {2, 4}},
  };
  wave.schedule.steps[2].transfers = {
      {1, {{0, 1}}, TensorKind::o, rows(0, 6), {2, 4}, 0, 3},
      {0, {{1, 2}}, TensorKind::o, rows(6, 12), {0, 2}, 0, 3},
  };
  return wave;
}

Wave travelling_query_wave() {
  Wave wave = contiguous(2, 4, 3);
  compute_own_keys(wave);
  wave.schedule.steps[0].transfers = {{1, {{0, 1}}, TensorKind::q, rows(4, 8), kQueryHeads, 0, 1}};
  wave.schedule.steps[1].tasks = {{0, rows(4, 8), rows(0, 4), kQueryHeads}};
  wave.schedule.steps[2].transfers = {{0, {{1, 2}}, TensorKind::o_part, rows(4, 8), kQueryHeads, 0, 3}};
  return wave;
}

Wave relayed_query_wave() {
  Wave wave = contiguous(3, 4, 4);
  compute_own_keys(wave);
  wave.schedule.steps[0].transfers = {
      {2, {{1, 2}}, TensorKind::q, rows(8, 12), kQueryHeads, 0, 1},
      {0, {{1, 2}}, TensorKind::kv, rows(0, 4), kKvHeads, 0, 1},
      {1, {{2, 3}}, TensorKind::kv, rows(4, 8), kKvHeads, 0, 1},
  };
  wave.schedule.steps[1].transfers = {{1, {{0, 1}}, TensorKind::q, rows(8, 12), kQueryHeads, 0, 2}};
  wave.schedule.steps[1].tasks = {
      {1, rows(4, 8), rows(0, 4), kQueryHeads},
      {2, rows(8, 12), rows(4, 8), kQueryHeads},
  };
  wave.schedule.steps[2].tasks = {{0, rows(8, 12), rows(0, 4), kQueryHeads}};
  wave.schedule.steps[3].transfers = {{0, {{2, 3}}, TensorKind::o_part, rows(8, 12), kQueryHeads, 0, 4}};
  return wave;
}

Wave mixed_slice_wave() {
  Wave wave = contiguous(3, 4, 3);
  wave.lengths = {16};
  wave.placement.spans = {{rows(4, 8)}, {rows(0, 4), rows(12, 16)}, {rows(8, 12)}};
  wave.schedule.steps[0].transfers = {
      {1, {{0, 1}}, TensorKind::kv, rows(0, 4), kKvHeads, 0, 1},
      {0, {{1, 2}}, TensorKind::kv, rows(4, 8), kKvHeads, 0, 1},
      {2, {{1, 2}}, TensorKind::kv, rows(8, 12), kKvHeads, 0, 1},
  };
  wave.schedule.steps[0].tasks = {
      {0, rows(4, 8), rows(4, 8), kQueryHeads},   {1, rows(0, 4), rows(0, 4), kQueryHeads},
      {1, rows(12, 16), rows(0, 4), kQueryHeads}, {1, rows(12, 16), rows(12, 16), kQueryHeads},
      {2, rows(8, 12), rows(8, 12), kQueryHeads},
  };
  wave.schedule.steps[1].transfers = {{1, {{2, 3}}, TensorKind::kv, rows(0, 8), kKvHeads, 0, 2}};
  wave.schedule.steps[1].tasks = {
      {0, rows(4, 8), rows(0, 4), kQueryHeads},
      {1, rows(12, 16), rows(4, 12), kQueryHeads},
  };
  wave.schedule.steps[2].tasks = {{2, rows(8, 12), rows(0, 8), kQueryHeads}};
  wave.backward.gradient_return = GradientReturn::reverse_tree;
  return wave;
}

Wave with_explicit_backward(Wave wave, const ModelShape& model) {
  wave.backward.steps = derive_backward(wave, model).steps;
  wave.backward.gradient_return = GradientReturn::explicit_steps;
  return wave;
}

}  // namespace strata::test
