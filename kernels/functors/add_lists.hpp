// SPDX-License-Identifier: Apache-2.0
// Turns additions that are to happen one after the other, and may meet in the same rows, into ranges that do
// not: every target element then has one writer, which adds its parts in the order listed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/functors/row_functors.hpp"

namespace strata::kernels {

/// Rows [row, row + rows) and columns [column, column + columns) of fp32 target array `array` (any numbering)
/// += the same number of rows and columns of a source, which starts at `part.source`.
struct Addition {
  std::int32_t array = 0;
  std::int64_t row = 0;
  std::int64_t rows = 0;
  std::int64_t column = 0;
  std::int64_t columns = 0;
  AddPart part;
};

/// A target array: its first element and the bytes between its rows.
struct AddTarget {
  float* data = nullptr;
  std::int64_t stride = 0;
};

struct AddList {
  std::vector<AddRange> ranges;
  std::vector<AddPart> parts;
};

/// Ranges in ascending order of array, column and row; `targets` is indexed by Addition::array.
AddList compile_additions(std::span<const Addition> additions, std::span<const AddTarget> targets);

}  // namespace strata::kernels
