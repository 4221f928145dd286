// SPDX-License-Identifier: Apache-2.0
// `predicted` and `bounds`, claim by claim, against what the planner would write. Each list holds every
// member of its structure; a member that somebody adds and forgets here is still noticed, because the
// structures are compared as a whole too.
#include <algorithm>
#include <array>

#include "core/lower.hpp"
#include "core/plan_json.hpp"
#include "planner/audit/audit_detail.hpp"

namespace strata::audit {

namespace {

/// Name below its structure, and the value as text: the shortest text that reads back equal.
template <typename Claims>
struct Claim {
  const char* name;
  std::string (*text)(const Claims&);
};

std::string number(std::int64_t value) { return fmt::format("{}", value); }

constexpr std::array<Claim<Prediction>, 10> kPredicted = {
    {{"step_time_ns", [](const Prediction& p) { return number(p.step_time.ns); }},
     {"forward_ns", [](const Prediction& p) { return number(p.forward.ns); }},
     {"backward_ns", [](const Prediction& p) { return number(p.backward.ns); }},
     {"imbalance", [](const Prediction& p) { return fmt::format("{}", p.imbalance); }},
     {"peak_memory_bytes", [](const Prediction& p) { return number(p.peak_memory.count); }},
     {"arena_bytes", [](const Prediction& p) { return number(p.arena.count); }},
     {"kv_bytes", [](const Prediction& p) { return number(p.kv_bytes.count); }},
     {"bytes_by_level.device", [](const Prediction& p) { return number(p.bytes_by_level.device.count); }},
     {"bytes_by_level.node", [](const Prediction& p) { return number(p.bytes_by_level.node.count); }},
     {"bytes_by_level.network", [](const Prediction& p) { return number(p.bytes_by_level.network.count); }}}};

constexpr std::array<Claim<Bounds>, 4> kBounds = {
    {{"lower_bound_ns", [](const Bounds& b) { return number(b.lower_bound.ns); }},
     {"in_family_ns",
      [](const Bounds& b) { return b.in_family ? number(b.in_family->ns) : std::string("null"); }},
     {"gap", [](const Bounds& b) { return fmt::format("{}", b.gap); }},
     {"active", [](const Bounds& b) { return std::string(to_string(b.active)); }}}};

/// `rule` is also the key of the structure in the plan file.
template <typename Claims, std::size_t Count>
void compare(const std::array<Claim<Claims>, Count>& list, const char* rule, std::string_view says,
             const Claims& stated, const Claims& truth, Report& report) {
  bool named = false;
  for (const Claim<Claims>& claim : list) {
    const std::string found = claim.text(stated), expected = claim.text(truth);
    if (found == expected) continue;
    named = true;
    report.differs(rule, fmt::format("{}.{}", rule, claim.name), found, says, expected);
  }
  if (!named && !(stated == truth)) report.add(rule, rule, "a claim without a name differs");
}

void audit_bounds(const Plan& plan, const PlanRequest& request, bool profile_is_known, Report& report) {
  Bounds truth = plan.bounds;
  if (profile_is_known) truth = bounds_of(request, plan.predicted.step_time);
  truth.in_family.reset();  // no strategy searches a family of groups
  // A false bound or time is one false claim; the gap between the two claims is another.
  truth.gap = gap_of(plan.predicted.step_time, plan.bounds.lower_bound);
  compare(kBounds, "bounds", "inputs and profile give", plan.bounds, truth, report);
}

/// Ranks of a device share its memory, which caps a plan whose request does not lift the cap. Where the
/// request has a cap of its own verify_plan has compared.
void audit_device_memory(const Plan& plan, const std::vector<Bytes>& rank_memory, Report& report) {
  if (plan.options.memory_cap.count != 0) return;
  const Topology& topology = plan.topology;
  std::vector<Bytes> needed(topology.devices.size());
  for (std::size_t rank = 0; rank < rank_memory.size(); ++rank) {
    needed[static_cast<std::size_t>(topology.rank_device[rank])] += rank_memory[rank];
  }
  for (std::size_t d = 0; d < needed.size(); ++d) {
    const Bytes memory = topology.devices[d].memory;
    if (memory.count == 0 || needed[d] <= memory) continue;
    report.add("memory_cap", "predicted.peak_memory_bytes",
               fmt::format("device {} ({}) needs {} bytes for its ranks, but has {}", d,
                           topology.devices[d].name, needed[d].count, memory.count));
    return;
  }
}

std::vector<std::vector<RankProgram>> lowered(const Plan& plan) {
  std::vector<std::vector<RankProgram>> programs;
  programs.reserve(plan.waves.size());
  for (const Wave& wave : plan.waves) programs.push_back(lower_wave(wave, plan.model));
  return programs;
}

}  // namespace

void audit_claims(const Plan& plan, const PlanRequest& request, bool profile_is_known,
                  const AuditOptions& options, Report& report) {
  audit_bounds(plan, request, profile_is_known, report);
  if (!options.programs) return;
  const std::vector<std::vector<RankProgram>> programs = lowered(plan);
  try {
    Prediction truth = plan.predicted;  // what needs no programs is proved by verify_plan
    const std::vector<Bytes> memory = predict_rank_memory(programs, request);
    truth.peak_memory = *std::max_element(memory.begin(), memory.end());
    audit_device_memory(plan, memory, report);
    if (options.times) truth = predict_step(programs, request);
    compare(kPredicted, "predicted", options.times ? "the simulated waves give" : "the programs give",
            plan.predicted, truth, report);
  } catch (const InputError& error) {
    report.add(
        "predicted", "predicted.step_time_ns",
        fmt::format("{}, but the waves cannot be simulated: {}", plan.predicted.step_time.ns, error.what()));
  }
}

}  // namespace strata::audit
