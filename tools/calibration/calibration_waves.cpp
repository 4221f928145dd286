// SPDX-License-Identifier: Apache-2.0
#include "tools/calibration/calibration_waves.hpp"

#include <algorithm>

#include "core/base/check.hpp"

namespace strata::tools {

namespace {

constexpr std::int32_t kGatherStep = 0, kReleaseStep = 1, kMeasuredStep = 2;
constexpr std::int32_t kReleased = 1;  ///< the barrier's last instruction

}  // namespace

WaveWriter::WaveWriter(const ModelShape& model, std::int32_t ranks) : model_(model) {
  programs_.resize(static_cast<std::size_t>(ranks));
  placement_.spans.resize(programs_.size());
  for (std::int32_t rank = 0; rank < ranks; ++rank) {
    at(rank).rank = rank;
    at(rank).element_type = model.element_type;
  }
  if (ranks > 1) add_barrier();
}

void WaveWriter::add_barrier() {
  const auto ranks = static_cast<std::int32_t>(programs_.size());
  Exchange gather{kGatherStep, 0, {}, {}}, release{kReleaseStep, 0, {}, {}};
  const std::int32_t told = add_bytes(0, Bytes{kMessageRow} * (ranks - 1), false);
  const std::int32_t word = add_bytes(0, {kMessageRow}, true);
  for (std::int32_t rank = 1; rank < ranks; ++rank) {
    gather.receives.push_back({rank, told, rank - 1, 1});
    release.sends.push_back({rank, word, 0, 1});
    const std::int32_t own = add_bytes(rank, {kMessageRow}, true);
    const std::int32_t heard = add_bytes(rank, {kMessageRow}, false);
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      add(rank, pass, Exchange{kGatherStep, 0, {{0, own, 0, 1}}, {}});
      add(rank, pass, Exchange{kReleaseStep, 0, {}, {{0, heard, 0, 1}}});
    }
  }
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    add(0, pass, gather);
    add(0, pass, release);
  }
}

std::int32_t WaveWriter::add_buffer(std::int32_t rank, BufferRole role, ElementType type, std::int64_t rows,
                                    bool persistent) {
  Buffer buffer;
  buffer.role = role;
  buffer.type = type;
  buffer.rows = rows;
  buffer.heads = {0, counts_kv_heads(role) ? model_.kv_heads : model_.query_heads};
  switch (role) {
    case BufferRole::q:
    case BufferRole::dq:
    case BufferRole::dq_acc:
      buffer.width = model_.head_dim;
      break;
    case BufferRole::o:
    case BufferRole::d_o:
    case BufferRole::o_acc:
      buffer.width = model_.value_head_dim;
      break;
    case BufferRole::kv:
    case BufferRole::dkv:
    case BufferRole::dkv_acc:
      buffer.width = model_.head_dim + model_.value_head_dim;
      break;
    case BufferRole::lse:
    case BufferRole::lse_acc:
    case BufferRole::delta:
    case BufferRole::message:
      buffer.width = 1;
      break;
  }
  buffer.persistent = persistent;
  at(rank).buffers.push_back(buffer);
  return static_cast<std::int32_t>(at(rank).buffers.size()) - 1;
}

std::int32_t WaveWriter::add_bytes(std::int32_t rank, Bytes bytes, bool persistent) {
  STRATA_CHECK(bytes.count % kMessageRow == 0, "{} bytes are no whole rows", bytes.count);
  Buffer buffer;
  buffer.role = BufferRole::dkv_acc;
  buffer.rows = bytes.count / kMessageRow;
  buffer.heads = {0, 1};
  buffer.width = kMessageRow / 4;
  buffer.persistent = persistent;
  at(rank).buffers.push_back(buffer);
  return static_cast<std::int32_t>(at(rank).buffers.size()) - 1;
}

