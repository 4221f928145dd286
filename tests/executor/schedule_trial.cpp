// SPDX-License-Identifier: Apache-2.0
#include "tests/executor/schedule_trial.hpp"

#include <fmt/format.h>

#include <exception>

#include "core/base/check.hpp"
#include "core/lowering/lower.hpp"
#include "core/program/messages.hpp"
#include "core/verify/verify_programs.hpp"
#include "core/verify/verify_schedule.hpp"
#include "executor/check_detail.hpp"
#include "executor/cpu/cpu_executor.hpp"
#include "tests/support/brute_force_schedule.hpp"
#include "tests/support/message_counts.hpp"

namespace strata::test {

namespace {

std::string text(const Violation& violation) {
  return violation.rule + " at " + violation.place + ": " + violation.message;
}

/// Pairs of one pass that the programs compute beyond or short of what the mask allows.
std::int64_t pairs_too_many(const RandomSchedule& schedule, const std::vector<RankProgram>& programs,
                            Pass pass) {
  std::int64_t pairs = 0;
  for (const RankProgram& program : programs) {
    for (const Instruction& instruction : program.instructions(pass))
      pairs += attention_pairs(instruction.op);
  }
  for (const std::int64_t length : schedule.wave.lengths) {
    pairs -= document_pair_count(schedule.model.mask(), length) * schedule.model.query_heads;
  }
  return pairs;
}

/// What the run computed wrong, or nothing.
std::string compare(const RandomSchedule& schedule, const RunResult& result, std::uint64_t seed) {
  std::vector<PlacedDocument> documents;
  for (std::size_t i = 0; i < schedule.wave.documents.size(); ++i) {
    documents.push_back({schedule.wave.documents[i], schedule.wave.lengths[i]});
  }
  const FullOracle oracle(schedule.model, std::move(documents), seed, 1);
  const GatheredResults gathered(schedule.model, schedule.wave.placement, result.results.front());
  ErrorCollector errors(schedule.model.element_type);
  compare_full(oracle, schedule.model, gathered, 0, 1, errors);
  const CheckReport report{CheckMode::full, errors.finish()};
  return report.passed() ? "" : report.to_text();
}

/// Lowers so that rows of one buffer and slice of at least `own_message_bytes` travel alone: with 1 byte this
/// is the long way, a message for every slice and buffer. Programs with more messages or other bytes than
/// `expected`, or other results, are a fault.
std::string fault_of_messages(const RandomSchedule& schedule, const Execution& expected,
                              const RunResult& result, std::uint64_t seed, std::int64_t own_message_bytes,
                              const ScheduleRunner& run) {
  Execution execution = expected;
  std::vector<RankProgram>& programs = execution.waves.front().programs;
  programs = lower_wave(schedule.wave, schedule.model, own_message_bytes);
  for (const Violation& violation : verify_programs(programs, "programs", 1)) return text(violation);
  for (std::size_t rank = 0; rank < programs.size(); ++rank) {
    std::string many = too_many_messages(programs[rank], own_message_bytes);
    if (!many.empty()) return many;
    const RankProgram& other = expected.waves.front().programs[rank];
    if (sent_by_peer(programs[rank]) != sent_by_peer(other)) return "other messages have other bytes";
    if (sent_kv_bytes(programs[rank]) != sent_kv_bytes(other)) return "other messages have other kv";
  }
  return run(execution, seed).results == result.results ? "" : "other messages give other bits";
}

/// What is wrong with a schedule that lint accepts, or nothing.
std::string fault_of(const RandomSchedule& schedule, std::uint64_t seed, const ScheduleRunner& run) {
  const auto faults = faults_of_meaning(schedule.wave, schedule.model, schedule.rank_count);
  if (!faults.empty()) return "lint accepts, but " + faults.front();
  Execution execution;
  execution.model = schedule.model;
  execution.waves.push_back({lower_wave(schedule.wave, schedule.model), schedule.wave.placement});
  const std::vector<RankProgram>& programs = execution.waves.front().programs;
  for (const Violation& violation : verify_programs(programs, "programs", 1)) return text(violation);
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    const std::int64_t pairs = pairs_too_many(schedule, programs, pass);
    if (pairs != 0) return fmt::format("{}: {} pairs too many", to_string(pass), pairs);
  }
  for (const RankProgram& program : programs) {
    std::string many = too_many_messages(program);
    if (!many.empty()) return many;
  }
  const RunResult result = run(execution, seed);
  std::string fault = compare(schedule, result, seed);
  if (!fault.empty() || seed % 2 != 0) return fault;
  const std::int64_t some = std::int64_t{1} << (seed / 2 % 10);
  return fault_of_messages(schedule, execution, result, seed, some, run);
}

}  // namespace

RunResult run_poisoned(const Execution& execution, std::uint64_t seed) {
  CpuOptions options;
  options.threads = 1;
  options.seed = seed;
  options.poison = true;
  options.record_timeline = false;
  RunResult result = run_on_cpu(execution, options);
  if (seed % 8 != 0) return result;
  options.threads = 2;
  options.random_delay = {20'000};
  options.delay_seed = seed;
  STRATA_CHECK(run_on_cpu(execution, options).results == result.results, "another order gives other bits");
  return result;
}

Trial try_schedule(const RandomSchedule& schedule, std::uint64_t seed, const ScheduleRunner& run) {
  try {
    const auto violations = verify_wave(schedule.wave, schedule.model, schedule.rank_count, "wave", 1);
    if (!violations.empty()) return {Verdict::refused, violations.front().rule, text(violations.front())};
    std::string fault = fault_of(schedule, seed, run);
    return {fault.empty() ? Verdict::right : Verdict::wrong, "", std::move(fault)};
  } catch (const std::exception& error) {
    return {Verdict::wrong, "", fmt::format("threw: {}", error.what())};
  }
}

}  // namespace strata::test
