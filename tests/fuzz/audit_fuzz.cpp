// SPDX-License-Identifier: Apache-2.0
// Fuzzes the audit of a whole plan. Digests are wrong in almost every changed plan and would hide the rest,
// so they are made right first: those of the inputs, and those of the programs of every wave that lowers. A
// violation is an answer; an exception or a failed check is a bug.
#include <algorithm>
#include <utility>

#include "core/lowering/lower.hpp"
#include "core/plan/plan_json.hpp"
#include "core/program/program_digest.hpp"
#include "core/verify/verify_schedule.hpp"
#include "planner/audit/audit_plan.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace {

constexpr std::size_t kLimit = 3;

/// A simulation takes as long as its layers and ranks say, and planning again as long as six of them.
bool is_small(const strata::Plan& plan) {
  return plan.topology.rank_count() <= 16 && plan.model.layers <= 16 && plan.batch.document_count() <= 64;
}

strata::Plan with_right_digests(strata::Plan plan) {
  plan.digests = {};
  if (!plan.profile.content.empty()) plan.profile = strata::embed_profile(plan.profile.content);
  plan.lowering_version = strata::kLoweringVersion;
  const std::int32_t ranks = plan.topology.rank_count();
  for (std::size_t w = 0; w < std::min(plan.waves.size(), plan.program_digests.size()); ++w) {
    const strata::Wave& wave = plan.waves[w];
    if (!strata::verify_wave(wave, plan.model, ranks, "wave", 1).empty()) continue;
    plan.program_digests[w] = strata::program_digests(strata::lower_wave(wave, plan.model));
  }
  std::istringstream in(strata::to_json(plan));
  return strata::read_plan(in, "plan");
}

void audit(strata::Plan plan) {
  if (!is_small(plan)) return;
  strata::AuditOptions options;
  options.limit = kLimit;
  const strata::Audit verdict = strata::audit_plan(with_right_digests(std::move(plan)), options);
  STRATA_CHECK(verdict.passed() || verdict.not_verified.empty(), "{} has a verdict and {} open claims",
               verdict.violations.front().place, verdict.not_verified.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::istringstream in(std::string(reinterpret_cast<const char*>(data), size));
  strata::Plan plan;
  try {
    plan = strata::read_plan(in, "plan");
  } catch (const strata::InputError&) {
    return 0;
  }
  audit(std::move(plan));
  return 0;
}
