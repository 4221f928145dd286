// SPDX-License-Identifier: Apache-2.0
// What a profile speaks for, and how well it was measured.
#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "cost_models/profile/cost_profile.hpp"
#include "cost_models/profile/device_words.hpp"

namespace strata {

namespace {

/// "64, 96 and 128".
std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " and " : ", ";
    text += words[i];
  }
  return text;
}

template <typename Value>
void sort_unique(std::vector<Value>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

}  // namespace

ProfileCoverage table_coverage(const std::vector<AttentionTable>& tables) {
  ProfileCoverage coverage;
  for (const AttentionTable& table : tables) {
    coverage.element_types.push_back(table.element_type);
    coverage.head_dims.push_back(table.head_dim);
  }
  sort_unique(coverage.element_types);
  sort_unique(coverage.head_dims);
  return coverage;
}

bool covers_type(const CostProfile& profile, ElementType type) {
  return std::any_of(profile.attention.begin(), profile.attention.end(),
                     [&](const AttentionTable& table) { return table.element_type == type; });
}

std::vector<std::int32_t> uncovered_devices(const CostProfile& profile, const Topology& topology) {
  std::vector<std::int32_t> devices = topology.rank_device;
  sort_unique(devices);
  std::erase_if(devices, [&](std::int32_t device) {
    return words_match(device_words(topology, device), profile.covers.devices);
  });
  return devices;
}

std::string coverage_text(const ProfileCoverage& coverage) {
  std::vector<std::string> named, others, types, dims;
  for (const std::string& pattern : coverage.devices) {
    if (pattern.starts_with('!')) {
      others.push_back(pattern.substr(1));
    } else {
      named.push_back(pattern);
    }
  }
  for (const ElementType type : coverage.element_types) types.emplace_back(to_string(type));
  for (const std::int32_t dim : coverage.head_dims) dims.push_back(fmt::format("{}", dim));
  const std::string devices = named.empty() ? "" : fmt::format("devices named {}, ", listed(named));
  const std::string except = others.empty() ? "" : fmt::format("not {}, ", listed(others));
  return fmt::format("{}{}in {}, heads of {}", devices, except, listed(types), listed(dims));
}

std::string provenance_label(const CostProfile& profile) {
  const ProfileProvenance& provenance = profile.provenance;
  if (!provenance.measured) return "unmeasured";
  const bool poor = !provenance.quality || !provenance.quality->held_out_p95 ||
                    *provenance.quality->held_out_p95 > kPoorHeldOutError;
  return poor ? "measured, poor" : "measured";
}

std::string unmeasured_note(const CostProfile& profile) {
  const std::string label = provenance_label(profile);
  return label == "measured" ? "" : fmt::format(" ({} profile {})", label, profile.name);
}

}  // namespace strata
