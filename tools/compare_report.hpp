// SPDX-License-Identifier: Apache-2.0
// What `strata compare` prints of its rows: one table, and one JSON document.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "planner/search/plan_batch.hpp"
#include "tools/compare_rows.hpp"
#include "tools/output.hpp"
#include "tools/read_as.hpp"

namespace strata::tools {

/// What was compared.
struct Comparison {
  const PlanRequest& request;  ///< of all batches
  const std::vector<Strategy>& strategies;
  std::size_t batches = 0;   ///< batches that were to be compared
  double tie = 0;            ///< a step time within this of the best, 0.02, counts as tied
  bool interrupted = false;  ///< rows are missing
};

/// Largest share of work outside the profile's tables, and the strategy whose row has it. Of equals it is the
/// first; it is empty where no row has a share. largest_extrapolated_share gives nothing when every row is a
/// rejection.
struct LargestShare {
  double share = 0;
  std::string_view strategy;
};
std::optional<LargestShare> largest_extrapolated_share(const std::vector<CompareRow>& rows);

/// "12 of 781 batches were compared with every strategy (75 of 4,686 rows)".
std::string finished_text(const std::vector<CompareRow>& rows, const Comparison& comparison);

/// One line per strategy, means over the batches that it accepts, then what the columns leave out. `rows` are
/// as CompareRows gives them. Of an interrupted comparison only batches that every strategy has finished
/// count, so that all lines speak of the same batches. Where there is none, the first batch that has a row
/// counts.
void print_comparison(const Output& output, const std::vector<CompareRow>& rows,
                      const Comparison& comparison);

/// `read_as`, `interrupted` and all rows; docs/plan-format.md describes it.
void write_comparison(JsonWriter& json, const std::vector<CompareRow>& rows, const Comparison& comparison,
                      const ReadAs& read_as);

}  // namespace strata::tools
