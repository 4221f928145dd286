// SPDX-License-Identifier: Apache-2.0
#include "tools/compare_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/base/counts.hpp"
#include "core/base/human_units.hpp"
#include "core/json/json_writer.hpp"
#include "planner/report/explain.hpp"
#include "planner/report/memory_text.hpp"
#include "tools/plan_report.hpp"

namespace strata::tools {

namespace {

/// Sums over the batches that the strategy accepts.
struct Total {
  std::int64_t steps = 0, rejected = 0, wins = 0, ties = 0, unsettled = 0;
  Duration step_time, lower_bound;
  double imbalance = 0;
  Bytes kv, moved, peak;
  std::string reason;
};

using Totals = std::map<std::string, Total>;

/// The rows of one batch, [begin, end).
struct BatchRows {
  std::size_t begin = 0, end = 0;
};

std::vector<BatchRows> by_batch(const std::vector<CompareRow>& rows) {
  std::vector<BatchRows> batches;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i == 0 || rows[i].batch != rows[i - 1].batch) batches.push_back({i, i});
    batches.back().end = i + 1;
  }
  return batches;
}

std::vector<BatchRows> whole_batches(const std::vector<CompareRow>& rows, std::size_t strategies) {
  std::vector<BatchRows> batches = by_batch(rows);
  std::erase_if(batches, [&](const BatchRows& each) { return each.end - each.begin < strategies; });
  return batches;
}

/// The batches that the table is of.
std::vector<BatchRows> tabled_batches(const std::vector<CompareRow>& rows, std::size_t strategies) {
  std::vector<BatchRows> batches = whole_batches(rows, strategies);
  if (batches.empty() && !rows.empty()) batches.push_back(by_batch(rows).front());
  return batches;
}

void add_to(Total& total, const CompareRow& row, std::int64_t best, double tie) {
  if (!row.rejected.empty()) {
    if (total.rejected++ == 0) total.reason = row.rejected;
    return;
  }
  const Prediction& predicted = row.predicted;
  ++total.steps;
  total.unsettled += predicted.settled ? 0 : 1;
  total.step_time += predicted.step_time;
  total.lower_bound += row.lower_bound;
  total.imbalance += predicted.imbalance;
  total.kv += predicted.kv_bytes;
  total.moved += predicted.bytes_by_level.total();
  total.peak = std::max(total.peak, predicted.peak_memory);
  const double ratio = static_cast<double>(predicted.step_time.ns) / static_cast<double>(best);
  if (predicted.step_time.ns == best) {
    ++total.wins;
  } else if (ratio <= 1.0 + tie) {
    ++total.ties;
  }
}

Totals totals(const std::vector<CompareRow>& rows, const std::vector<BatchRows>& batches, double tie) {
  Totals by_strategy;
  for (const BatchRows& batch : batches) {
    std::int64_t best = -1;
    for (std::size_t i = batch.begin; i < batch.end; ++i) {
      if (rows[i].rejected.empty() && (best < 0 || rows[i].predicted.step_time.ns < best)) {
        best = rows[i].predicted.step_time.ns;
      }
    }
    for (std::size_t i = batch.begin; i < batch.end; ++i) {
      add_to(by_strategy[rows[i].strategy], rows[i], best, tie);
    }
  }
  return by_strategy;
}

Table table_of(const Totals& by_strategy, const std::vector<Strategy>& strategies) {
  Table table({"strategy", "mean step", "gap to bound", "imbalance", "KV/layer", "bytes moved", "peak memory",
               "best", "tied", "rejected"});
  for (const Strategy& strategy : strategies) {
    const auto found = by_strategy.find(std::string(strategy.name));
    const Total total = found == by_strategy.end() ? Total{} : found->second;
    const auto count = static_cast<double>(std::max<std::int64_t>(1, total.steps));
    if (total.steps == 0) {
      table.add({std::string(strategy.name), "-", "-", "-", "-", "-", "-", "-", "-",
                 found == by_strategy.end() ? "-" : fmt::format("{}", total.rejected)});
      continue;
    }
    const auto mean = [&](std::int64_t sum) {
      return static_cast<std::int64_t>(static_cast<double>(sum) / count);
    };
    const double gap = static_cast<double>(total.step_time.ns) /
                           static_cast<double>(std::max<std::int64_t>(1, total.lower_bound.ns)) -
                       1.0;
    table.add({std::string(strategy.name),
               human(Duration{mean(total.step_time.ns)}) + (total.unsettled > 0 ? ", unsettled" : ""),
               percent(gap), fmt::format("{:.3f}", total.imbalance / count),
               human(Bytes{mean(total.kv.count)}), human(Bytes{mean(total.moved.count)}), human(total.peak),
               fmt::format("{}", total.wins), fmt::format("{}", total.ties),
               fmt::format("{}", total.rejected)});
  }
  return table;
}

