// SPDX-License-Identifier: Apache-2.0
// Order inside one rank's pass: every read comes after its write, and buffers that share arena bytes are
// never alive together. Inside of summarize_program.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/program/rank_program.hpp"

namespace strata::detail {

/// The accesses of all instructions of a pass, one instruction after another.
struct Accesses {
  std::vector<Access> list;
  std::vector<std::size_t> ends;  ///< [instruction] where its accesses end in `list`

  std::span<const Access> of(std::size_t instruction) const {
    const std::size_t begin = instruction == 0 ? 0 : ends[instruction - 1];
    return {list.begin() + static_cast<std::ptrdiff_t>(begin), ends[instruction] - begin};
  }
};

using ReportOrder = std::function<void(std::string rule, std::size_t instruction, std::string message)>;

/// Reports what is out of order in a pass whose streams, waits and accesses are in range: every buffer that
/// is read before it is written, and the first of everything else. O(streams * (instructions + waits +
/// accesses) + buffers * log(buffers)) where all is in order.
void check_order(const RankProgram& program, Pass pass, const Accesses& accesses, const ReportOrder& report);

}  // namespace strata::detail
