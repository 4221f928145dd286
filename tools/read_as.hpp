// SPDX-License-Identifier: Apache-2.0
// What a command understood of its inputs, said before its answer: the same block in every command that
// reads batches, models or plans, for people and for scripts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/problem/model_json.hpp"
#include "tools/read_as_batch.hpp"
#include "tools/read_as_profile.hpp"

namespace strata::tools {

/// A part that a command does not read is empty.
struct ReadAs {
  std::optional<ReadAsBatch> batch;
  std::optional<ModelReading> model;
  std::optional<ReadAsProfile> profile;
};

/// What a plan carries. `profile` is the plan's own, embedded or not, where it is known.
ReadAs read_as_plan(const Plan& plan, const std::optional<CostProfile>& profile);

/// Lines of at most 110 columns: batch, model, profile, in this order.
std::vector<std::string> lines_of(const ReadAs& read);
/// The member `read_as`: an object with a member for each part that was read.
void write_read_as(JsonWriter& json, const ReadAs& read);

}  // namespace strata::tools