/// What is to be said below the table of single strategies.
void print_notes(const Output& output, const Totals& by_strategy, std::size_t batches) {
  for (const auto& [name, total] : by_strategy) {
    if (total.unsettled == 0) continue;
    output.line(wrapped(fmt::format("unsettled: {} of {} of {}: {}", counted(total.unsettled, "step time"),
                                    name, total.steps, unsettled_note()),
                        2));
  }
  for (const auto& [name, total] : by_strategy) {
    if (total.rejected == 0) continue;
    output.line(wrapped(fmt::format("{} rejects {} of {}{}: {}", name, total.rejected, batches,
                                    total.rejected > 1 ? ", the first because" : "", total.reason),
                        2));
  }
}

void write_row(JsonWriter& json, const CompareRow& row) {
  json.open_object(JsonLayout::compact);
  json.member("step", row.step);
  json.member("strategy", std::string_view(row.strategy));
  const auto number = [&](std::string_view name, auto value) {
    json.key(name);
    if (row.rejected.empty()) {
      json.value(value);
    } else {
      json.null();
    }
  };
  number("step_time_ns", row.predicted.step_time.ns);
  number("settled", row.predicted.settled);
  json.member("lower_bound_ns", row.lower_bound.ns);
  number("gap", row.gap);
  number("imbalance", row.predicted.imbalance);
  number("kv_bytes", row.predicted.kv_bytes.count);
  number("total_bytes", row.predicted.bytes_by_level.total().count);
  number("peak_memory_bytes", row.predicted.peak_memory.count);
  json.member("plan_time_ns", row.plan_time_ns);
  json.member("search_ns", row.times.search_ns);
  json.member("lower_ns", row.times.lower_ns);
  json.member("verify_ns", row.times.verify_ns);
  json.member("simulate_ns", row.times.simulate_ns);
  json.key("rejected");
  if (row.rejected.empty()) {
    json.null();
  } else {
    json.value(std::string_view(row.rejected));
  }
  json.close();
}

}  // namespace

std::optional<LargestShare> largest_extrapolated_share(const std::vector<CompareRow>& rows) {
  std::optional<LargestShare> largest;
  for (const CompareRow& row : rows) {
    if (!row.rejected.empty()) continue;
    if (!largest) largest.emplace();
    if (row.predicted.extrapolated_share > largest->share) {
      largest = LargestShare{row.predicted.extrapolated_share, row.strategy};
    }
  }
  return largest;
}

std::string finished_text(const std::vector<CompareRow>& rows, const Comparison& comparison) {
  const std::size_t strategies = comparison.strategies.size();
  return fmt::format("{} of {} compared with every strategy ({} of {})",
                     whole_batches(rows, strategies).size(),
                     counted(static_cast<std::int64_t>(comparison.batches), "batch", "batches"), rows.size(),
                     counted(static_cast<std::int64_t>(comparison.batches * strategies), "row"));
}

void print_comparison(const Output& output, const std::vector<CompareRow>& rows,
                      const Comparison& comparison) {
  const PlanRequest& request = comparison.request;
  const std::vector<BatchRows> batches = tabled_batches(rows, comparison.strategies.size());
  const Totals by_strategy = totals(rows, batches, comparison.tie);
  output.line(fmt::format("{} on {} of {}", counted(std::ssize(batches), "batch", "batches"),
                          counted(request.topology.rank_count(), "rank"), request.topology.name));
  if (comparison.interrupted) output.line("  interrupted: " + finished_text(rows, comparison));
  output.line(table_of(by_strategy, comparison.strategies).text());
  print_notes(output, by_strategy, batches.size());
  output.line(fmt::format("tied: within {} of the best; means are over the batches a strategy accepts",
                          percent(comparison.tie)));
  Bytes peak;
  for (const auto& [name, total] : by_strategy) peak = std::max(peak, total.peak);
  output.line(fmt::format("peak memory: of the fullest rank, {}",
                          memory_cap_text(request.options, request.topology, peak)));
  output.line(wrapped("  left out of it: " + memory_exclusions(), 4));
  output.line(excluded_sentence());
}

void write_comparison(JsonWriter& json, const std::vector<CompareRow>& rows, const Comparison& comparison,
                      const ReadAs& read_as) {
  json.open_object(JsonLayout::lines);
  write_read_as(json, read_as);
  json.key("interrupted");
  if (comparison.interrupted) {
    json.open_object(JsonLayout::compact);
    json.member("rows", static_cast<std::int64_t>(rows.size()));
    json.member("of", static_cast<std::int64_t>(comparison.batches * comparison.strategies.size()));
    json.close();
  } else {
    json.null();
  }
  json.key("rows");
  json.open_array(JsonLayout::lines);
  for (const CompareRow& row : rows) write_row(json, row);
  json.close();
  json.close();
}

}  // namespace strata::tools
