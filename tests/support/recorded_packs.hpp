// SPDX-License-Identifier: Apache-2.0
// The recorded packs of traces/samples.
#pragma once

#include <cstdint>
#include <vector>

namespace strata::testing {

/// Document lengths of all 781 packs of 131,072 tokens, in the file's order; empty when the file is missing
/// or is not what it was.
std::vector<std::vector<std::int64_t>> recorded_packs();

}  // namespace strata::testing
