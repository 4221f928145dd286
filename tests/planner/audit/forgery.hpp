// SPDX-License-Identifier: Apache-2.0
// Plans that are right but for one claim: an honest plan is made, one claim is forged, and everything else
// that follows from it is put right again, so that only the claim can be what an audit finds.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "planner/audit/audit_plan.hpp"
#include "planner/search/plan_batch.hpp"

namespace strata::testing {

/// For the tiny model, without a memory cap.
PlanRequest audited_request(std::vector<std::string> strategies, const std::string& topology = "cpu:2x2",
                            std::vector<std::vector<std::int64_t>> packs = {{19, 3, 1}, {10}});

/// The plan after a way through its file, with the digests of its inputs made right.
Plan through_file(Plan plan);
/// Puts right what core's verifier derives from the waves: program digests, arena and bytes.
void put_waves_right(Plan& plan);
/// Puts right what follows from the claimed times: the gap and the time of the chosen candidate.
void put_times_right(Plan& plan);
/// Puts right all of `predicted` and `bounds`, as the planner would state them for the waves.
void put_prediction_right(Plan& plan, const PlanRequest& request);
Candidate& candidate_of(Plan& plan, const std::string& strategy);
/// "rule at place: message", one line each.
std::string listed(const Audit& audit);
std::string text(Duration time);
std::string text(Bytes bytes);

/// A line of the verdict: rule, place, and parts of the message.
struct Line {
  std::string rule, place;
  std::vector<std::string> says = {};
};

using Lines = std::vector<Line>;

/// Forges a fresh plan of `request` and compares the verdict with `lines`.
void expect_forgery(const PlanRequest& request, const std::function<void(Plan&)>& forge,
                    const std::function<Lines(const Plan& honest, const Plan& forged)>& lines);
/// The same where the lines do not depend on the plan.
void expect_forgery(const PlanRequest& request, const std::function<void(Plan&)>& forge, const Lines& lines);

}  // namespace strata::testing
