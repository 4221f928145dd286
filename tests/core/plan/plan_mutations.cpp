// SPDX-License-Identifier: Apache-2.0
#include "tests/core/plan/plan_mutations.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace strata::test {

namespace {

using Dice = MutationDice;
using Steps = std::vector<ScheduleStep>;
using StepsOf = Steps& (*)(Wave&);

Steps& forward_steps(Wave& wave) { return wave.schedule.steps; }
Steps& backward_steps(Wave& wave) { return wave.backward.steps; }

auto& list_of(ScheduleStep& step, const Transfer*) { return step.transfers; }
auto& list_of(ScheduleStep& step, const Reduction*) { return step.reductions; }
auto& list_of(ScheduleStep& step, const AttentionTask*) { return step.tasks; }

/// A random record of one type: its step, its place there.
template <typename Record>
struct Chosen {
  Steps* steps = nullptr;
  std::size_t step = 0, index = 0;
  auto& list(std::size_t s) { return list_of((*steps)[s], static_cast<const Record*>(nullptr)); }
  Record& record() { return list(step)[index]; }
};

template <typename Record>
bool choose(Wave& wave, StepsOf steps_of, Dice& dice, Chosen<Record>& chosen) {
  chosen.steps = &steps_of(wave);
  std::vector<std::pair<std::size_t, std::size_t>> all;
  for (std::size_t s = 0; s < chosen.steps->size(); ++s) {
    for (std::size_t i = 0; i < chosen.list(s).size(); ++i) all.emplace_back(s, i);
  }
  if (all.empty()) return false;
  std::tie(chosen.step, chosen.index) = dice.pick(all);
  return true;
}

void sort_all(Plan& plan) {
  for (Wave& wave : plan.waves) {
    for (Steps* steps : {&wave.schedule.steps, &wave.backward.steps}) {
      for (ScheduleStep& step : *steps) sort_canonically(step);
    }
    for (auto& spans : wave.placement.spans) std::sort(spans.begin(), spans.end());
  }
}

/// Damage to one random record.
template <typename Record, typename Change>
Mutation on_record(std::string kind, StepsOf steps_of, Change change) {
  return {std::move(kind), [steps_of, change](Plan& plan, Dice& dice) {
            Chosen<Record> chosen;
            if (!choose(dice.pick(plan.waves), steps_of, dice, chosen)) return false;
            change(chosen.record(), plan, dice);
            return true;
          }};
}

/// Damage to the lists of records around a random one.
template <typename Record, typename Change>
Mutation on_list(std::string kind, StepsOf steps_of, Change change) {
  return {std::move(kind), [steps_of, change](Plan& plan, Dice& dice) {
            Chosen<Record> chosen;
            if (!choose(dice.pick(plan.waves), steps_of, dice, chosen)) return false;
            change(chosen, dice);
            return true;
          }};
}

/// drop, duplicate, move to another step: the same for every type of record.
template <typename Record>
void add_list_mutations(const std::string& name, StepsOf steps_of, std::vector<Mutation>& all) {
  all.push_back(on_list<Record>(name + ".drop", steps_of, [](Chosen<Record>& chosen, Dice&) {
    auto& list = chosen.list(chosen.step);
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(chosen.index));
  }));
  all.push_back(on_list<Record>(name + ".duplicate", steps_of, [](Chosen<Record>& chosen, Dice& dice) {
    const Record copy = chosen.record();
    chosen.list(dice.below(chosen.steps->size())).push_back(copy);
  }));
  all.push_back(on_list<Record>(name + ".move_step", steps_of, [](Chosen<Record>& chosen, Dice& dice) {
    const Record copy = chosen.record();
    auto& list = chosen.list(chosen.step);
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(chosen.index));
    chosen.list(dice.below(chosen.steps->size())).push_back(copy);
  }));
  all.push_back(on_list<Record>(name + ".swap_heads", steps_of, [](Chosen<Record>& chosen, Dice& dice) {
    auto& list = chosen.list(chosen.step);
    std::swap(chosen.record().heads, dice.pick(list).heads);
  }));
}

void shift(TokenSpan& span, Dice& dice) {
  const std::int32_t by = dice.nudge();
  span.begin += by;
  span.end += by;
}
void resize(TokenSpan& span, Dice& dice) { (dice.below(2) == 0 ? span.begin : span.end) += dice.nudge(); }
void change_heads(HeadRange& heads, Dice& dice) {
  (dice.below(2) == 0 ? heads.begin : heads.end) += dice.nudge();
}

std::int32_t any_rank(const Plan& plan, Dice& dice) {
  return static_cast<std::int32_t>(dice.below(static_cast<std::size_t>(plan.topology.rank_count()) + 1));
}

