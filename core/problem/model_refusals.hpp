// SPDX-License-Identifier: Apache-2.0
// Keys that change what a configuration means. A reader that used none of them has read the plain model that
// is left without them, so each is used by the rules of its family or refused by name.
#pragma once

#include "core/problem/model_config_keys.hpp"

namespace strata::detail {

/// Throws InputError naming the first key that says that layers differ, or that attention is not what a mask
/// of core/problem/mask.hpp allows. No family reads these.
void refuse_kinds_of_layers(const ConfigKeys& keys);

/// Throws InputError naming the first meaning-bearing key that was stated and not used.
void refuse_unused_meaning(const ConfigKeys& keys);

/// What stands in the configuration and is not part of a shape, as notes: quantised weights, soft caps,
/// position biases, extra prediction layers, towers for other inputs. Marks what it names as used.
std::vector<std::string> notes_on(ConfigKeys& keys);

}  // namespace strata::detail
