// SPDX-License-Identifier: Apache-2.0
// The plan file. Reading checks form, types and index ranges; whether the plan is right is for verify_plan.
// Writing is canonical: equal plans are byte-equal files. docs/plan-format.md describes every key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>

#include "core/plan/plan.hpp"

namespace strata {

class JsonWriter;
enum class JsonLayout : std::uint8_t;

/// Throws InputError naming file and JSON path (or line, where it is not JSON).
Plan read_plan(const std::string& path);
Plan read_plan(std::istream& in, const std::string& name);

/// Atomically: `path` has the whole plan or is untouched.
void write_plan(const Plan& plan, const std::string& path);
void write_plan(const Plan& plan, std::ostream& out);
std::string to_json(const Plan& plan);

/// The canonical text of the request, one line.
std::string to_json(const PlanOptions& options);
/// The digests of the plan's own input contents.
InputDigests input_digests(const Plan& plan);
/// A profile as a plan records it, from its JSON text in any layout. InputError when it is not JSON.
EmbeddedProfile embed_profile(std::string_view json_text);
inline constexpr std::size_t kMaxEmbeddedProfileBytes = 256 << 10;
/// The digest of the plan's canonical text: names the plan in timelines.
std::string plan_digest(const Plan& plan);

/// The object `predicted.memory`.
void write_memory(JsonWriter& out, const Prediction& predicted);
/// The object `predicted`; what it holds inside takes one line each.
void write_prediction(JsonWriter& out, const Prediction& predicted, JsonLayout layout);

std::string_view to_string(Logits logits);
std::string_view to_string(ExchangeMode mode);
std::string_view to_string(BackwardKeep keep);
std::string_view to_string(GradientReturn way);
std::string_view to_string(CollectiveKind kind);
std::string_view to_string(ActiveBound bound);

}  // namespace strata
