// SPDX-License-Identifier: Apache-2.0
// strata compare: many recorded batches x many strategies -> one table, with ties marked.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>

#include "core/base/counts.hpp"
#include "core/base/human_units.hpp"
#include "core/json/json_writer.hpp"
#include "cost_models/bounds/lower_bound.hpp"
#include "planner/report/explain.hpp"
#include "planner/report/memory_text.hpp"
#include "planner/search/waves.hpp"
#include "planner/search/would_fit.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tools/batch_inputs.hpp"
#include "tools/inputs.hpp"
#include "tools/no_plan.hpp"
#include "tools/plan_report.hpp"
#include "tools/read_as_profile.hpp"

namespace strata::tools {

namespace {

struct CompareOptions {
  PlanInputs inputs;
  BatchInputs batch_inputs;
  std::string batches;
  std::int64_t max = 32;
  std::int64_t tie_permille = kTiePermille;
};

struct Row {
  std::int64_t step = 0;
  std::string strategy;
  Prediction predicted;
  Duration lower_bound;
  double gap = 0;
  std::int64_t plan_time_ns = 0;
  std::string rejected;
  bool lacks_memory = false;
};

/// Sums over the batches that the strategy accepts.
struct Total {
  std::int64_t steps = 0, rejected = 0, wins = 0, ties = 0, unsettled = 0;
  Duration step_time, lower_bound;
  double imbalance = 0;
  Bytes kv, moved, peak;
  std::string reason;
};

std::vector<Row> compare(const PlanRequest& base, const std::vector<Batch>& batches,
                         const std::vector<Strategy>& strategies, const Output& output) {
  std::vector<Row> rows;
  Progress progress(output, "comparing", static_cast<std::int64_t>(batches.size() * strategies.size()));
  for (const Batch& batch : batches) {
    PlanRequest request = base;
    request.batch = batch;
    const Duration bound = lower_bound(request.batch.document_lengths(), request.model, request.topology,
                                       request.profile, request.options)
                               .bound;
    for (const Strategy& strategy : strategies) {
      Row row;
      row.step = batch.step;
      row.strategy = strategy.name;
      row.lower_bound = bound;
      const auto start = std::chrono::steady_clock::now();
      const StrategyOutcome outcome = plan_with(strategy, request.batch, request);
      row.plan_time_ns =
          std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start)
              .count();
      if (outcome.rejection) {
        row.rejected = outcome.rejection->reason;
        row.lacks_memory = outcome.lacks_memory;
      } else {
        row.predicted = outcome.predicted;
        row.gap = static_cast<double>(row.predicted.step_time.ns) /
                      static_cast<double>(std::max<std::int64_t>(1, bound.ns)) -
                  1.0;
      }
      rows.push_back(std::move(row));
      progress.advance();
    }
  }
  return rows;
}

std::map<std::string, Total> totals(const std::vector<Row>& rows, std::size_t per_batch, double tie) {
  std::map<std::string, Total> by_strategy;
  for (std::size_t first = 0; first < rows.size(); first += per_batch) {
    std::int64_t best = -1;
    for (std::size_t i = first; i < first + per_batch; ++i) {
      if (rows[i].rejected.empty() && (best < 0 || rows[i].predicted.step_time.ns < best)) {
        best = rows[i].predicted.step_time.ns;
      }
    }
    for (std::size_t i = first; i < first + per_batch; ++i) {
      Total& total = by_strategy[rows[i].strategy];
      if (!rows[i].rejected.empty()) {
        if (total.rejected++ == 0) total.reason = rows[i].rejected;
        continue;
      }
      const Prediction& predicted = rows[i].predicted;
      ++total.steps;
      total.unsettled += predicted.settled ? 0 : 1;
      total.step_time += predicted.step_time;
      total.lower_bound += rows[i].lower_bound;
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
  }
  return by_strategy;
}

void print(const Output& output, const std::map<std::string, Total>& by_strategy,
           const std::vector<Strategy>& strategies, const PlanRequest& request, std::int64_t batches,
           double tie) {
  output.line(fmt::format("{} on {} of {}", counted(batches, "batch", "batches"),
                          counted(request.topology.rank_count(), "rank"), request.topology.name));
  Table table({"strategy", "mean step", "gap to bound", "imbalance", "KV/layer", "bytes moved", "peak memory",
               "best", "tied", "rejected"});
  for (const Strategy& strategy : strategies) {
    const Total& total = by_strategy.at(std::string(strategy.name));
    const auto count = static_cast<double>(std::max<std::int64_t>(1, total.steps));
    if (total.steps == 0) {
      table.add({std::string(strategy.name), "-", "-", "-", "-", "-", "-", "-", "-",
                 fmt::format("{}", total.rejected)});
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
  output.line(table.text());
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
  output.line(fmt::format("tied: within {} of the best; means are over the batches a strategy accepts",
                          percent(tie)));
  Bytes peak;
  for (const auto& [name, total] : by_strategy) peak = std::max(peak, total.peak);
  output.line(fmt::format("peak memory: of the fullest rank, {}",
                          memory_cap_text(request.options, request.topology, peak)));
  output.line(wrapped("  left out of it: " + memory_exclusions(), 4));
  output.line(excluded_sentence());
}

void write_document(JsonWriter& json, const std::vector<Row>& rows, const ReadAs& read_as) {
  json.open_object(JsonLayout::lines);
  write_read_as(json, read_as);
  json.key("rows");
  json.open_array(JsonLayout::lines);
  for (const Row& row : rows) {
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
    json.key("rejected");
    if (row.rejected.empty()) {
      json.null();
    } else {
      json.value(std::string_view(row.rejected));
    }
    json.close();
  }
  json.close();
  json.close();
}

/// With what would make the first batch fit, where memory was lacking.
[[noreturn]] void throw_none_accepted(const std::vector<Row>& rows, const Batch& first, PlanRequest request) {
  std::string text = "no strategy accepts any of the batches";
  request.batch = first;
  if (std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.lacks_memory; })) {
    for (const std::string& change : would_fit(first, request)) {
      text += fmt::format("\nwould fit (step {}): {}", first.step, change);
    }
  }
  throw NoPlan(text);
}

}  // namespace

Command compare_command() {
  auto options = std::make_shared<CompareOptions>();
  Command command;
  command.name = "compare";
  command.summary = "Many batches x many strategies in one table, with ties marked";
  command.declare = [options](Options& declared) {
    declared.required("--batches FILE:LINE", options->batches,
                      "Recorded batches or lengths, read from the line on");
    declared.add("--max N", options->max, "Use the first N steps; 0: all");
    declared.add("--tie-permille N", options->tie_permille,
                 "Step times closer than N / 1000 of the best count as tied");
    options->batch_inputs.declare(declared);
    options->inputs.declare(declared);
  };
  command.run = [options](Output& output) {
    const ModelReading model = options->inputs.read_model();
    const PlanRequest request = options->inputs.request(output, model);
    if (options->tie_permille < 0) {
      throw InputError("--tie-permille", std::to_string(options->tie_permille), "0 or more");
    }
    if (options->max < 0) throw InputError("--max", std::to_string(options->max), "0 or more");
    LoadedBatches loaded = options->batch_inputs.load(options->batches, "--batches");
    std::vector<Batch>& batches = loaded.steps;
    if (options->max > 0 && std::ssize(batches) > options->max) {
      loaded.read_as.notes.push_back(
          fmt::format("the first {} of {} steps are compared (--max)", options->max, batches.size()));
      batches.resize(static_cast<std::size_t>(options->max));
    }
    for (Batch& batch : batches) {
      batch = masked_batch(batch, request.model, fmt::format("{}: step {}", options->batches, batch.step));
    }
    const std::vector<Strategy> strategies = strategies_named(options->inputs.strategies);
    const std::vector<Row> rows = compare(request, batches, strategies, output);
    double share = 0;
    std::string_view candidate;
    for (const Row& row : rows) {
      if (row.predicted.extrapolated_share <= share) continue;
      share = row.predicted.extrapolated_share;
      candidate = row.strategy;
    }
    const bool any =
        std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.rejected.empty(); });
    const ReadAsProfile read = read_as_profile(request.profile, request.topology, request.model,
                                               any ? std::optional(share) : std::nullopt);
    if (options->inputs.strict) {
      expect_for_devices(read);
      expect_inside_tables(read, candidate);
    }
    const double tie = static_cast<double>(options->tie_permille) / 1000.0;
    const auto by_strategy = totals(rows, strategies.size(), tie);
    const ReadAs read_as{loaded.read_as, model, read};
    for (const std::string& line : lines_of(read_as)) output.line(line);
    print(output, by_strategy, strategies, request, std::ssize(batches), tie);
    output.document([&](JsonWriter& json) { write_document(json, rows, read_as); });
    if (!any) throw_none_accepted(rows, batches.front(), request);
    return 0;
  };
  return command;
}

}  // namespace strata::tools
