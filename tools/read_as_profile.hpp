// SPDX-License-Identifier: Apache-2.0
// How a profile was understood: what it speaks for, how it was measured, and how much of the predicted work
// lies outside its tables. Printed by every command that shows a time.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/plan/plan.hpp"
#include "cost_models/profile/cost_profile.hpp"

namespace strata {
class JsonWriter;
}

namespace strata::tools {

struct ReadAsProfile {
  std::string name;
  std::string label;                   ///< provenance_label; says where only a digest is known
  std::string covers;                  ///< coverage_text
  std::vector<std::string> uncovered;  ///< names of devices with ranks that it does not speak for
  /// Share of the device work whose costs come from outside the tables; none: there is no plan.
  std::optional<double> share;
  /// What lies outside, where something does; "" where that is not known.
  std::string reason;
};

/// `share` is Simulation::extrapolated_share or Prediction::extrapolated_share; nothing where there is no
/// plan whose work could be outside.
ReadAsProfile read_as_profile(const CostProfile& profile, const Topology& topology, const ModelShape& model,
                              std::optional<double> share);
/// The same for a plan. Without its profile only the digest and the share are known.
ReadAsProfile read_as_profile(const Plan& plan, const std::optional<CostProfile>& profile);

/// Lines without line ends.
std::vector<std::string> lines_of(const ReadAsProfile& read);
/// An object: name, label, covers, uncovered_devices, extrapolated_share.
void write_read_as(JsonWriter& json, const ReadAsProfile& read);

/// The share that --strict lets pass. The last row of a causal triangle sees all keys and is looked up as a
/// block of one row, which no table of a GPU has. Of 100 tokens that row is 1 % of the work.
inline constexpr double kStrictShare = 0.01;

/// Throws InputError for a device that the profile does not speak for, whatever --any-device admits. This is
/// what --strict refuses of a profile.
void expect_for_devices(const ReadAsProfile& read);
/// Throws InputError when more than kStrictShare of the work lies outside the tables. This is what --strict
/// refuses of a time. `candidate` says whose share it is; empty: there is but one.
void expect_inside_tables(const ReadAsProfile& read, std::string_view candidate = {});

}  // namespace strata::tools