std::int32_t WaveWriter::add(std::int32_t rank, Pass pass, Operation op) {
  std::vector<Instruction>& list = pass == Pass::forward ? at(rank).forward : at(rank).backward;
  Instruction instruction;
  instruction.stream = exchange_of(op) != nullptr ? lane_stream(0) : kComputeStream;
  if (instruction.stream == kComputeStream && programs_.size() > 1) instruction.wait_for = {kReleased};
  instruction.op = std::move(op);
  list.push_back(std::move(instruction));
  return static_cast<std::int32_t>(list.size()) - 1;
}

void WaveWriter::set_inputs(std::int32_t rank, const LocalBuffers& local, std::int64_t rows) {
  at(rank).local = local;
  placement_.spans[static_cast<std::size_t>(rank)] = {{rank, 0, rows}};
}

ExecutableWave WaveWriter::finish() {
  for (RankProgram& program : programs_) place_buffers(program);
  return {std::move(programs_), std::move(placement_)};
}

std::pair<WrittenCase, WrittenCase> write_attention(WaveWriter& wave, const ModelShape& model,
                                                    std::int32_t rank, std::int64_t queries,
                                                    std::int64_t keys, bool causal) {
  const ElementType type = model.element_type;
  LocalBuffers local;
  local.q = wave.add_buffer(rank, BufferRole::q, type, queries, true);
  local.kv = wave.add_buffer(rank, BufferRole::kv, type, queries, true);
  local.d_o = wave.add_buffer(rank, BufferRole::d_o, type, queries, true);
  const std::int32_t kv = wave.add_buffer(rank, BufferRole::kv, type, keys, true);
  const std::int32_t o = wave.add_buffer(rank, BufferRole::o, type, queries, true);
  const std::int32_t lse = wave.add_buffer(rank, BufferRole::lse, ElementType::f32, queries, true);
  const std::int32_t delta = wave.add_buffer(rank, BufferRole::delta, ElementType::f32, queries);
  const std::int32_t dq = wave.add_buffer(rank, BufferRole::dq_acc, ElementType::f32, queries);
  const std::int32_t dkv = wave.add_buffer(rank, BufferRole::dkv_acc, ElementType::f32, keys);
  wave.set_inputs(rank, local, queries);

  AttentionBlock block;
  block.query_count = queries;
  block.key_count = keys;
  block.heads = {0, model.query_heads};
  block.lo = -kUnbounded;
  block.hi = causal ? keys - queries : kUnbounded;
  CopyRows received;
  for (std::int64_t row = 0; row < keys; row += queries) {
    received.copies.push_back({local.kv, kv, 0, row, std::min(queries, keys - row), {0, model.kv_heads}});
  }
  wave.add(rank, Pass::forward, std::move(received));
  const std::int32_t forward =
      wave.add(rank, Pass::forward, Attention{{{local.q, o, lse}}, {{kv}}, {block}, false});
  wave.add(rank, Pass::backward, token_work(TokenWorkKind::delta, delta, local.d_o, o));
  wave.add(rank, Pass::backward, token_work(TokenWorkKind::zero, dq));
  wave.add(rank, Pass::backward, token_work(TokenWorkKind::zero, dkv));
  const std::int32_t backward =
      wave.add(rank, Pass::backward,
               AttentionBackward{{{local.q, o, lse, local.d_o, delta, dq}}, {{kv, dkv}}, {block}});
  return {{Pass::forward, forward}, {Pass::backward, backward}};
}

