// SPDX-License-Identifier: Apache-2.0
// Which ranks work together on which documents: a group is its ranks as a grid of named dimensions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace strata {

struct GridDimension {
  std::string name;  ///< "ulysses", "ring" or "node"
  std::int32_t degree = 1;
  bool operator==(const GridDimension&) const = default;
};

/// The product of the degrees equals the number of ranks; the last dimension varies fastest.
struct GroupLayout {
  std::vector<std::int32_t> ranks;
  std::vector<GridDimension> dims;
  std::vector<std::int32_t> documents;
  bool operator==(const GroupLayout&) const = default;
};

}  // namespace strata
