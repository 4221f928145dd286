// SPDX-License-Identifier: Apache-2.0
#include "tools/read_as_profile.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/check.hpp"
#include "core/json/json_writer.hpp"
#include "tools/output.hpp"

namespace strata::tools {

namespace {

/// "<0.1 %" where rounding would say none.
std::string share_text(double share) { return share < 0.0005 ? "less than 0.1 %" : percent(share); }

std::string reason_of(const CostProfile& profile, const ModelShape& model) {
  if (!covers_type(profile, model.element_type)) {
    std::string reason = fmt::format("no table for {}", to_string(model.element_type));
    if (model.element_type == ElementType::f32 && covers_type(profile, ElementType::bf16)) {
      reason += ": training usually runs in bf16, --element-type bf16";
    }
    return reason;
  }
  const AttentionTableChoice choice =
      find_attention_table(profile, Pass::forward, model.element_type, model.head_dim, model.value_head_dim);
  if (!choice.extrapolated) return "lengths outside those of its tables";
  return model.head_dim == model.value_head_dim
             ? fmt::format("no table for heads of {}", model.head_dim)
             : fmt::format("no table for heads of {} and values of {}", model.head_dim, model.value_head_dim);
}

}  // namespace

ReadAsProfile read_as_profile(const CostProfile& profile, const Topology& topology, const ModelShape& model,
                              std::optional<double> share) {
  ReadAsProfile read;
  read.name = profile.name;
  read.label = provenance_label(profile);
  read.covers = coverage_text(profile.covers);
  for (const std::int32_t device : uncovered_devices(profile, topology)) {
    read.uncovered.push_back(topology.devices[static_cast<std::size_t>(device)].name);
  }
  read.share = share;
  read.reason = reason_of(profile, model);
  return read;
}

ReadAsProfile read_as_profile(const Plan& plan, const std::optional<CostProfile>& profile) {
  if (profile) {
    return read_as_profile(*profile, plan.topology, plan.model, plan.predicted.extrapolated_share);
  }
  ReadAsProfile read;
  read.name = plan.profile.digest;
  read.label = "not embedded, profile unknown";
  read.share = plan.predicted.extrapolated_share;
  return read;
}

std::vector<std::string> lines_of(const ReadAsProfile& read) {
  std::vector<std::string> lines;
  lines.push_back(fmt::format("profile: {}, {}{}{}", read.name, read.label,
                              read.covers.empty() ? "" : "; for ", read.covers));
  if (!read.uncovered.empty()) {
    lines.push_back(fmt::format("  not for {} of this cluster, such as {}: times are another device's",
                                read.uncovered.size() == 1 ? "a device" : "devices", read.uncovered.front()));
  }
  const std::string why = read.reason.empty() ? "" : fmt::format(" ({})", read.reason);
  if (!read.share) return lines;
  lines.push_back(*read.share > 0 ? fmt::format("  outside its tables: {} of the device work{}",
                                                share_text(*read.share), why)
                                  : std::string("  outside its tables: nothing"));
  return lines;
}

void write_read_as(JsonWriter& json, const ReadAsProfile& read) {
  json.open_object(JsonLayout::compact);
  json.member("name", std::string_view(read.name));
  json.member("label", std::string_view(read.label));
  json.member("covers", std::string_view(read.covers));
  json.key("uncovered_devices");
  json.open_array(JsonLayout::compact);
  for (const std::string& device : read.uncovered) json.value(std::string_view(device));
  json.close();
  json.key("extrapolated_share");
  if (read.share) {
    json.value(*read.share);
  } else {
    json.null();
  }
  json.close();
}

void expect_for_devices(const ReadAsProfile& read) {
  if (read.uncovered.empty()) return;
  throw InputError(
      "--strict", fmt::format("profile {}, which is for {}", read.name, read.covers),
      fmt::format("one for device {}; without --strict, --any-device admits it", read.uncovered.front()));
}

void expect_inside_tables(const ReadAsProfile& read, std::string_view candidate) {
  const double share = read.share.value_or(0);
  if (share <= kStrictShare) return;
  throw InputError(
      "--strict",
      fmt::format("{} of the device work{} outside the tables of profile {}{}", share_text(share),
                  candidate.empty() ? "" : fmt::format(" of candidate {}", candidate), read.name,
                  read.reason.empty() ? "" : fmt::format(" ({})", read.reason)),
      fmt::format("at most {}; without --strict the share is printed", percent(kStrictShare)));
}

}  // namespace strata::tools
