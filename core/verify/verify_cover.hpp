// SPDX-License-Identifier: Apache-2.0
// The one question behind all data-flow rules of the verifier: on one rank, for one tensor of one document,
// is every demanded row x head supplied exactly once and early enough, and is everything supplied demanded?
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/problem/token_span.hpp"

namespace strata::detail {

/// A piece of supply or demand. A supply serves a demand when supply.step <= demand.step.
struct Region {
  std::int64_t begin = 0, end = 0;
  HeadRange heads;
  std::int32_t step = 0;
  /// The number of a move, or what is below 0: kOwned or kKept for a supply, ~task for a demand.
  std::int32_t origin = 0;
};
inline constexpr std::int32_t kOwned = -1;  ///< all heads, whatever `heads` says
inline constexpr std::int32_t kKept = -2;   ///< received in an earlier pass

enum class CoverFault : std::uint8_t {
  none,
  doubled,  ///< supplies a and b share rows and heads
  missing,  ///< nothing supplies a part of demand a
  late,     ///< supply b reaches demand a too late
  unused    ///< no demand for a part of supply a
};

struct CoverProblem {
  CoverFault fault = CoverFault::none;
  Region a, b;
  std::int64_t begin = 0, end = 0;  ///< the rows concerned
  HeadRange heads;                  ///< and the heads
};

/// Reusable scratch of the check.
class CoverCheck {
 public:
  /// The first problem found, or one with CoverFault::none. Sorts both lists. With `all_used`, supplies with
  /// an origin >= 0 must be demanded. O(n log n) for each range of heads between two head borders.
  CoverProblem run(std::span<Region> supply, std::span<Region> demand, HeadRange all_heads, bool all_used);

 private:
  CoverProblem run_mixed(std::span<const Region> supply, std::span<const Region> demand, HeadRange all_heads,
                         bool all_used);
  CoverProblem run_plane(std::span<const Region> supply, std::span<const Region> demand, HeadRange heads,
                         bool all_used);
  void summarise(std::span<const Region> supply);
  /// Passes supplies from `at` on that hold `row`, the demand's first row still needed, and come in time.
  /// `row` moves to the end of each. Returns the first supply that was not passed.
  std::size_t pass(std::span<const Region> supply, std::size_t at, const Region& demand,
                   std::int64_t& row) const;

  std::vector<Region> supply_plane_, demand_plane_;
  std::vector<std::int32_t> borders_;
  struct Block {
    std::int32_t latest = 0;  // largest step
    bool gapless = false;     // each piece begins where the one before ends
  };
  std::vector<Block> blocks_;
};

}  // namespace strata::detail
