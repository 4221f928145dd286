// SPDX-License-Identifier: Apache-2.0
// A device or a transport that failed; it ends the program with exit code 4.
#pragma once

#include <stdexcept>
#include <string>

namespace strata {

/// A device or a transport failed on `rank` (-1: not tied to one rank).
class DeviceError : public std::runtime_error {
 public:
  DeviceError(int rank, const std::string& message);
  int rank() const { return rank_; }

 private:
  int rank_;
};

}  // namespace strata
