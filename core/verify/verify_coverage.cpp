// SPDX-License-Identifier: Apache-2.0
// Exact coverage: every allowed (query, key) pair of a document and query head lies in exactly one task.
//
// verify_records has shown that tasks are tight: every query row of a task sees one of its keys, every key
// row is seen by one of its queries. For tight tasks, two rectangles overlap iff they share an allowed pair,
// so nothing has to be clipped to the mask, windows included. Proof. Let them share the cells R = rows [a, b)
// x keys [c, d), and suppose that none is allowed: each has j > i or j <= i - w (w: the window). j - i
// changes by one between neighbouring cells and w >= 1 values of it are allowed, so all of R lies on one
// side. If j > i in all of R, then c >= b, from its corner (b - 1, c). The task whose keys begin at c has row
// b - 1 (R's rows are in both tasks), which sees none of its keys: not tight. If j <= i - w, then d - 1 <= a
// - w, from the corner (a, d - 1), and row a of the task whose keys end at d sees none of them.
//
// So: the rectangles are disjoint (a sweep), and the pairs they hold add up to the pairs of the document.
// Disjoint tasks can never hold too many; if they hold too few, a binary search over the query breakpoints
// finds the first rows with a gap, because the pairs missing above a row can only grow with the row. O(n log
// n) whatever the tasks are.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <queue>

#include "core/base/bucket_sort.hpp"
#include "core/verify/verify_detail.hpp"
#include "core/verify/verify_planes.hpp"

namespace strata::detail {

namespace {

/// Tasks of one document that compute the same heads.
class Plane {
 public:
  Plane(const WaveIndex& wave, const ScheduleIndex& schedule, std::size_t document, HeadRange heads,
        std::span<const TaskRef> tasks, Findings& findings)
      : wave_(wave),
        schedule_(schedule),
        document_(document),
        heads_(heads),
        tasks_(tasks),
        findings_(findings) {}

  /// `tasks` sorted by query, then key. Returns whether all is well.
  bool check() const {
    if (!check_disjoint()) return false;
    std::int64_t pairs = 0;
    for (const TaskRef& ref : tasks_) pairs += pairs_of(*ref.task);
    if (pairs == document_pair_count(wave_.mask(), wave_.length(document_))) return true;
    report_gap();
    return false;
  }

 private:
  std::int64_t pairs_of(const AttentionTask& task) const {
    const bool all = wave_.mask().window == 0 && task.key.end <= task.query.begin + 1;
    return all ? task.query.length() * task.key.length() : pair_count(wave_.mask(), task.query, task.key);
  }

  bool overlap(const TaskRef& a, const TaskRef& b) const {
    const TokenSpan query = intersect(a.task->query, b.task->query);
    const TokenSpan key = intersect(a.task->key, b.task->key);
    if (query.empty() || key.empty()) return false;
    findings_.add(
        "computed_twice", schedule_.place(b),
        fmt::format("queries [{}, {}) with keys [{}, {}) of document {}, {}, are computed by {} too",
                    query.begin, query.end, key.begin, key.end, query.document, describe(heads_),
                    schedule_.place(a).substr(1)));
    return true;
  }

  bool check_disjoint() const {
    for (std::size_t i = 1; i < tasks_.size(); ++i) {
      const AttentionTask& before = *tasks_[i - 1].task;
      const AttentionTask& task = *tasks_[i].task;
      if (before.query.end <= task.query.begin) continue;
      if (before.query != task.query) return sweep();
      if (overlap(tasks_[i - 1], tasks_[i])) return false;
    }
    return true;
  }

  /// The general case: tasks enter at their first query, leave at their last, and are disjoint in the keys
  /// while they are together, so a newcomer can only overlap its neighbours.
  bool sweep() const {
    std::map<std::int64_t, std::size_t> active;  // first key -> task
    using Leaving = std::pair<std::int64_t, std::size_t>;
    std::priority_queue<Leaving, std::vector<Leaving>, std::greater<>> leaving;
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      const AttentionTask& task = *tasks_[i].task;
      while (!leaving.empty() && leaving.top().first <= task.query.begin) {
        active.erase(tasks_[leaving.top().second].task->key.begin);
        leaving.pop();
      }
      const auto after = active.lower_bound(task.key.begin);
      if (after != active.end() && overlap(tasks_[after->second], tasks_[i])) return false;
      if (after != active.begin() && overlap(tasks_[std::prev(after)->second], tasks_[i])) return false;
      active.emplace(task.key.begin, i);
      leaving.emplace(task.query.end, i);
    }
    return true;
  }

