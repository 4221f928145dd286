// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/attention_tasks.hpp"

#include <algorithm>
#include <cstddef>

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

namespace {

/// The first of `spans` from `at` on whose document is `document` or a later one.
std::size_t skip_to(std::span<const TokenSpan> spans, std::size_t at, std::int32_t document) {
  if (at + 1 < spans.size() && spans[at + 1].document >= document) return at + 1;  // as in most lists
  const auto from = spans.begin() + static_cast<std::ptrdiff_t>(at);
  const auto found = std::partition_point(from, spans.end(),
                                          [&](const TokenSpan& span) { return span.document < document; });
  return static_cast<std::size_t>(found - spans.begin());
}

}  // namespace

void TaskMaker::append(std::span<const TokenSpan> queries, std::span<const TokenSpan> keys,
                       std::vector<AttentionTask>& tasks) const {
  std::size_t at = 0, first = 0;  // `first`: the first key span that queries from `at` on may see
  while (at < queries.size() && first < keys.size()) {
    const TokenSpan& query = queries[at];
    if (keys[first].document < query.document) {
      first = skip_to(keys, first, query.document);
      continue;
    }
    if (query.document < keys[first].document) {
      at = skip_to(queries, at, keys[first].document);
      continue;
    }
    const TokenSpan seen = keys_seen_by(mask, query);
    if (keys[first].end <= seen.begin) {
      ++first;  // later queries see no earlier keys
      continue;
    }
    for (std::size_t i = first; i < keys.size() && keys[i].document == query.document; ++i) {
      // One trim of each side is enough: a key that some query sees keeps that query in the second trim.
      const TokenSpan key = intersect(keys[i], seen);
      if (key.empty()) break;  // and so are those behind it
      tasks.push_back({rank, intersect(query, queries_that_see(mask, key, query.end)), key, heads});
    }
    ++at;
  }
}

}  // namespace strata
