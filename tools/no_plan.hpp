// SPDX-License-Identifier: Apache-2.0
// No strategy can serve the request: exit code 3, with the reason of each.
#pragma once

#include <stdexcept>

namespace strata::tools {

class NoPlan : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace strata::tools
