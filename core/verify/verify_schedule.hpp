// SPDX-License-Identifier: Apache-2.0
// Static proof that a schedule computes exactly what the mask allows: every token owned once, every slice
// held by whoever sends it, nothing received twice or for nothing, every allowed (query, key) pair once per
// head and no other, every partial result and gradient home exactly once, and a canonical form. It does not
// consult strategies.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/plan/plan.hpp"

namespace strata {

struct RankProgram;

/// One broken rule: its short name ("coverage", "not_held", ...), the place
/// ("waves[0].steps[3].transfers[17]") and a sentence with the values.
struct Violation {
  std::string rule;
  std::string place;
  std::string message;
  bool operator==(const Violation&) const = default;
};

/// Ranks that may each send a part of one row and head to its owner. An executor merges them, and the owner's
/// own part, at once.
inline constexpr std::int64_t kMaxPartialOutputs = 1023;
/// The limit of the verifier (docs/plan-format.md) that is exceeded by a model, or by a wave of it with these
/// ascending document numbers. Nothing when none is. A planner rejects what the verifier would refuse.
std::optional<Violation> beyond_limits(const std::vector<std::int32_t>& documents, const ModelShape& model,
                                       std::int32_t rank_count);

/// Checks one wave, forward and the derived backward. `place` prefixes the places ("waves[0]"). Stops adding
/// after `limit` violations. Cost: a sort of the wave's transfers and tasks plus a linear sweep. Where there
/// are no violations, `backward`, unless null, becomes what derive_backward gives: whoever goes on with the
/// wave need not derive it again.
std::vector<Violation> verify_wave(const Wave& wave, const ModelShape& model, std::int32_t rank_count,
                                   const std::string& place, std::size_t limit = 100,
                                   CommSchedule* backward = nullptr);

/// Checks everything of a plan that can be checked without lowering: inputs and their digests, batch <->
/// waves, every wave, and the numbers that follow from them (bytes, imbalance, gap, the chosen candidate).
/// `backward`, unless null, becomes the backward schedules, [wave], of a plan without violations.
std::vector<Violation> verify_plan(const Plan& plan, std::size_t limit = 100,
                                   std::vector<CommSchedule>* backward = nullptr);

/// Lowers every wave of a plan that passed verify_plan and checks the programs: their digests,
/// verify_programs, and the largest arena.
std::vector<Violation> verify_plan_programs(const Plan& plan, std::size_t limit = 100);
/// The same with the backward schedules of verify_plan, each of which is let go when its wave is lowered.
/// `programs` become those of the waves, [wave][rank]; of all waves where there are no violations.
std::vector<Violation> verify_plan_programs(const Plan& plan, std::vector<CommSchedule> backward,
                                            std::size_t limit,
                                            std::vector<std::vector<RankProgram>>& programs);

}  // namespace strata
