// SPDX-License-Identifier: Apache-2.0
// Fuzzes the verifier and the lowering: a plan that is read is verified, and a wave in which nothing is wrong
// lowers to programs in which nothing is wrong. A violation is an answer; a failed check is a bug.
#include "core/base/check.hpp"
#include "core/lowering/lower.hpp"
#include "core/plan/plan_json.hpp"
#include "core/verify/verify_programs.hpp"
#include "core/verify/verify_schedule.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace {

/// Digests are wrong in almost every changed plan, so a wave is looked at by itself too.
void verify(const strata::Plan& plan) {
  constexpr std::size_t kLimit = 3;
  if (strata::verify_plan(plan, kLimit).empty()) strata::verify_plan_programs(plan, kLimit);
  for (const strata::Wave& wave : plan.waves) {
    const std::int32_t ranks = wave.placement.rank_count();
    if (!strata::verify_wave(wave, plan.model, ranks, "wave", kLimit).empty()) continue;
    const auto found = strata::verify_programs(strata::lower_wave(wave, plan.model), "wave", 1);
    STRATA_CHECK(found.empty(), "lowering made {} at {}: {}", found.front().rule, found.front().place,
                 found.front().message);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::istringstream in(std::string(reinterpret_cast<const char*>(data), size));
  try {
    verify(strata::read_plan(in, "plan"));
  } catch (const strata::InputError&) {
    return 0;
  }
  return 0;
}
