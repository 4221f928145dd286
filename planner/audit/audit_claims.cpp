// SPDX-License-Identifier: Apache-2.0
// `predicted` and `bounds`, claim by claim, against what the planner would write. Each list holds every
// member of its structure; a member that somebody adds and forgets here is still noticed, because the
// structures are compared as a whole too.
#include <array>
#include <optional>

#include "core/base/counts.hpp"
#include "core/plan/plan_json.hpp"
#include "cost_models/cost/memory_cost.hpp"
#include "planner/audit/audit_detail.hpp"

namespace strata::audit {

namespace {

/// What a claim is recomputed from. verify_plan proves what the waves alone give.
enum class Needs { waves, programs, times, profile };

/// Name below its structure, and the value as text: the shortest text that reads back equal.
template <typename Claims>
struct Claim {
  const char* name;
  Needs needs;
  std::string (*text)(const Claims&);
};

std::string number(std::int64_t value) { return fmt::format("{}", value); }

std::string number_or_null(const std::optional<Bytes>& bytes) {
  return bytes ? number(bytes->count) : std::string("null");
}

constexpr std::array<Claim<Prediction>, 18> kPredicted = {
    {{"step_time_ns", Needs::times, [](const Prediction& p) { return number(p.step_time.ns); }},
     {"forward_ns", Needs::times, [](const Prediction& p) { return number(p.forward.ns); }},
     {"backward_ns", Needs::times, [](const Prediction& p) { return number(p.backward.ns); }},
     {"imbalance", Needs::waves, [](const Prediction& p) { return fmt::format("{}", p.imbalance); }},
     {"peak_memory_bytes", Needs::programs, [](const Prediction& p) { return number(p.peak_memory.count); }},
     {"memory.rank", Needs::programs, [](const Prediction& p) { return number(p.memory_rank); }},
     {"memory.state_bytes", Needs::programs,
      [](const Prediction& p) { return number(p.memory.state.count); }},
     {"memory.activation_bytes", Needs::programs,
      [](const Prediction& p) { return number(p.memory.activations.count); }},
     {"memory.attention_bytes", Needs::programs,
      [](const Prediction& p) { return number(p.memory.attention.count); }},
     {"memory.logits_bytes", Needs::programs,
      [](const Prediction& p) { return number_or_null(p.memory.logits); }},
     {"memory.communicator_bytes", Needs::programs,
      [](const Prediction& p) { return number_or_null(p.memory.communicators); }},
     {"extrapolated_share", Needs::times,
      [](const Prediction& p) { return fmt::format("{}", p.extrapolated_share); }},
     {"settled", Needs::times, [](const Prediction& p) { return std::string(p.settled ? "true" : "false"); }},
     {"arena_bytes", Needs::programs, [](const Prediction& p) { return number(p.arena.count); }},
     {"kv_bytes", Needs::waves, [](const Prediction& p) { return number(p.kv_bytes.count); }},
     {"bytes_by_level.device", Needs::waves,
      [](const Prediction& p) { return number(p.bytes_by_level.device.count); }},
     {"bytes_by_level.node", Needs::waves,
      [](const Prediction& p) { return number(p.bytes_by_level.node.count); }},
     {"bytes_by_level.network", Needs::waves,
      [](const Prediction& p) { return number(p.bytes_by_level.network.count); }}}};

constexpr std::array<Claim<Bounds>, 4> kBounds = {
    {{"lower_bound_ns", Needs::profile, [](const Bounds& b) { return number(b.lower_bound.ns); }},
     {"in_family_ns", Needs::waves,
      [](const Bounds& b) { return b.in_family ? number(b.in_family->ns) : std::string("null"); }},
     {"gap", Needs::waves, [](const Bounds& b) { return fmt::format("{}", b.gap); }},
     {"active", Needs::profile, [](const Bounds& b) { return std::string(to_string(b.active)); }}}};

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

/// "predicted.step_time_ns, predicted.forward_ns": the claims of a list that need this.
template <typename Claims, std::size_t Count>
std::string names(const std::array<Claim<Claims>, Count>& list, const char* structure, Needs needs) {
  std::string text;
  for (const Claim<Claims>& claim : list) {
    if (claim.needs == needs) text += fmt::format("{}{}.{}", text.empty() ? "" : ", ", structure, claim.name);
  }
  return text;
}

void audit_bounds(const Plan& plan, const PlanRequest& request, bool profile_is_known, Report& report) {
  Bounds truth = plan.bounds;
  if (profile_is_known) truth = bounds_of(request, plan.predicted.step_time);
  truth.in_family.reset();  // no strategy searches a family of groups
  // A false bound or time is one false claim; the gap between the two claims is another.
  truth.gap = gap_of(plan.predicted.step_time, plan.bounds.lower_bound);
  compare(kBounds, "bounds", "inputs and profile give", plan.bounds, truth, report);
}

/// Whatever caps the request: each rank, or the ranks of a device together.
void audit_cap(const Plan& plan, const MemoryPrediction& memory, Report& report) {
  const auto excess = memory_excess(memory, plan.options, plan.topology);
  if (!excess) return;
  report.add("memory_cap", "predicted.peak_memory_bytes",
             fmt::format("{} with rank {}: {} bytes, over {} of {}", counted(excess->ranks, "rank"),
                         excess->rank, excess->needed.count, excess->cap, excess->allowed.count));
}

}  // namespace

void leave_bounds_open(const std::string& reason, Report& report) {
  report.leave_open(names(kBounds, "bounds", Needs::profile), reason);
}

void leave_times_open(const std::string& reason, Report& report) {
  report.leave_open(names(kPredicted, "predicted", Needs::times), reason);
  report.leave_open("candidates", reason);
}

void leave_programs_open(const std::string& reason, Report& report) {
  report.leave_open("program_digests, " + names(kPredicted, "predicted", Needs::programs), reason);
}

void audit_claims(const Plan& plan, const PlanRequest& request, bool profile_is_known,
                  const AuditOptions& options, const Programs& programs, Report& report) {
  audit_bounds(plan, request, profile_is_known, report);
  if (!options.programs) return;
  try {
    Prediction truth = plan.predicted;  // what needs no programs is proved by verify_plan
    const MemoryPrediction memory = predict_memory(programs, plan.model, plan.options, plan.topology);
    set_memory(memory, truth);
    audit_cap(plan, memory, report);
    if (options.times) truth = predict_step(programs, memory, request);
    compare(kPredicted, "predicted", options.times ? "the simulated waves give" : "the programs give",
            plan.predicted, truth, report);
  } catch (const InputError& error) {
    report.add(
        "predicted", "predicted.step_time_ns",
        fmt::format("{}, but the waves cannot be simulated: {}", plan.predicted.step_time.ns, error.what()));
  }
}

}  // namespace strata::audit
