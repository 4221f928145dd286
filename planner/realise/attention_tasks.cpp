// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/attention_tasks.hpp"

#include <algorithm>

namespace strata {

void join_adjacent(std::vector<TokenSpan>& spans) {
  if (!std::is_sorted(spans.begin(), spans.end())) std::sort(spans.begin(), spans.end());
  std::size_t kept = 0;
  for (std::size_t i = 1; i < spans.size(); ++i) {
    if (spans[kept].document == spans[i].document && spans[kept].end == spans[i].begin) {
      spans[kept].end = spans[i].end;
    } else {
      spans[++kept] = spans[i];
    }
  }
  if (!spans.empty()) spans.resize(kept + 1);
}

void drop_unused_last_steps(CommSchedule& schedule) {
  auto& steps = schedule.steps;
  while (steps.size() > 1 && steps.back().transfers.empty() && steps.back().tasks.empty() &&
         steps[steps.size() - 2].transfers.empty()) {
    steps.pop_back();
  }
}

void TaskMaker::append(std::span<const TokenSpan> queries, std::span<const TokenSpan> keys,
                       std::vector<AttentionTask>& tasks) const {
  std::size_t first = 0;  // first key span of the query's document
  for (const TokenSpan& query : queries) {
    while (first < keys.size() && keys[first].document < query.document) ++first;
    const TokenSpan seen = keys_seen_by(mask, query);
    for (std::size_t i = first; i < keys.size() && keys[i].document == query.document; ++i) {
      // One trim of each side is enough: a key that some query sees keeps that query in the second trim.
      const TokenSpan key = intersect(keys[i], seen);
      if (key.empty()) continue;
      tasks.push_back({rank, intersect(query, queries_that_see(mask, key, query.end)), key, heads});
    }
  }
}

}  // namespace strata
