// SPDX-License-Identifier: Apache-2.0
// strata compare: many recorded batches x many strategies -> one table, with ties marked.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>

#include "planner/search/waves.hpp"
#include "planner/search/would_fit.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tools/batch_inputs.hpp"
#include "tools/compare_report.hpp"
#include "tools/compare_rows.hpp"
#include "tools/inputs.hpp"
#include "tools/interruption.hpp"
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
  std::int64_t threads = 0;
};

void validate(const CompareOptions& options) {
  const auto at_least_0 = [](const char* name, std::int64_t value) {
    if (value < 0) throw InputError(name, std::to_string(value), "0 or more");
  };
  at_least_0("--tie-permille", options.tie_permille);
  at_least_0("--max", options.max);
  if (options.threads < 0 || options.threads > kMostThreads) {
    throw InputError("--threads", std::to_string(options.threads), fmt::format("0 to {}", kMostThreads));
  }
}

/// The steps that are compared, with the documents that the mask knows.
LoadedBatches load(const CompareOptions& options, const ModelShape& model) {
  LoadedBatches loaded = options.batch_inputs.load(options.batches, "--batches");
  std::vector<Batch>& batches = loaded.steps;
  if (options.max > 0 && std::ssize(batches) > options.max) {
    loaded.read_as.notes.push_back(
        fmt::format("the first {} of {} steps are compared (--max)", options.max, batches.size()));
    batches.resize(static_cast<std::size_t>(options.max));
  }
  for (Batch& batch : batches) {
    batch = masked_batch(batch, model, fmt::format("{}: step {}", options.batches, batch.step));
  }
  return loaded;
}

/// With what would make the first batch fit, where memory was lacking.
[[noreturn]] void throw_none_accepted(const std::vector<CompareRow>& rows, const Batch& first,
                                      PlanRequest request) {
  std::string text = "no strategy accepts any of the batches";
  request.batch = first;
  if (std::any_of(rows.begin(), rows.end(), [](const CompareRow& row) { return row.lacks_memory; })) {
    std::cout.flush();  // what would fit may take long
    for (const std::string& change : would_fit(first, request)) {
      text += fmt::format("\nwould fit (step {}): {}", first.step, change);
    }
  }
  throw NoPlan(text);
}

/// One comparison: its inputs, the rows that there are, and how they are reported.
class Compare {
 public:
  Compare(const CompareOptions& options, const Output& output)
      : options_(options),
        output_(output),
        model_(options.inputs.read_model()),
        request_(options.inputs.request(output, model_)) {
    validate(options);
    loaded_ = load(options, request_.model);
    strategies_ = strategies_named(options.inputs.strategies);
  }

  void run() {
    const std::vector<CompareRow> rows = compare();
    const auto largest = largest_extrapolated_share(rows);
    if (options_.inputs.strict) {
      const ReadAsProfile read = profile_of(largest);
      expect_for_devices(read);
      expect_inside_tables(read, largest ? largest->strategy : std::string_view());
    }
    report(rows, false);
    if (!largest) throw_none_accepted(rows, loaded_.steps.front(), request_);
  }

 private:
  std::vector<CompareRow> compare() const {
    const std::size_t batches = loaded_.steps.size();
    CompareRows rows(batches, strategies_.size());
    Progress progress(output_, "comparing", static_cast<std::int64_t>(batches * strategies_.size()));
    const Interruption interruption([&] {
      progress.clear();
      const std::vector<CompareRow> finished = rows.finished();
      report(finished, true);
      std::cout.flush();
      std::cerr << "strata: interrupted: " + finished_text(finished, comparison(true)) + '\n' << std::flush;
    });
    compare_batches(request_, loaded_.steps, strategies_, static_cast<std::int32_t>(options_.threads), rows,
                    [&] { progress.advance(); });
    return rows.finished();
  }

  void report(const std::vector<CompareRow>& rows, bool interrupted) const {
    const ReadAs read_as{loaded_.read_as, model_, profile_of(largest_extrapolated_share(rows))};
    for (const std::string& line : lines_of(read_as)) output_.line(line);
    print_comparison(output_, rows, comparison(interrupted));
    output_.document(
        [&](JsonWriter& json) { write_comparison(json, rows, comparison(interrupted), read_as); });
  }

  Comparison comparison(bool interrupted) const {
    return {request_, strategies_, loaded_.steps.size(), static_cast<double>(options_.tie_permille) / 1000.0,
            interrupted};
  }

  ReadAsProfile profile_of(const std::optional<LargestShare>& largest) const {
    return read_as_profile(request_.profile, request_.topology, request_.model,
                           largest ? std::optional(largest->share) : std::nullopt);
  }

  const CompareOptions& options_;
  const Output& output_;
  ModelReading model_;
  PlanRequest request_;
  LoadedBatches loaded_;
  std::vector<Strategy> strategies_;
};

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
    declared.add("--threads N", options->threads, "Batches planned side by side; 0: one per hardware thread");
    options->batch_inputs.declare(declared);
    options->inputs.declare(declared);
  };
  command.run = [options](Output& output) {
    Compare(*options, output).run();
    return 0;
  };
  return command;
}

}  // namespace strata::tools
