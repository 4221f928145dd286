// SPDX-License-Identifier: Apache-2.0
// The exchanges that libraries of communication offer ready made.
#pragma once

#include <cstdint>

namespace strata {

/// What the transfers of a step form together; executors may then use the library's own.
enum class CollectiveKind : std::uint8_t { none, all_gather, all_to_all };

}  // namespace strata