WrittenRows write_rows(WaveWriter& wave, const ModelShape& model, std::int32_t rank, std::int64_t rows) {
  const ElementType type = model.element_type;
  const auto f32 = [&](BufferRole role) { return wave.add_buffer(rank, role, ElementType::f32, rows); };
  const auto stored = [&](BufferRole role) { return wave.add_buffer(rank, role, type, rows); };
  const auto work = [&](TokenWorkKind kind, std::int32_t target, std::int32_t source = -1,
                        std::int32_t other = -1) {
    return WrittenCase{Pass::forward, wave.add(rank, Pass::forward, token_work(kind, target, source, other))};
  };
  const HeadRange kv_heads{0, model.kv_heads}, query_heads{0, model.query_heads};
  // Cleared as lse, not as lse_acc: parts of equal weight, not empty ones.
  const std::int32_t o_a = f32(BufferRole::o_acc), o_b = f32(BufferRole::o_acc);
  const std::int32_t lse_a = f32(BufferRole::lse), lse_b = f32(BufferRole::lse);
  const std::int32_t dkv_a = f32(BufferRole::dkv_acc), dkv_b = f32(BufferRole::dkv_acc);
  const std::int32_t kv_a = stored(BufferRole::kv), kv_b = stored(BufferRole::kv);
  const std::int32_t o = stored(BufferRole::o), d_o = stored(BufferRole::d_o);
  const std::int32_t lse = f32(BufferRole::lse), delta = f32(BufferRole::delta);
  for (const std::int32_t buffer : {o_b, lse_a, lse_b, dkv_a, dkv_b}) work(TokenWorkKind::zero, buffer);

  WrittenRows written;
  written.zero = work(TokenWorkKind::zero, o_a);
  written.cast = work(TokenWorkKind::cast, kv_a, dkv_a);
  written.copy.instruction = wave.add(rank, Pass::forward, CopyRows{{{kv_a, kv_b, 0, 0, rows, kv_heads}}});
  written.add.instruction =
      wave.add(rank, Pass::forward, AccumulateGradient{{{dkv_b, dkv_a, 0, 0, rows, kv_heads}}});
  written.merge.instruction =
      wave.add(rank, Pass::forward,
               MergePartials{o, lse, {{0, rows, query_heads, {{o_a, lse_a, 0}, {o_b, lse_b, 0}}}}});
  work(TokenWorkKind::cast, d_o, o_a);
  written.delta = work(TokenWorkKind::delta, delta, d_o, o);
  return written;
}

WrittenCase write_all_to_all(WaveWriter& wave, const std::vector<std::int32_t>& ranks, Bytes message) {
  const std::int64_t rows = message.count / WaveWriter::kMessageRow;
  const auto peers = static_cast<std::int64_t>(ranks.size()) - 1;
  WrittenCase written;
  for (const std::int32_t rank : ranks) {
    const std::int32_t out = wave.add_bytes(rank, message * peers, true);
    const std::int32_t in = wave.add_bytes(rank, message * peers, false);
    Exchange exchange{kMeasuredStep, 0, {}, {}};
    std::int64_t row = 0;
    for (const std::int32_t peer : ranks) {
      if (peer == rank) continue;
      exchange.sends.push_back({peer, out, row, rows});
      exchange.receives.push_back({peer, in, row, rows});
      row += rows;
    }
    written.instruction = wave.add(rank, Pass::forward, std::move(exchange));
  }
  return written;
}

std::pair<WrittenCase, WrittenCase> write_pair(WaveWriter& wave, std::int32_t first, std::int32_t second,
                                               Bytes message) {
  const std::int64_t rows = message.count / WaveWriter::kMessageRow;
  WrittenCase one_way, both_ways{Pass::backward, 0};
  for (const std::int32_t rank : {first, second}) {
    const std::int32_t peer = rank == first ? second : first;
    const ExchangePart send{peer, wave.add_bytes(rank, message, true), 0, rows};
    const ExchangePart receive{peer, wave.add_bytes(rank, message, false), 0, rows};
    Exchange single{kMeasuredStep, 0, {}, {}};
    (rank == first ? single.sends : single.receives).push_back(rank == first ? send : receive);
    one_way.instruction = wave.add(rank, Pass::forward, std::move(single));
    both_ways.instruction = wave.add(rank, Pass::backward, Exchange{kMeasuredStep, 0, {send}, {receive}});
  }
  return {one_way, both_ways};
}

}  // namespace strata::tools
