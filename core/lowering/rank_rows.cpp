// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/rank_rows.hpp"

#include "core/base/check.hpp"

namespace strata::detail {

RankRows::RankRows(const Wave& wave, const ModelShape& model, std::int32_t rank, std::int32_t lane_count)
    : wave_(wave), model_(model), local_rows_(wave.placement.token_count(rank)), builder_(program_) {
  program_.rank = rank;
  program_.element_type = model.element_type;
  program_.lane_count = lane_count;
}

void RankRows::begin_forward(bool accumulate) {
  accumulate_ = accumulate;
  builder_.begin_pass(Pass::forward);
  const ElementType element = model_.element_type;
  const std::int32_t kv_width = model_.head_dim + model_.value_head_dim;
  LocalBuffers& local = program_.local;
  const auto add = [&](BufferRole role, ElementType type, HeadRange heads, std::int32_t width) {
    return builder_.add_buffer(role, type, local_rows_, heads, width, true);
  };
  local.q = add(BufferRole::q, element, query_heads(), model_.head_dim);
  local.kv = add(BufferRole::kv, element, kv_heads(), kv_width);
  local.o = add(BufferRole::o, element, query_heads(), model_.value_head_dim);
  local.lse = add(BufferRole::lse, ElementType::f32, query_heads(), 1);
  local.d_o = add(BufferRole::d_o, element, query_heads(), model_.value_head_dim);
  local.dq = add(BufferRole::dq, element, query_heads(), model_.head_dim);
  local.dkv = add(BufferRole::dkv, element, kv_heads(), kv_width);
  std::int64_t row = 0;
  for (const TokenSpan& span : wave_.placement.spans[static_cast<std::size_t>(rank())]) {
    own_.add(query_heads(), span, 0, row);
    keys_.add(kv_heads(), span, 0, row);
    row += span.length();
  }
  own_.seal();
  keys_.seal();
  queries_ = own_;
  QueryBuffers own{local.q, local.o, local.lse, -1, -1, -1};
  if (accumulate_) {
    own.out = add_scratch(BufferRole::o_acc, ElementType::f32, buffer(local.q), model_.value_head_dim);
    own.lse = add_scratch(BufferRole::lse_acc, ElementType::f32, buffer(local.q), 1);
    emit_zero(own.out);
    emit_zero(own.lse);
  }
  query_groups_.push_back(own);
  key_groups_.push_back({local.kv, -1});
}

void RankRows::begin_backward() {
  in_backward_ = true;
  builder_.begin_pass(Pass::backward);
  const LocalBuffers& local = program_.local;
  if (wave_.backward.kv == BackwardKeep::refetch) {
    queries_ = own_;
    keys_ = {};
    std::int64_t row = 0;
    for (const TokenSpan& span : wave_.placement.spans[static_cast<std::size_t>(rank())]) {
      keys_.add(kv_heads(), span, 0, row);
      row += span.length();
    }
    keys_.seal();
  }
  output_gradients_ = own_;
  const bool cast = model_.element_type != ElementType::f32;
  const auto accumulator = [&](BufferRole role, std::int32_t result) {
    if (!cast) return result;
    const Buffer like = buffer(result);
    return add_scratch(role, ElementType::f32, like, like.width);
  };
  const std::int32_t dq = accumulator(BufferRole::dq_acc, local.dq);
  const std::int32_t dkv = accumulator(BufferRole::dkv_acc, local.dkv);
  const std::int32_t delta = add_scratch(BufferRole::delta, ElementType::f32, buffer(local.q), 1);
  for (QueryBuffers& group : query_groups_) group = {group.q, -1, -1, -1, -1, -1};
  query_groups_[0] = {local.q, -1, local.lse, local.d_o, delta, dq};
  key_groups_[0].dkv = dkv;
}

RankProgram RankRows::finish() {
  builder_.assign_arena();
  return std::move(program_);
}

std::int32_t RankRows::add_group(TensorKind tensor, const BufferList& buffers) {
  const auto& index = buffers.index;
  if (tensor == TensorKind::kv) {
    key_groups_.push_back({index[0], -1});
    return static_cast<std::int32_t>(key_groups_.size()) - 1;
  }
  QueryBuffers group;
  if (tensor == TensorKind::d_o) {
    group.d_o = index[0];
    group.lse = index[1];
    group.delta = index[2];
  } else {
    group.q = index[0];
  }
  query_groups_.push_back(group);
  return static_cast<std::int32_t>(query_groups_.size()) - 1;
}

BufferList RankRows::buffers_of(TensorKind tensor, std::int32_t group) const {
  if (counts_kv_heads(tensor)) {
    const KeyBuffers& key = key_group(group);
    return {{tensor == TensorKind::kv ? key.kv : key.dkv}, 1};
  }
  const QueryBuffers& query = query_group(group);
  switch (tensor) {
    case TensorKind::q:
      return {{query.q}, 1};
    case TensorKind::o:
    case TensorKind::o_part:
      return {{query.out, query.lse}, 2};
    case TensorKind::d_o:
      return {{query.d_o, query.lse, query.delta}, 3};
    case TensorKind::dq:
      return {{query.dq}, 1};
    case TensorKind::kv:
    case TensorKind::dkv:
      break;
  }
  STRATA_CHECK(false, "tensor kind {} cannot be sent", static_cast<int>(tensor));
}

BufferList RankRows::add_wire_buffers(TensorKind tensor, std::int64_t rows, HeadRange heads,
                                      bool persistent) {
  BufferList list;
  for (const WireBuffer& wire : wire_buffers(tensor, model_)) {
    list.index[list.count++] = builder_.add_buffer(wire.role, wire.type, rows, heads, wire.width, persistent);
  }
  return list;
}

const HeldRows& RankRows::held(TensorKind tensor) const {
  if (tensor == TensorKind::d_o) return output_gradients_;
  return counts_kv_heads(tensor) ? keys_ : queries_;
}

void RankRows::hold_from_next_step(TensorKind tensor, HeadRange heads, const HeldRun& run) {
  PlacedRows* last = arrived_.empty() ? nullptr : &arrived_.back();
  if (last != nullptr && last->tensor == tensor && last->heads == heads && last->run.continues_in(run)) {
    last->run.span.end = run.span.end;
  } else {
    arrived_.push_back({tensor, heads, run});
  }
}

void RankRows::end_step() {
  for (const PlacedRows& rows : arrived_) {
    HeldRows& held = rows.tensor == TensorKind::kv  ? keys_
                     : rows.tensor == TensorKind::q ? queries_
                                                    : output_gradients_;
    held.add(rows.heads, rows.run.span, rows.run.group, rows.run.row);
  }
  if (arrived_.empty()) return;
  arrived_.clear();
  queries_.seal();
  keys_.seal();
  output_gradients_.seal();
}

std::int32_t RankRows::add_scratch(BufferRole role, ElementType type, const Buffer& like,
                                   std::int32_t width) {
  return builder_.add_buffer(role, type, like.rows, like.heads, width, false);
}

void RankRows::create_query_results(std::int32_t group) {
  QueryBuffers& buffers = query_groups_[static_cast<std::size_t>(group)];
  if (buffers.out >= 0) return;
  const Buffer q = buffer(buffers.q);
  buffers.out = add_scratch(accumulate_ ? BufferRole::o_acc : BufferRole::o,
                            accumulate_ ? ElementType::f32 : model_.element_type, q, model_.value_head_dim);
  buffers.lse = add_scratch(accumulate_ ? BufferRole::lse_acc : BufferRole::lse, ElementType::f32, q, 1);
  if (!accumulate_) return;
  emit_zero(buffers.out);
  emit_zero(buffers.lse);
}

void RankRows::create_query_gradient(std::int32_t group) {
  QueryBuffers& buffers = query_groups_[static_cast<std::size_t>(group)];
  if (buffers.d_o >= 0) return;
  const Buffer q = buffer(buffers.q);
  buffers.d_o = add_scratch(BufferRole::d_o, model_.element_type, q, model_.value_head_dim);
  buffers.lse = add_scratch(BufferRole::lse, ElementType::f32, q, 1);
  buffers.delta = add_scratch(BufferRole::delta, ElementType::f32, q, 1);
  buffers.dq = add_scratch(BufferRole::dq_acc, ElementType::f32, q, model_.head_dim);
  emit_zero(buffers.dq);
}

void RankRows::create_key_gradient(std::int32_t group) {
  KeyBuffers& buffers = key_groups_[static_cast<std::size_t>(group)];
  if (buffers.dkv >= 0) return;
  const Buffer kv = buffer(buffers.kv);
  buffers.dkv = add_scratch(BufferRole::dkv_acc, ElementType::f32, kv, kv.width);
  emit_zero(buffers.dkv);
}

void RankRows::emit_zero(std::int32_t buffer) {
  const std::int64_t rows = this->buffer(buffer).rows;
  if (rows > 0) builder_.emit(TokenWork{TokenWorkKind::zero, rows, {}, buffer, -1, -1}, kComputeStream);
}

}  // namespace strata::detail
