// SPDX-License-Identifier: Apache-2.0
#include "tests/executor/hand_programs.hpp"

namespace strata::testing {

namespace {

/// Buffer numbers, the same on both ranks; those from `kv_in` on are scratch.
constexpr std::int32_t kQ = 0, kKv = 1, kO = 2, kLse = 3, kDo = 4, kDq = 5, kDkv = 6, kKvIn = 7, kOAcc = 8,
                       kLseAcc = 9, kDelta = 10, kDqAcc = 11, kDkvAcc = 12, kDkvOther = 13;

class Writer {
 public:
  Writer(const ModelShape& model, std::int32_t rank, std::int64_t rows, std::int64_t other_rows)
      : model_(model) {
    program_.rank = rank;
    program_.element_type = model.element_type;
    program_.local = {kQ, kKv, kO, kLse, kDo, kDq, kDkv};
    const ElementType type = model.element_type;
    const std::int32_t k = model.head_dim, v = model.value_head_dim;
    add(BufferRole::q, type, rows, k, true);
    add(BufferRole::kv, type, rows, k + v, true);
    add(BufferRole::o, type, rows, v, true);
    add(BufferRole::lse, ElementType::f32, rows, 1, true);
    add(BufferRole::d_o, type, rows, v, true);
    add(BufferRole::dq, type, rows, k, true);
    add(BufferRole::dkv, type, rows, k + v, true);
    add(BufferRole::kv, type, other_rows, k + v, false);
    add(BufferRole::o_acc, ElementType::f32, rows, v, false);
    add(BufferRole::lse_acc, ElementType::f32, rows, 1, false);
    add(BufferRole::delta, ElementType::f32, rows, 1, false);
    add(BufferRole::dq_acc, ElementType::f32, rows, k, false);
    add(BufferRole::dkv_acc, ElementType::f32, rows, k + v, false);
    add(BufferRole::dkv, ElementType::f32, rank == 0 ? rows : other_rows, k + v, false);
  }

  void forward(Operation op, std::int32_t stream = kComputeStream, std::vector<std::int32_t> wait_for = {}) {
    program_.forward.push_back({std::move(op), stream, std::move(wait_for)});
  }
  void backward(Operation op, std::int32_t stream = kComputeStream, std::vector<std::int32_t> wait_for = {}) {
    program_.backward.push_back({std::move(op), stream, std::move(wait_for)});
  }
  RankProgram finish() {
    place_buffers(program_);
    return program_;
  }

  static Operation zero(std::int32_t target) { return token_work(TokenWorkKind::zero, target); }
  static Operation cast(std::int32_t target, std::int32_t source) {
    return token_work(TokenWorkKind::cast, target, source);
  }
  static Operation delta() { return token_work(TokenWorkKind::delta, kDelta, kDo, kO); }
  static Operation linear() { return token_work(TokenWorkKind::linear, -1); }

  static Operation send(std::int32_t step, std::int32_t peer, std::int32_t buffer, std::int64_t rows) {
    return Exchange{step, 0, {{peer, buffer, 0, rows}}, {}};
  }
  static Operation receive(std::int32_t step, std::int32_t peer, std::int32_t buffer, std::int64_t rows) {
    return Exchange{step, 0, {}, {{peer, buffer, 0, rows}}};
  }