/// Transfers and reductions: one end, many ends, span, heads, lane, ready, tensor.
template <typename Record>
void add_move_mutations(const std::string& name, StepsOf steps_of, std::int32_t Record::*single,
                        std::vector<RankRange> Record::*many, std::vector<Mutation>& all) {
  add_list_mutations<Record>(name, steps_of, all);
  const auto add = [&](const char* kind, auto change) {
    all.push_back(on_record<Record>(name + kind, steps_of, change));
  };
  add(".shift", [](Record& record, Plan&, Dice& dice) { shift(record.span, dice); });
  add(".resize", [](Record& record, Plan&, Dice& dice) { resize(record.span, dice); });
  add(".document", [](Record& record, Plan&, Dice& dice) { record.span.document += dice.nudge(); });
  add(".heads", [](Record& record, Plan&, Dice& dice) { change_heads(record.heads, dice); });
  add(".lane", [](Record& record, Plan&, Dice& dice) { record.lane += dice.nudge(); });
  add(".ready", [](Record& record, Plan&, Dice& dice) { record.ready += dice.nudge(); });
  add(".tensor",
      [](Record& record, Plan&, Dice& dice) { record.tensor = static_cast<TensorKind>(dice.below(7)); });
  add(".single_end",
      [single](Record& record, Plan& plan, Dice& dice) { record.*single = any_rank(plan, dice); });
  add(".many_ends", [many](Record& record, Plan& plan, Dice& dice) {
    const std::int32_t rank = any_rank(plan, dice);
    record.*many = {{rank, rank + 1}};
  });
  add(".more_ends", [many](Record& record, Plan&, Dice& dice) { dice.pick(record.*many).end += 1; });
  add(".fewer_ends", [many](Record& record, Plan&, Dice& dice) { dice.pick(record.*many).begin += 1; });
  add(".swap_ends", [single, many](Record& record, Plan&, Dice&) {
    const std::int32_t other = (record.*many).front().begin;
    record.*many = {{record.*single, record.*single + 1}};
    record.*single = other;
  });
  all.push_back(on_list<Record>(name + ".swap_spans", steps_of, [](Chosen<Record>& chosen, Dice& dice) {
    std::swap(chosen.record().span, dice.pick(chosen.list(chosen.step)).span);
  }));
}

void add_task_mutations(const std::string& name, StepsOf steps_of, std::vector<Mutation>& all) {
  using Task = AttentionTask;
  add_list_mutations<Task>(name, steps_of, all);
  const auto add = [&](const char* kind, auto change) {
    all.push_back(on_record<Task>(name + kind, steps_of, change));
  };
  add(".query_shift", [](Task& task, Plan&, Dice& dice) { shift(task.query, dice); });
  add(".query_resize", [](Task& task, Plan&, Dice& dice) { resize(task.query, dice); });
  add(".key_shift", [](Task& task, Plan&, Dice& dice) { shift(task.key, dice); });
  add(".key_resize", [](Task& task, Plan&, Dice& dice) { resize(task.key, dice); });
  add(".heads", [](Task& task, Plan&, Dice& dice) { change_heads(task.heads, dice); });
  add(".rank", [](Task& task, Plan& plan, Dice& dice) { task.rank = any_rank(plan, dice); });
  add(".document",
      [](Task& task, Plan&, Dice& dice) { task.query.document = task.key.document += dice.nudge(); });
  add(".key_document", [](Task& task, Plan&, Dice& dice) { task.key.document += dice.nudge(); });
  all.push_back(on_list<Task>(name + ".swap_ranks", steps_of, [](Chosen<Task>& chosen, Dice& dice) {
    std::swap(chosen.record().rank, dice.pick(chosen.list(chosen.step)).rank);
  }));
  all.push_back(on_list<Task>(name + ".swap_queries", steps_of, [](Chosen<Task>& chosen, Dice& dice) {
    std::swap(chosen.record().query, dice.pick(chosen.list(chosen.step)).query);
  }));
}

void add_step_mutations(const std::string& name, StepsOf steps_of, std::vector<Mutation>& all) {
  const auto add = [&](const char* kind, auto change) {
    all.push_back({name + kind, [steps_of, change](Plan& plan, Dice& dice) {
                     Steps& steps = steps_of(dice.pick(plan.waves));
                     if (steps.empty()) return false;
                     change(steps, dice);
                     return true;
                   }});
  };
  add(".drop", [](Steps& steps, Dice& dice) {
    steps.erase(steps.begin() + static_cast<std::ptrdiff_t>(dice.below(steps.size())));
  });
  add(".insert", [](Steps& steps, Dice& dice) {
    steps.insert(steps.begin() + static_cast<std::ptrdiff_t>(dice.below(steps.size() + 1)), ScheduleStep());
  });
  add(".swap", [](Steps& steps, Dice& dice) { std::swap(dice.pick(steps), dice.pick(steps)); });
  add(".duplicate", [](Steps& steps, Dice& dice) { steps.push_back(ScheduleStep(dice.pick(steps))); });
  add(".collective", [](Steps& steps, Dice& dice) {
    dice.pick(steps).collective = static_cast<CollectiveKind>(dice.below(3));
  });
}

