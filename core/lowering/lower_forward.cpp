// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/base/check.hpp"
#include "core/lowering/lower_rank.hpp"

namespace strata::detail {

namespace {

/// The tasks of one rank in a step whose tasks are sorted by rank.
std::pair<std::size_t, std::size_t> tasks_of(const ScheduleStep& step, std::int32_t rank) {
  const auto before = [](const AttentionTask& task, std::int32_t value) { return task.rank < value; };
  const auto after = [](std::int32_t value, const AttentionTask& task) { return value < task.rank; };
  const auto first = std::lower_bound(step.tasks.begin(), step.tasks.end(), rank, before);
  const auto last = std::upper_bound(first, step.tasks.end(), rank, after);
  return {static_cast<std::size_t>(first - step.tasks.begin()),
          static_cast<std::size_t>(last - step.tasks.begin())};
}

template <typename Value>
void make_unique(std::vector<Value>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

/// Numbers the groups that one instruction uses in order of first use.
class SourceNumbers {
 public:
  explicit SourceNumbers(std::size_t group_count) : number_(group_count, -1) {}
  std::int32_t of(std::int32_t group) {
    std::int32_t& number = number_[static_cast<std::size_t>(group)];
    if (number < 0) {
      number = static_cast<std::int32_t>(groups_.size());
      groups_.push_back(group);
    }
    return number;
  }
  const std::vector<std::int32_t>& groups() const { return groups_; }

 private:
  std::vector<std::int32_t> number_, groups_;
};

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

void RankLowering::create_local_buffers() {
  const ElementType element = model_.element_type;
  LocalBuffers& local = program_.local;
  const auto add = [&](BufferRole role, ElementType type, HeadRange heads, std::int32_t width) {
    return builder_.add_buffer(role, type, local_rows_, heads, width, true);
  };
  local.q = add(BufferRole::q, element, all_query_heads(), model_.head_dim);
  local.kv = add(BufferRole::kv, element, all_kv_heads(), kv_width());
  local.o = add(BufferRole::o, element, all_query_heads(), model_.value_head_dim);
  local.lse = add(BufferRole::lse, ElementType::f32, all_query_heads(), 1);
  local.d_o = add(BufferRole::d_o, element, all_query_heads(), model_.value_head_dim);
  local.dq = add(BufferRole::dq, element, all_query_heads(), model_.head_dim);
  local.dkv = add(BufferRole::dkv, element, all_kv_heads(), kv_width());
  std::int64_t row = 0;
  for (const TokenSpan& span : wave_.placement.spans[static_cast<std::size_t>(rank_)]) {
    queries_.add(all_query_heads(), span, 0, row);
    keys_.add(all_kv_heads(), span, 0, row);
    own_rows_.add(all_query_heads(), span, 0, row);
    row += span.length();
  }
  queries_.seal();
  keys_.seal();
  own_rows_.seal();
}

bool RankLowering::needs_accumulators() const {
  std::int32_t steps_with_tasks = 0;
  for (const ScheduleStep& step : wave_.schedule.steps) {
    const auto [first, last] = tasks_of(step, rank_);
    if (first < last) ++steps_with_tasks;
    for (const Transfer& transfer : step.transfers) {
      if (transfer.tensor == TensorKind::o_part && targets_contain(transfer.targets, rank_)) return true;
    }
  }
  return steps_with_tasks > 1;
}

void RankLowering::lower_forward() {
  builder_.begin_pass(Pass::forward);
  create_local_buffers();
  accumulate_ = needs_accumulators();
  QueryBuffers own{program_.local.q, program_.local.o, program_.local.lse, -1, -1, -1};
  if (accumulate_) {
    own.out = o_acc_ = builder_.add_buffer(BufferRole::o_acc, ElementType::f32, local_rows_,
                                           all_query_heads(), model_.value_head_dim, false);
    own.lse = lse_acc_ =
        builder_.add_buffer(BufferRole::lse_acc, ElementType::f32, local_rows_, all_query_heads(), 1, false);
    emit_zero(o_acc_);
    emit_zero(lse_acc_);
  }
  query_groups_.push_back(own);
  key_groups_.push_back({program_.local.kv, -1});
  const auto& steps = wave_.schedule.steps;
  for (std::size_t s = 0; s < steps.size(); ++s) {
    StepTraffic traffic = begin_traffic(steps[s], static_cast<std::int32_t>(s));
    add_sends(steps[s], traffic);
    add_receives(steps[s], static_cast<std::int32_t>(s), traffic);
    emit_traffic(steps[s], traffic);
    emit_attention(steps[s], false);
    seal_step();
  }
  finish_forward();
}

void RankLowering::create_query_results(std::int32_t group) {
  QueryBuffers& buffers = query_groups_[static_cast<std::size_t>(group)];
  if (buffers.out >= 0) return;
  const Buffer q = builder_.buffer(buffers.q);
  const auto add = [&](BufferRole role, ElementType type, std::int32_t width) {
    return builder_.add_buffer(role, type, q.rows, q.heads, width, false);
  };
  buffers.out = add(accumulate_ ? BufferRole::o_acc : BufferRole::o,
                    accumulate_ ? ElementType::f32 : model_.element_type, model_.value_head_dim);
  buffers.lse = add(accumulate_ ? BufferRole::lse_acc : BufferRole::lse, ElementType::f32, 1);
  if (!accumulate_) return;
  emit_zero(buffers.out);
  emit_zero(buffers.lse);
}

void RankLowering::emit_attention(const ScheduleStep& step, bool backward) {
  const auto [first, last] = tasks_of(step, rank_);
  if (first == last) return;
  SourceNumbers query_sources(query_groups_.size()), key_sources(key_groups_.size());
  std::vector<AttentionBlock> blocks;
  std::vector<HeldRun> key_runs;
  const std::int32_t per_kv_head = model_.group_size();
  if (backward && !stray_output_gradients_.empty()) {
    CopyRows copies;
    for (std::size_t t = first; t < last; ++t) place_output_gradients(step.tasks[t], copies);
    if (!copies.copies.empty()) builder_.emit(std::move(copies), kComputeStream);
  }
  for (std::size_t t = first; t < last; ++t) {
    const AttentionTask& task = step.tasks[t];
    queries_.head_parts(task.heads, head_parts_);
    for (const HeadRange query_part : head_parts_) {
      keys_.head_parts(model_.kv_heads_of(query_part), kv_head_parts_);
      for (const HeadRange kv_part : kv_head_parts_) {
        const HeadRange heads{std::max(query_part.begin, kv_part.begin * per_kv_head),
                              std::min(query_part.end, kv_part.end * per_kv_head)};
        runs_.clear();
        key_runs.clear();
        queries_.resolve(task.query, heads, runs_);
        keys_.resolve(task.key, kv_part, key_runs);
        for (const HeldRun& query : runs_) {
          for (const HeldRun& key : key_runs) {
            AttentionBlock block = band_block(model_.mask(), query, key, heads);
            if (block.pairs() == 0) continue;
            block.query_source = query_sources.of(query.group);
            block.key_source = key_sources.of(key.group);
            blocks.push_back(block);
          }
        }
      }
    }
  }
  std::vector<QueryBuffers> queries;
  for (const std::int32_t group : query_sources.groups()) {
    if (!backward) create_query_results(group);
    queries.push_back(query_groups_[static_cast<std::size_t>(group)]);
    STRATA_CHECK(!backward || queries.back().d_o >= 0, "rank {} lacks d_o for queries it computes", rank_);
  }
  std::vector<KeyBuffers> keys;
  for (const std::int32_t group : key_sources.groups()) {
    if (backward) create_key_gradient(group);
    keys.push_back(key_groups_[static_cast<std::size_t>(group)]);
  }
  if (backward) {
    builder_.emit(AttentionBackward{std::move(queries), std::move(keys), std::move(blocks)}, kComputeStream);
  } else {
    builder_.emit(Attention{std::move(queries), std::move(keys), std::move(blocks), accumulate_},
                  kComputeStream);
  }
}

std::vector<MergeRange> RankLowering::merge_ranges() const {
  const auto in_order_of_sums = [](const ReceivedOutput* a, const ReceivedOutput* b) {
    return a->step != b->step ? a->step < b->step : a->source < b->source;
  };
  std::vector<MergeRange> ranges;
  std::int64_t base = 0;
  for (const TokenSpan& span : wave_.placement.spans[static_cast<std::size_t>(rank_)]) {
    std::vector<std::int64_t> rows{span.begin, span.end};
    std::vector<std::int32_t> heads{0, model_.query_heads};
    std::vector<const ReceivedOutput*> here;
    for (const ReceivedOutput& output : received_outputs_) {
      const TokenSpan shared = intersect(output.span, span);
      if (shared.empty()) continue;
      here.push_back(&output);
      rows.insert(rows.end(), {shared.begin, shared.end});
      heads.insert(heads.end(), {output.heads.begin, output.heads.end});
    }
    std::stable_sort(here.begin(), here.end(), in_order_of_sums);
    make_unique(rows);
    make_unique(heads);
    for (std::size_t r = 0; r + 1 < rows.size(); ++r) {
      for (std::size_t h = 0; h + 1 < heads.size(); ++h) {
        const HeadRange part{heads[h], heads[h + 1]};
        const std::int64_t row = base + rows[r] - span.begin;
        MergeRange range{row, rows[r + 1] - rows[r], part, {{o_acc_, lse_acc_, row}}};
        for (const ReceivedOutput* output : here) {
          if (output->span.begin <= rows[r] && rows[r + 1] <= output->span.end &&
              contains(output->heads, part)) {
            range.parts.push_back({output->out, output->lse, output->row + rows[r] - output->span.begin});
          }
        }
        ranges.push_back(std::move(range));
      }
    }
    base += span.length();
  }
  return ranges;
}

void RankLowering::finish_forward() {
  if (accumulate_ && local_rows_ > 0) {
    builder_.emit(MergePartials{program_.local.o, program_.local.lse, merge_ranges()}, kComputeStream);
  } else if (!received_outputs_.empty()) {
    CopyRows unpack;
    for (const ReceivedOutput& output : received_outputs_) {
      runs_.clear();
      own_rows_.resolve(output.span, all_query_heads(), runs_);
      for (const HeldRun& run : runs_) {
        const std::int64_t source_row = output.row + run.span.begin - output.span.begin;
        unpack.copies.push_back(
            {output.out, program_.local.o, source_row, run.row, run.span.length(), output.heads});
        unpack.copies.push_back(
            {output.lse, program_.local.lse, source_row, run.row, run.span.length(), output.heads});
      }
    }
    builder_.emit(std::move(unpack), kComputeStream);
  }
  if (local_rows_ > 0) {
    const double flops = linear_flops_per_token(model_) * static_cast<double>(local_rows_);
    builder_.emit(TokenWork{TokenWorkKind::linear, local_rows_, {flops}, -1, -1, -1}, kComputeStream);
  }
}

}  // namespace strata::detail