 private:
  void add(BufferRole role, ElementType type, std::int64_t rows, std::int32_t width, bool persistent) {
    Buffer buffer;
    buffer.role = role;
    buffer.type = type;
    buffer.rows = rows;
    buffer.heads = {0, counts_kv_heads(role) ? model_.kv_heads : model_.query_heads};
    buffer.width = width;
    buffer.persistent = persistent;
    program_.buffers.push_back(buffer);
  }
  const ModelShape& model_;
  RankProgram program_;
};

AttentionBlock block(const ModelShape& model, std::int64_t queries, std::int64_t keys,
                     std::int32_t key_source, bool causal) {
  AttentionBlock result;
  result.key_source = key_source;
  result.query_count = queries;
  result.key_count = keys;
  result.heads = {0, model.query_heads};
  result.lo = -kUnbounded;
  result.hi = causal ? 0 : kUnbounded;
  return result;
}

RankProgram first_rank(const ModelShape& model, const TwoRankOptions& options) {
  const std::int64_t rows = options.first_rows;
  const std::int64_t sent = rows - options.unsent_rows;
  Writer writer(model, 0, rows, options.second_rows);
  writer.forward(Writer::send(0, 1, kKv, sent), lane_stream(0));
  writer.forward(Attention{{{kQ, kO, kLse}}, {{kKv}}, {block(model, rows, rows, 0, true)}, false});
  writer.forward(Writer::linear());

  writer.backward(Writer::send(0, 1, kKv, sent), lane_stream(0));
  writer.backward(Writer::delta());
  writer.backward(Writer::zero(kDqAcc));
  writer.backward(Writer::zero(kDkvAcc));
  writer.backward(AttentionBackward{
      {{kQ, kO, kLse, kDo, kDelta, kDqAcc}}, {{kKv, kDkvAcc}}, {block(model, rows, rows, 0, true)}});
  writer.backward(Writer::receive(1, 1, kDkvOther, rows), lane_stream(0));
  writer.backward(AccumulateGradient{{{kDkvOther, kDkvAcc, 0, 0, rows, {0, model.kv_heads}}}}, kComputeStream,
                  {5});
  writer.backward(Writer::cast(kDq, kDqAcc));
  writer.backward(Writer::cast(kDkv, kDkvAcc));
  return writer.finish();
}

RankProgram second_rank(const ModelShape& model, const TwoRankOptions& options) {
  const std::int64_t rows = options.second_rows;
  const std::int64_t other = options.first_rows;
  const std::int64_t sent = other - options.unsent_rows;
  Writer writer(model, 1, rows, other);
  writer.forward(Writer::receive(0, 0, kKvIn, sent), lane_stream(0));
  writer.forward(Writer::zero(kOAcc));
  writer.forward(Writer::zero(kLseAcc));
  writer.forward(Attention{{{kQ, kOAcc, kLseAcc}}, {{kKv}}, {block(model, rows, rows, 0, true)}, true});
  writer.forward(Attention{{{kQ, kOAcc, kLseAcc}}, {{kKvIn}}, {block(model, rows, other, 0, false)}, true},
                 kComputeStream, {0});
  writer.forward(MergePartials{kO, kLse, {{0, rows, {0, model.query_heads}, {{kOAcc, kLseAcc, 0}}}}});
  writer.forward(Writer::linear());

  writer.backward(Writer::receive(0, 0, kKvIn, sent), lane_stream(0));
  writer.backward(Writer::delta());
  writer.backward(Writer::zero(kDqAcc));
  writer.backward(Writer::zero(kDkvAcc));
  writer.backward(Writer::zero(kDkvOther));
  writer.backward(AttentionBackward{{{kQ, kO, kLse, kDo, kDelta, kDqAcc}},
                                    {{kKv, kDkvAcc}, {kKvIn, kDkvOther}},
                                    {block(model, rows, rows, 0, true), block(model, rows, other, 1, false)}},
                  kComputeStream, {0});
  writer.backward(Writer::send(1, 0, kDkvOther, other), lane_stream(0), {5});
  writer.backward(Writer::cast(kDq, kDqAcc));
  writer.backward(Writer::cast(kDkv, kDkvAcc));
  return writer.finish();
}

}  // namespace

ModelShape hand_model(ElementType type) {
  ModelShape model;
  model.hidden = 64;
  model.ffn = 128;
  model.query_heads = 4;
  model.kv_heads = 2;
  model.head_dim = 16;
  model.value_head_dim = 16;
  model.element_type = type;
  return model;
}

ExecutableWave two_rank_wave(const ModelShape& model, const TwoRankOptions& options) {
  const std::int64_t middle = options.first_rows, end = middle + options.second_rows;
  SequenceLayout placement;
  placement.spans = {{{options.document, 0, middle}}, {{options.document, middle, end}}};
  return {{first_rank(model, options), second_rank(model, options)}, placement};
}

Execution two_rank_execution(ElementType type, const TwoRankOptions& options) {
  Execution execution;
  execution.model = hand_model(type);
  execution.waves.push_back(two_rank_wave(execution.model, options));
  return execution;
}

Execution execution_that_waits_in_a_circle() {
  Execution execution = two_rank_execution(ElementType::f32);
  for (RankProgram& program : execution.waves.front().programs) {
    const std::int32_t peer = 1 - program.rank;
    program.forward.insert(program.forward.begin(),
                           {{Exchange{0, 0, {}, {{peer, 3, 0, 1}}}, lane_stream(0), {}},
                            {Exchange{1, 0, {{peer, 3, 0, 1}}, {}}, lane_stream(0), {}}});
    for (std::size_t i = 2; i < program.forward.size(); ++i) {
      for (std::int32_t& wait : program.forward[i].wait_for) wait += 2;
    }
  }
  return execution;
}

}  // namespace strata::testing