using Spans = std::vector<std::vector<TokenSpan>>;

void add_placement_mutations(std::vector<Mutation>& all) {
  const auto add = [&](const char* kind, auto change) {
    all.push_back({std::string("placement.") + kind, [change](Plan& plan, Dice& dice) {
                     Spans& spans = dice.pick(plan.waves).placement.spans;
                     std::vector<std::size_t> used;
                     for (std::size_t rank = 0; rank < spans.size(); ++rank) {
                       if (!spans[rank].empty()) used.push_back(rank);
                     }
                     if (used.empty()) return false;
                     change(spans, spans[dice.pick(used)], dice);
                     return true;
                   }});
  };
  using Rank = std::vector<TokenSpan>;
  add("drop", [](Spans&, Rank& rank, Dice& dice) {
    rank.erase(rank.begin() + static_cast<std::ptrdiff_t>(dice.below(rank.size())));
  });
  add("duplicate", [](Spans& spans, Rank& rank, Dice& dice) {
    const TokenSpan copy = dice.pick(rank);
    dice.pick(spans).push_back(copy);
  });
  add("retarget", [](Spans& spans, Rank& rank, Dice& dice) {
    const std::size_t index = dice.below(rank.size());
    const TokenSpan moved = rank[index];
    rank.erase(rank.begin() + static_cast<std::ptrdiff_t>(index));
    dice.pick(spans).push_back(moved);
  });
  add("shift", [](Spans&, Rank& rank, Dice& dice) { shift(dice.pick(rank), dice); });
  add("resize", [](Spans&, Rank& rank, Dice& dice) { resize(dice.pick(rank), dice); });
  add("document", [](Spans&, Rank& rank, Dice& dice) { dice.pick(rank).document += dice.nudge(); });
  add("swap_ranks", [](Spans& spans, Rank&, Dice& dice) { std::swap(dice.pick(spans), dice.pick(spans)); });
  add("move_border", [](Spans& spans, Rank& rank, Dice& dice) {
    TokenSpan& span = dice.pick(rank);
    for (Rank& other : spans) {
      for (TokenSpan& next : other) {
        if (next.document != span.document || next.begin != span.end) continue;
        span.end += 1;
        next.begin += 1;
        return;
      }
    }
    span.end += 1;
  });
}

/// Removes a document from a wave, its tasks, transfers and rows, as if it had never been there.
void forget_document(Wave& wave, std::int32_t document) {
  const auto at = std::find(wave.documents.begin(), wave.documents.end(), document) - wave.documents.begin();
  wave.documents.erase(wave.documents.begin() + at);
  wave.lengths.erase(wave.lengths.begin() + at);
  for (GroupLayout& group : wave.groups) std::erase(group.documents, document);
  for (auto& spans : wave.placement.spans) {
    std::erase_if(spans, [&](const TokenSpan& span) { return span.document == document; });
  }
  for (Steps* steps : {&wave.schedule.steps, &wave.backward.steps}) {
    for (ScheduleStep& step : *steps) {
      const auto concerns = [&](const auto& record) { return record.span.document == document; };
      std::erase_if(step.transfers, concerns);
      std::erase_if(step.reductions, concerns);
      std::erase_if(step.tasks, [&](const AttentionTask& task) { return task.query.document == document; });
    }
  }
}