  /// Pairs that queries below `end` lack.
  std::int64_t missing_below(std::int64_t end) const {
    std::int64_t pairs = document_pair_count(wave_.mask(), end);
    for (const TaskRef& ref : tasks_) {
      TokenSpan query = ref.task->query;
      query.end = std::min(query.end, end);
      if (!query.empty()) pairs -= pair_count(wave_.mask(), query, ref.task->key);
    }
    return pairs;
  }

  void report_gap() const {
    const std::int64_t length = wave_.length(document_);
    std::vector<std::int64_t> rows{length};
    for (const TaskRef& ref : tasks_) {
      rows.push_back(ref.task->query.begin);
      rows.push_back(ref.task->query.end);
    }
    std::sort(rows.begin(), rows.end());
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
    const auto at = std::partition_point(rows.begin(), rows.end(),
                                         [&](std::int64_t row) { return missing_below(row) == 0; });
    const std::int64_t end = at == rows.end() ? length : *at;
    const std::int64_t begin = at == rows.begin() ? 0 : *std::prev(at);
    report_missing_keys({wave_.document(document_), begin, end});
  }

  /// No task begins or ends inside `query`, and an allowed pair of these rows is missing.
  void report_missing_keys(const TokenSpan& query) const {
    std::vector<TokenSpan> keys;
    for (const TaskRef& ref : tasks_) {
      if (contains(ref.task->query, query)) keys.push_back(ref.task->key);
    }
    std::sort(keys.begin(), keys.end());
    const TokenSpan seen = keys_seen_by(wave_.mask(), query);
    keys.push_back({query.document, seen.end, seen.end});
    std::int64_t next = seen.begin;
    for (const TokenSpan& key : keys) {
      const TokenSpan gap{query.document, next, std::min(key.begin, seen.end)};
      if (!gap.empty() && pair_count(wave_.mask(), query, gap) > 0) {
        findings_.add(
            "coverage", schedule_.where(),
            fmt::format("no task computes queries [{}, {}) with keys [{}, {}) of document {}, {}",
                        query.begin, query.end, gap.begin, gap.end, query.document, describe(heads_)));
        return;
      }
      next = std::max(next, key.end);
    }
  }

  const WaveIndex& wave_;
  const ScheduleIndex& schedule_;
  std::size_t document_;
  HeadRange heads_;
  std::span<const TaskRef> tasks_;
  Findings& findings_;
};

/// A task of one document by the first rows and keys; of equal ones the order does not matter, they overlap.
constexpr auto kByQuery = [](const TaskRef& a, const TaskRef& b) {
  const AttentionTask& first = *a.task;
  const AttentionTask& second = *b.task;
  if (first.query.begin != second.query.begin) return first.query.begin < second.query.begin;
  if (first.query.end != second.query.end) return first.query.end < second.query.end;
  return first.key.begin < second.key.begin;
};

bool have_same_heads(const std::vector<TaskRef>& tasks) {
  return std::all_of(tasks.begin(), tasks.end(),
                     [&](const TaskRef& ref) { return ref.task->heads == tasks.front().task->heads; });
}

}  // namespace

void verify_coverage(const WaveIndex& wave, const ScheduleIndex& schedule, Documents documents,
                     Findings& findings) {
  std::vector<TaskRef> tasks;
  BucketSort<TaskRef> sort;
  for (std::size_t i = documents.begin; i < documents.end && !findings.full(); ++i) {
    const auto all = schedule.tasks(i);
    tasks.assign(all.begin(), all.end());
    const HeadRange all_heads{0, wave.model().query_heads};
    if (!tasks.empty() && tasks.front().task->heads == all_heads && have_same_heads(tasks)) {
      sort.sort(
          tasks, wave.length(i), [](const TaskRef& ref) { return ref.task->query.begin; }, kByQuery);
      Plane(wave, schedule, i, all_heads, tasks, findings).check();
      continue;
    }
    each_plane(
        tasks, wave.model().query_heads, [](const TaskRef& ref) { return ref.task->heads; }, kByQuery,
        [&](HeadRange heads, std::span<const TaskRef> plane) {
          return Plane(wave, schedule, i, heads, plane, findings).check();
        });
  }
}

}  // namespace strata::detail
