// SPDX-License-Identifier: Apache-2.0
#include "tools/plan_programs.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/check.hpp"
#include "core/lowering/lower.hpp"
#include "core/plan/plan_json.hpp"
#include "core/program/program_digest.hpp"
#include "core/verify/verify_schedule.hpp"
#include "tools/inputs.hpp"

namespace strata::tools {

namespace {

/// Reads a plan and verifies its schedule; `backward` becomes its backward schedules, [wave].
Plan load_verified_plan(const std::string& path, std::vector<CommSchedule>& backward) {
  Plan plan = read_plan(path);
  if (!plan.profile.content.empty()) read_profile(plan.profile.content, path + ": inputs.profile.content");
  const std::vector<Violation> violations = verify_plan(plan, 1, &backward);
  if (violations.empty()) return plan;
  const Violation& first = violations.front();
  throw InputError(path + ": " + first.place, first.rule + ": " + first.message,
                   "a plan that strata lint accepts");
}

}  // namespace

LoadedPlan load_plan(const std::string& path) {
  std::vector<CommSchedule> backward;
  LoadedPlan loaded{load_verified_plan(path, backward), {}};
  Bytes arena;
  for (std::size_t w = 0; w < loaded.plan.waves.size(); ++w) {
    loaded.programs.push_back(lower_wave(loaded.plan.waves[w], backward[w], loaded.plan.model));
    for (const RankProgram& program : loaded.programs.back()) arena = std::max(arena, program.arena);
    const std::vector<std::string> digests = program_digests(loaded.programs.back());
    for (std::size_t rank = 0; rank < digests.size(); ++rank) {
      const std::string& digest = digests[rank];
      if (loaded.plan.program_digests[w][rank] == digest) continue;
      throw InputError(fmt::format("{}: program_digests[{}][{}]", path, w, rank),
                       loaded.plan.program_digests[w][rank],
                       fmt::format("{}: this build lowers the schedule differently (lowering version {})",
                                   digest, kLoweringVersion));
    }
  }
  if (arena != loaded.plan.predicted.arena) {
    throw InputError(path + ": predicted.arena_bytes", fmt::format("{}", loaded.plan.predicted.arena.count),
                     fmt::format("{}, the largest arena of the programs", arena.count));
  }
  return loaded;
}

CostProfile profile_of(const Plan& plan, const std::string& profile_path, bool any_device) {
  if (!profile_path.empty()) return load_profile(profile_path, plan.topology, any_device);
  if (plan.profile.content.empty()) {
    throw InputError("inputs.profile", "only a digest",
                     "--profile FILE with the profile of digest " + plan.profile.digest);
  }
  return read_profile(plan.profile.content, "inputs.profile.content");
}

}  // namespace strata::tools