void add_wave_mutations(std::vector<Mutation>& all) {
  const auto add = [&](const char* kind, auto change) {
    all.push_back({kind, [change](Plan& plan, Dice& dice) {
                     change(plan, dice.pick(plan.waves), dice);
                     return true;
                   }});
  };
  add("wave.drop_document",
      [](Plan&, Wave& wave, Dice& dice) { forget_document(wave, dice.pick(wave.documents)); });
  add("wave.document_number",
      [](Plan&, Wave& wave, Dice& dice) { dice.pick(wave.documents) += dice.nudge(); });
  add("wave.drop", [](Plan& plan, Wave&, Dice& dice) {
    plan.waves.erase(plan.waves.begin() + static_cast<std::ptrdiff_t>(dice.below(plan.waves.size())));
  });
  add("wave.duplicate", [](Plan& plan, Wave& wave, Dice&) {
    Wave copy = wave;
    plan.waves.push_back(std::move(copy));
  });
  add("wave.swap",
      [](Plan& plan, Wave&, Dice& dice) { std::swap(dice.pick(plan.waves), dice.pick(plan.waves)); });
  add("wave.exchange", [](Plan&, Wave& wave, Dice&) {
    const bool full = wave.schedule.exchange == ExchangeMode::full;
    wave.schedule.exchange = full ? ExchangeMode::needed : ExchangeMode::full;
  });
  add("group.rank", [](Plan& plan, Wave& wave, Dice& dice) {
    GroupLayout& group = dice.pick(wave.groups);
    if (!group.ranks.empty()) dice.pick(group.ranks) = any_rank(plan, dice);
  });
  add("group.drop_rank", [](Plan&, Wave& wave, Dice& dice) {
    GroupLayout& group = dice.pick(wave.groups);
    if (!group.ranks.empty()) group.ranks.pop_back();
  });
  add("group.degree", [](Plan&, Wave& wave, Dice& dice) { dice.pick(wave.groups).dims.front().degree += 1; });
  add("group.drop_document", [](Plan&, Wave& wave, Dice& dice) {
    GroupLayout& group = dice.pick(wave.groups);
    if (!group.documents.empty()) group.documents.pop_back();
  });
  add("group.drop", [](Plan&, Wave& wave, Dice&) { wave.groups.pop_back(); });
  add("backward.kv", [](Plan&, Wave& wave, Dice&) {
    const bool retain = wave.backward.kv == BackwardKeep::retain;
    wave.backward.kv = retain ? BackwardKeep::refetch : BackwardKeep::retain;
  });
  add("backward.return", [](Plan&, Wave& wave, Dice& dice) {
    wave.backward.gradient_return = static_cast<GradientReturn>(dice.below(3));
  });
}

void add_input_mutations(std::vector<Mutation>& all) {
  const auto add = [&](const char* kind, auto change) {
    all.push_back({kind, [change](Plan& plan, Dice& dice) {
                     change(plan, dice);
                     return true;
                   }});
  };
  add("model.query_heads", [](Plan& plan, Dice& dice) { plan.model.query_heads += dice.nudge(); });
  add("model.double_query_heads", [](Plan& plan, Dice&) { plan.model.query_heads *= 2; });
  add("model.halve_query_heads", [](Plan& plan, Dice&) { plan.model.query_heads /= 2; });
  add("model.kv_heads", [](Plan& plan, Dice& dice) { plan.model.kv_heads = dice.below(2) == 0 ? 1 : 4; });
  add("model.window", [](Plan& plan, Dice& dice) {
    plan.model.attention = AttentionKind::window;
    plan.model.window = static_cast<std::int64_t>(1 + dice.below(30));
  });
  add("model.mask", [](Plan& plan, Dice&) { plan.model.mask_kind = MaskKind::full_causal; });
  add("model.head_dim", [](Plan& plan, Dice& dice) { plan.model.head_dim += dice.nudge(); });
  add("model.layers", [](Plan& plan, Dice& dice) { plan.model.layers += dice.nudge(); });
  add("batch.length", [](Plan& plan, Dice& dice) { dice.pick(dice.pick(plan.batch.packs)) += dice.nudge(); });
  add("batch.drop", [](Plan& plan, Dice& dice) { dice.pick(plan.batch.packs).pop_back(); });
  add("batch.add", [](Plan& plan, Dice& dice) { dice.pick(plan.batch.packs).push_back(5); });
  add("batch.swap", [](Plan& plan, Dice& dice) {
    auto& pack = dice.pick(plan.batch.packs);
    std::swap(dice.pick(pack), dice.pick(pack));
  });
  add("batch.free", [](Plan& plan, Dice&) {
    plan.batch.packs = {plan.batch.document_lengths()};
    plan.batch.fixed_packs = false;
  });
  add("topology.ranks", [](Plan& plan, Dice& dice) {
    auto& ranks = plan.topology.rank_device;
    dice.below(2) == 0 ? ranks.pop_back() : ranks.push_back(ranks.back());
  });
}

}  // namespace

std::vector<Mutation> all_mutations() {
  std::vector<Mutation> all;
  add_move_mutations("transfer", forward_steps, &Transfer::source, &Transfer::targets, all);
  add_task_mutations("task", forward_steps, all);
  add_step_mutations("step", forward_steps, all);
  add_move_mutations("backward_transfer", backward_steps, &Transfer::source, &Transfer::targets, all);
  add_move_mutations("reduction", backward_steps, &Reduction::target, &Reduction::sources, all);
  add_task_mutations("backward_task", backward_steps, all);
  add_step_mutations("backward_step", backward_steps, all);
  add_placement_mutations(all);
  add_wave_mutations(all);
  add_input_mutations(all);
  for (Mutation& mutation : all) {
    mutation.apply = [inner = std::move(mutation.apply)](Plan& plan, Dice& dice) {
      if (!inner(plan, dice)) return false;
      sort_all(plan);
      return true;
    };
  }
  return all;
}

}  // namespace strata::test
