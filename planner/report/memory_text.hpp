// SPDX-License-Identifier: Apache-2.0
// Peak memory in words: its terms, what each counts, and what the sum leaves out.
#pragma once

#include <string>
#include <vector>

#include "core/plan/plan.hpp"

namespace strata {

/// "state 1.50 GiB, activations ..., logits left out (the model states no vocabulary)".
std::string memory_terms(const MemoryTerms& terms, const ModelShape& model, const PlanOptions& options);

/// What peak memory leaves out, as a list within a sentence; the one list for everything that prints it.
std::string memory_exclusions();

/// "cap 80.0 GiB a rank", "capped by the memory of the devices", "not capped". The text also says where the
/// cap, or an uncapped `peak`, is over the memory of a device.
std::string memory_cap_text(const PlanOptions& options, const Topology& topology, Bytes peak);

/// One line per term of the largest rank with what it counts, then what is left out. Lines are not broken.
std::vector<std::string> memory_lines(const Plan& plan);

}  // namespace strata
