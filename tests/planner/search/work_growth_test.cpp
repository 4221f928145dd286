// SPDX-License-Identifier: Apache-2.0
// Planning, linting and simulating cost what there is to move and to own: multicasts, messages, and pieces
// that are received or owned. Work is counted (tests/support/work_counter.hpp), not timed, at several numbers
// of documents and of ranks, and work a unit may grow from the first size to any other by the factor in the
// table below and no more. A product of ranks, documents, steps or buffers that creeps in shows as a factor
// of the sizes' ratio.
//
// The usual scale goes to 8,000 documents and 64 ranks, STRATA_TEST_SCALE=full to 100,000 and 256.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/lowering/lower.hpp"
#include "core/plan/plan_json.hpp"
#include "core/schedule/backward_schedule.hpp"
#include "cost_models/simulator/simulator.hpp"
#include "planner/audit/audit_plan.hpp"
#include "planner/search/plan_batch.hpp"
#include "tests/support/test_scale.hpp"
#include "tests/support/work_counter.hpp"

namespace strata::testing {
namespace {

enum class Axis : std::uint8_t { documents, ranks };

/// Logarithms and what a rank costs whatever it does fit in.
constexpr double kLinear = 1.5;

/// By how much work a unit may grow along an axis. What is above kLinear costs more than it moves.
struct Bounds {
  double plan = kLinear, lint = kLinear, simulate = kLinear;
};

struct Row {
  const char* strategy;
  Bounds documents, ranks;
};

/// The simulator settles all flows that share whenever one of them comes or goes, hence more on more ranks.
constexpr std::array<Row, 6> kTable = {{
    {"ulysses", {}, {}},
    {"ring", {}, {.simulate = 2}},
    {"zigzag_ring", {}, {.simulate = 2}},
    {"per_document", {}, {}},
    {"allgather", {}, {.simulate = 2}},
    {"whole_document", {}, {.simulate = 2.2}},
}};

std::vector<std::int32_t> sizes_of(Axis axis) {
  if (axis == Axis::documents) {
    if (full_scale()) return {1'000, 10'000, 100'000};
    return {1'000, 8'000};
  }
  if (full_scale()) return {8, 64, 256};
  return {8, 64};
}

/// The first of the recorded packs of 131,072 tokens (traces/samples).
const std::vector<std::int64_t> kRecordedPack = {
    25710, 865,   1757, 2483, 1593, 626,  1160, 390,  1400, 3742, 4154, 360, 398, 1184,  338,  18905,
    4627,  18710, 3250, 4391, 643,  1061, 551,  4976, 287,  730,  669,  627, 747, 15130, 9237, 371};

/// Documents of 64 tokens on 8 ranks, or the recorded pack on `size` ranks.
PlanRequest request_for(std::string_view strategy, Axis axis, std::int32_t size) {
  PlanRequest request;
  const std::int32_t ranks = axis == Axis::ranks ? size : 8;
  request.topology = named_topology(fmt::format("dgx_h100:{}", ranks / 8));
  request.model = named_model("llama3_8b");
  if (axis == Axis::ranks) {
    request.batch.fixed_packs = true;
    request.batch.packs = {kRecordedPack};
    if (strategy == "ulysses") {  // which hands heads to ranks
      request.model.query_heads = request.model.kv_heads = 256;
      request.model.head_dim = request.model.value_head_dim = 16;
    }
  } else {
    request.batch.packs = {std::vector<std::int64_t>(static_cast<std::size_t>(size), 64)};
  }
  request.profile = default_profile(request.topology);
  request.options.strategies = {std::string(strategy)};
  return request;
}

using Programs = std::vector<std::vector<RankProgram>>;

/// Multicasts and reductions of both passes, the pieces that their ranks receive, and those that ranks own.
std::int64_t units_of(const Plan& plan) {
  std::int64_t units = plan.topology.rank_count();
  const auto count = [&](const CommSchedule& schedule) {
    for (const ScheduleStep& step : schedule.steps) {
      for (const Transfer& transfer : step.transfers) units += 1 + target_count(transfer);
      for (const Reduction& reduction : step.reductions) {
        ++units;
        for (const RankRange& range : reduction.sources) units += range.count();
      }
    }
  };
  for (const Wave& wave : plan.waves) {
    count(wave.schedule);
    count(derive_backward(wave, plan.model));
    for (const auto& spans : wave.placement.spans) units += std::ssize(spans);
  }
  return units;
}

/// What a rank sends to one peer in one exchange is a message, in however many parts it is listed.
std::int64_t messages_of(const Programs& programs) {
  std::int64_t messages = 0;
  for (const auto& wave : programs) {
    for (const RankProgram& program : wave) {
      for (const Pass pass : {Pass::forward, Pass::backward}) {
        for (const Instruction& instruction : program.instructions(pass)) {
          const Exchange* exchange = exchange_of(instruction.op);
          if (exchange == nullptr) continue;
          std::set<std::int32_t> peers;
          for (const ExchangePart& part : exchange->sends) peers.insert(part.peer);
          messages += std::ssize(peers);
        }
      }
    }
  }
  return messages;
}

constexpr std::array<const char*, 3> kParts = {"plan", "lint", "simulate"};

/// Work of the three parts and what it was for.
struct Sample {
  std::int32_t size = 0;
  std::int64_t units = 0;
  std::array<Work, 3> work;  ///< by kParts
};

/// Plans, lints and simulates once. Nothing where the strategy has no plan; then `reason` says why.
Sample sample_of(std::string_view strategy, Axis axis, std::int32_t size, std::string& reason) {
  const PlanRequest request = request_for(strategy, axis, size);
  Sample sample;
  PlanResult result;
  std::string text;
  sample.work[0] = work_of([&] {
    result = plan_batch(request);
    if (result.plan) text = to_json(*result.plan);
  });
  if (!result.plan) {
    reason = result.rejections.at(0).reason;
    return sample;
  }
  sample.size = size;
  Audit audit;
  sample.work[1] = work_of([&] {
    std::istringstream in(std::move(text));
    AuditOptions options;
    options.times = false;
    audit = audit_plan(read_plan(in, "plan"), options);
  });
  for (const Violation& violation : audit.violations) ADD_FAILURE() << violation.message;
  const Programs programs = lower_waves(result.plan->waves, result.plan->model);
  sample.work[2] = work_of(
      [&] { simulate_step(programs, request.topology, request.model, request.profile, SimulatorOptions{}); });
  sample.units = units_of(*result.plan) + messages_of(programs);
  return sample;
}

double per_unit(std::uint64_t work, const Sample& sample) {
  return static_cast<double>(work) / static_cast<double>(sample.units);
}

class WorkGrowth : public ::testing::TestWithParam<std::pair<Row, Axis>> {};

TEST_P(WorkGrowth, IsThatOfWhatMoves) {
  const auto& [row, axis] = GetParam();
  const Bounds& bounds = axis == Axis::documents ? row.documents : row.ranks;
  const std::array<double, 3> most = {bounds.plan, bounds.lint, bounds.simulate};
  std::vector<Sample> samples;
  for (const std::int32_t size : sizes_of(axis)) {
    std::string reason;
    const Sample sample = sample_of(row.strategy, axis, size, reason);
    ASSERT_GT(sample.size, 0) << row.strategy << " has no plan at " << size << ": " << reason;
    samples.push_back(sample);
  }
  const Sample& first = samples.front();
  for (const Sample& sample : samples) {
    for (std::size_t part = 0; part < kParts.size(); ++part) {
      const double blocks = per_unit(sample.work[part].blocks, sample);
      const double bytes = per_unit(sample.work[part].bytes, sample);
      const double growth = std::max(blocks / per_unit(first.work[part].blocks, first),
                                     bytes / per_unit(first.work[part].bytes, first));
      std::printf("%-14s %-9s %7d %s: %9lld units, %8.0f blocks and %8.0f bytes a unit, growth %.2f\n",
                  row.strategy, kParts[part], sample.size, axis == Axis::documents ? "documents" : "ranks",
                  static_cast<long long>(sample.units), blocks, bytes, growth);
      EXPECT_LE(growth, most[part]) << kParts[part] << " of " << row.strategy << " at " << sample.size;
    }
  }
}

std::vector<std::pair<Row, Axis>> cases() {
  std::vector<std::pair<Row, Axis>> all;
  for (const Row& row : kTable) {
    for (const Axis axis : {Axis::documents, Axis::ranks}) all.emplace_back(row, axis);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Strategies, WorkGrowth, ::testing::ValuesIn(cases()), [](const auto& tested) {
  return fmt::format("{}_{}", tested.param.first.strategy,
                     tested.param.second == Axis::documents ? "documents" : "ranks");
});

}  // namespace
}  // namespace strata::testing
