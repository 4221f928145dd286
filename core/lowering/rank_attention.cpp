// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/rank_attention.hpp"

#include <algorithm>

#include "core/base/check.hpp"
#include "core/problem/mask.hpp"

namespace strata::detail {

namespace {

/// Key rows and query rows of one document as a band block; positions are the runs' begins.
AttentionBlock band_block(const Mask& mask, const HeldRun& query, const HeldRun& key, HeadRange heads) {
  AttentionBlock block;
  block.query_begin = query.row;
  block.query_count = query.span.length();
  block.key_begin = key.row;
  block.key_count = key.span.length();
  block.heads = heads;
  const Band band = band_of(mask, query.span, key.span);
  block.lo = band.lo;
  block.hi = band.hi;
  return block;
}

}  // namespace

void RankAttention::SourceNumbers::begin(std::size_t group_count) {
  for (const std::int32_t group : groups_) number_[static_cast<std::size_t>(group)] = -1;
  groups_.clear();
  number_.resize(group_count, -1);
}

std::int32_t RankAttention::SourceNumbers::of(std::int32_t group) {
  std::int32_t& number = number_[static_cast<std::size_t>(group)];
  if (number < 0) {
    number = static_cast<std::int32_t>(groups_.size());
    groups_.push_back(group);
  }
  return number;
}

void RankAttention::append_blocks(const AttentionTask& task, std::vector<AttentionBlock>& blocks) {
  const ModelShape& model = rows_.model();
  const std::int32_t per_kv_head = model.group_size();
  rows_.queries().head_parts(task.heads, query_parts_);
  for (const HeadRange query_part : query_parts_) {
    rows_.keys().head_parts(model.kv_heads_of(query_part), key_parts_);
    for (const HeadRange kv_part : key_parts_) {
      const HeadRange heads =
          intersect(query_part, HeadRange{kv_part.begin * per_kv_head, kv_part.end * per_kv_head});
      query_runs_.clear();
      key_runs_.clear();
      rows_.queries().resolve(task.query, heads, query_runs_);
      rows_.keys().resolve(task.key, kv_part, key_runs_);
      for (const HeldRun& query : query_runs_) {
        for (const HeldRun& key : key_runs_) {
          AttentionBlock block = band_block(model.mask(), query, key, heads);
          if (block.pairs() == 0) continue;
          block.query_source = query_sources_.of(query.group);
          block.key_source = key_sources_.of(key.group);
          blocks.push_back(block);
        }
      }
    }
  }
}

void RankAttention::emit(const ScheduleStep& step, const StepShare& share) {
  if (!share.has_tasks()) return;
  const bool backward = rows_.in_backward();
  const std::span<const AttentionTask> tasks(step.tasks.data() + share.first_task,
                                             share.end_task - share.first_task);
  if (backward) {
    CopyRows copies;
    for (const AttentionTask& task : tasks) output_gradients_.place(task, copies);
    if (!copies.copies.empty()) rows_.builder().emit(std::move(copies), kComputeStream);
  }
  query_sources_.begin(rows_.query_group_count());
  key_sources_.begin(rows_.key_group_count());
  std::vector<AttentionBlock> blocks;
  for (const AttentionTask& task : tasks) append_blocks(task, blocks);
  std::vector<QueryBuffers> queries;
  for (const std::int32_t group : query_sources_.groups()) {
    if (!backward) rows_.create_query_results(group);
    queries.push_back(rows_.query_group(group));
    STRATA_CHECK(!backward || queries.back().d_o >= 0, "rank {} lacks d_o for queries it computes",
                 rows_.rank());
  }
  std::vector<KeyBuffers> keys;
  for (const std::int32_t group : key_sources_.groups()) {
    if (backward) rows_.create_key_gradient(group);
    keys.push_back(rows_.key_group(group));
  }
  if (backward) {
    rows_.builder().emit(AttentionBackward{std::move(queries), std::move(keys), std::move(blocks)},
                         kComputeStream);
  } else {
    rows_.builder().emit(
        Attention{std::move(queries), std::move(keys), std::move(blocks), rows_.accumulates()},
        kComputeStream);
  }
}

}  // namespace strata::detail
