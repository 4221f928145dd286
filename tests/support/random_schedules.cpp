// SPDX-License-Identifier: Apache-2.0
#include "tests/support/random_schedules.hpp"

#include <algorithm>
#include <numeric>

#include "core/schedule/backward_schedule.hpp"
#include "tests/support/random_pass.hpp"

namespace strata::test {

namespace {

ModelShape random_model(Dice& dice) {
  ModelShape model;
  model.kv_heads = dice.small(1, 3);
  model.query_heads = model.kv_heads * dice.small(1, model.kv_heads == 1 ? 4 : 2);
  model.head_dim = 8 * dice.small(1, 2);
  model.value_head_dim = dice.one_in(3) ? 8 * dice.small(1, 3) : model.head_dim;
  model.hidden = std::int64_t{model.query_heads} * model.head_dim;
  model.ffn = 2 * model.hidden;
  const std::int64_t type = dice.number(0, 7);
  model.element_type = type == 0 ? ElementType::bf16 : type == 1 ? ElementType::f16 : ElementType::f32;
  if (dice.one_in(4)) {
    model.attention = AttentionKind::window;
    model.window = dice.number(1, 8);
  }
  return model;
}

void add_documents(Wave& wave, Dice& dice) {
  std::int32_t document = dice.small(0, 2);
  for (std::int64_t i = dice.number(1, 3); i > 0; --i) {
    wave.documents.push_back(document);
    wave.lengths.push_back(dice.one_in(6) ? dice.number(1, 2) : dice.number(3, dice.one_in(12) ? 40 : 13));
    document += dice.small(1, 2);
  }
}

/// One group of all ranks, or two that share them and the documents.
void add_groups(Wave& wave, std::int32_t ranks, Dice& dice) {
  std::vector<std::int32_t> numbers(static_cast<std::size_t>(ranks));
  std::iota(numbers.begin(), numbers.end(), 0);
  const bool two = ranks >= 4 && wave.documents.size() >= 2 && dice.one_in(3);
  const auto cut = two ? dice.number(1, ranks - 1) : ranks;
  const auto add = [&](std::vector<std::int32_t> of, std::vector<std::int32_t> documents) {
    const auto degree = static_cast<std::int32_t>(of.size());
    wave.groups.push_back({std::move(of), {{"ring", degree}}, std::move(documents)});
  };
  if (two) {
    add({numbers.begin(), numbers.begin() + cut}, {wave.documents.front()});
    add({numbers.begin() + cut, numbers.end()}, {wave.documents.begin() + 1, wave.documents.end()});
  } else {
    add(numbers, wave.documents);
  }
}

const GroupLayout& group_of(const Wave& wave, std::int32_t document) {
  for (const GroupLayout& group : wave.groups) {
    if (std::binary_search(group.documents.begin(), group.documents.end(), document)) return group;
  }
  return wave.groups.front();
}

/// Every document in pieces of any size, each with any rank of its group.
void place(Wave& wave, std::int32_t ranks, Dice& dice) {
  wave.placement.spans.assign(static_cast<std::size_t>(ranks), {});
  for (std::size_t i = 0; i < wave.documents.size(); ++i) {
    std::vector<std::int32_t> candidates = group_of(wave, wave.documents[i]).ranks;
    const std::vector<std::int64_t> rows = dice.cuts(wave.lengths[i], 5);
    for (std::size_t r = 0; r + 1 < rows.size(); ++r) {
      auto& spans = wave.placement.spans[static_cast<std::size_t>(dice.pick(candidates))];
      const bool touches =
          !spans.empty() && spans.back().document == wave.documents[i] && spans.back().end == rows[r];
      if (touches) {
        spans.back().end = rows[r + 1];
      } else {
        spans.push_back({wave.documents[i], rows[r], rows[r + 1]});
      }
    }
  }
}

std::int32_t owner_of(const Wave& wave, std::int32_t document, std::int64_t row) {
  for (std::int32_t rank = 0; rank < wave.placement.rank_count(); ++rank) {
    for (const TokenSpan& span : wave.placement.spans[static_cast<std::size_t>(rank)]) {
      if (contains(span, {document, row, row + 1})) return rank;
    }
  }
  return 0;
}

/// Of a rectangle the rows that see or are seen; false when there are none.
bool tighten(const Mask& mask, std::int64_t length, TokenSpan& query, TokenSpan& key) {
  for (;;) {
    const TokenSpan queries = intersect(query, queries_that_see(mask, key, length));
    if (queries.empty()) return false;
    const TokenSpan keys = intersect(key, keys_seen_by(mask, queries));
    if (keys.empty()) return false;
    if (queries == query && keys == key) return true;
    query = queries;
    key = keys;
  }
}

/// Who computes a rectangle: the owner of its first query or key, one rank for all, or anyone.
enum class Workers : std::uint8_t { query_owner, key_owner, one, any };

/// Cuts every document into planes of heads, each plane into its own rectangles, and deals them out.
void deal_tasks(const Wave& wave, const ModelShape& model, Dice& dice, RandomPass& pass) {
  const std::int32_t last_step = dice.small(1, 4);
  for (std::size_t i = 0; i < wave.documents.size(); ++i) {
    const std::int32_t document = wave.documents[i];
    const std::int64_t length = wave.lengths[i];
    std::vector<std::int32_t> ranks = group_of(wave, document).ranks;
    const std::vector<std::int64_t> heads = dice.cuts(model.query_heads, 2);
    for (std::size_t h = 0; h + 1 < heads.size(); ++h) {
      const auto workers = static_cast<Workers>(dice.number(0, 3));
      const std::int32_t one = dice.pick(ranks);
      const std::vector<std::int64_t> queries = dice.cuts(length, 3), keys = dice.cuts(length, 3);
      for (std::size_t q = 0; q + 1 < queries.size(); ++q) {
        for (std::size_t k = 0; k + 1 < keys.size(); ++k) {
          AttentionTask task{one,
                             {document, queries[q], queries[q + 1]},
                             {document, keys[k], keys[k + 1]},
                             {static_cast<std::int32_t>(heads[h]), static_cast<std::int32_t>(heads[h + 1])}};
          if (!tighten(model.mask(), length, task.query, task.key)) continue;
          if (workers == Workers::query_owner) task.rank = owner_of(wave, document, task.query.begin);
          if (workers == Workers::key_owner) task.rank = owner_of(wave, document, task.key.begin);
          if (workers == Workers::any) task.rank = dice.pick(ranks);
          pass.add_task(task, dice.small(pass.is_local(task) ? 0 : 1, last_step));
        }
      }
    }
  }
}

ScheduleStyle random_style(Dice& dice) {
  ScheduleStyle style;
  style.lanes = dice.one_in(3) ? dice.small(2, 4) : 1;
  style.relay = dice.small(2, 5);
  style.late = dice.small(3, 6);
  style.slack = dice.small(3, 6);
  style.hub = dice.one_in(3);
  if (style.hub) style.slack = 20;
  style.cut = dice.one_in(3) ? 3 : 15;
  return style;
}

}  // namespace

RandomSchedule random_schedule(std::uint64_t seed) {
  Dice dice(seed, {19});
  RandomSchedule schedule;
  schedule.model = random_model(dice);
  schedule.rank_count = dice.small(2, 6);
  Wave& wave = schedule.wave;
  add_documents(wave, dice);
  add_groups(wave, schedule.rank_count, dice);
  place(wave, schedule.rank_count, dice);
  ScheduleStyle style = random_style(dice);
  wave.schedule.exchange = dice.one_in(6) ? ExchangeMode::full : ExchangeMode::needed;
  if (wave.schedule.exchange == ExchangeMode::full) style.waste = 3;
  wave.backward.kv = dice.one_in(2) ? BackwardKeep::retain : BackwardKeep::refetch;
  RandomPass forward(wave, schedule.model, style, dice.next());
  deal_tasks(wave, schedule.model, dice, forward);
  wave.schedule.steps = forward.forward_steps();
  const std::int64_t way_back = dice.number(0, 9);
  wave.backward.gradient_return = way_back < 2 ? GradientReturn::owner : GradientReturn::reverse_tree;
  if (way_back < 5) return schedule;
  if (way_back < 7) {
    wave.backward.gradient_return = dice.one_in(2) ? GradientReturn::owner : GradientReturn::reverse_tree;
    wave.backward.steps = derive_backward(wave, schedule.model).steps;
  } else {
    RandomPass backward(wave, schedule.model, style, dice.next());
    if (wave.backward.kv == BackwardKeep::retain) backward.keep_inputs(forward);
    deal_tasks(wave, schedule.model, dice, backward);
    wave.backward.steps = backward.backward_steps();
  }
  wave.backward.gradient_return = GradientReturn::explicit_steps;
  if (way_back < 7 || dice.one_in(2)) cut_backward_otherwise(wave, dice.next());
  return schedule;
}

}  // namespace strata::test
