// SPDX-License-Identifier: Apache-2.0
// The rules of a family of models, applied to the keys of one configuration.
#pragma once

#include <vector>

#include "core/problem/model_config_keys.hpp"
#include "core/problem/model_families.hpp"
#include "core/problem/model_json.hpp"

namespace strata::detail {

/// `levels` goes from the outermost object to the text model's. Throws InputError.
void apply_family(const ModelFamily& family, std::vector<ConfigKeys>& levels, ModelReading& reading);

/// Experts of the layers that have them, and what is left as `ffn` for the others. Needs layers.
void read_experts(const ModelFamily& family, ConfigKeys& keys, ModelShape& shape);

/// One window for all layers, or none. Needs layers.
void read_window(const ModelFamily& family, ConfigKeys& keys, ModelShape& shape);

/// The names of the FFN's inner width.
inline constexpr std::array<std::string_view, 4> kFfnNames = {"intermediate_size", "ffn_dim", "n_inner",
                                                              "ffn_hidden_size"};
inline constexpr std::int64_t kMaxModelWidth = (std::int64_t{1} << 31) - 1;

}  // namespace strata::detail
