// SPDX-License-Identifier: Apache-2.0
// Whether a result is what one device would compute: compares a run with dense attention in float64. The
// error is norm(x - reference) / max(norm(reference), s) over tiles of at most 64 rows of one head of one
// document. For outputs and LSE, s is 1. For a gradient, s is the norm that the reference has with absolute
// values in every sum. It is at least the norm of a tile full of the storage type's smallest normal number,
// below which the type rounds to fixed steps.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "executor/gathered_results.hpp"
#include "executor/run.hpp"

namespace strata {

enum class CheckMode : std::uint8_t { full, sampled };
std::string_view to_string(CheckMode mode);

/// The largest error of one tensor and where it is; `row` is the first token of the tile.
struct CheckedTensor {
  std::string tensor;    ///< "o", "lse", "dq", "dk", "dv"; "dq=dk" and "o=dv" for the identities
  bool of_sums = false;  ///< an identity
  double error = 0;
  double tolerance = 0;
  /// Tiles compared. Of an identity: documents times KV heads; `head` then counts KV heads.
  std::int64_t tiles = 0;
  std::int32_t wave = 0, document = -1, head = -1;
  std::int64_t row = -1;
  std::int32_t rank = -1;  ///< owner of that row; -1 for an identity, a sum over the rows of all ranks
  /// False for NaN and for a tensor that was never compared.
  bool passed() const { return tiles > 0 && error <= tolerance; }
};

struct CheckReport {
  CheckMode mode = CheckMode::full;
  std::vector<CheckedTensor> tensors;

  bool passed() const;
  /// The largest error over all tensors, identities excluded; NaN when any is.
  double max_relative_l2() const;
  /// One line per tensor: error, tolerance and place.
  std::string to_text() const;
  /// Whether it passed, and how much was compared.
  std::string verdict() const;
};

/// For fp32 it is 2e-6 forward and 5e-6 backward. For the 16-bit types it is their unit of rounding forward
/// (2^-8 and 2^-11), which is what storing a result costs at most. Backward it is twice that, because a
/// stored output enters as well. So bf16 has 4e-3 and 8e-3, f16 5e-4 and 1e-3.
double check_tolerance(ElementType type, ResultTensor tensor);

struct CheckOptions {
  CheckMode mode = CheckMode::full;
  std::int32_t threads = 0;       ///< 0: one per hardware thread
  std::uint64_t seed = 0;         ///< of the run's inputs; also draws the samples
  std::int64_t query_rows = 256;  ///< sampled: at least so many; more when the borders alone are more
  std::int64_t key_rows = 64;     ///< sampled
  /// Called with the share of the check that is done, 0 to 1, by one thread at a time.
  std::function<void(double)> progress;
};

/// `full` compares every row. `sampled` compares the following:
/// - o, lse and dq of `query_rows` rows, among them the first and the last of every document and every shard;
/// - dK and dV of `key_rows` rows, each over all queries that see it;
/// - for every document and KV head the identities sum(Q ⊗ dQ) = sum(dK ⊗ K) and sum(dO ⊗ O) = sum(dV ⊗ V),
///   which every pair enters, on the scale of independent row errors (check_identity.cpp);
/// - the LSE of every row with a bound that it keeps.
///
/// In both modes every value of every result must be finite, and no row may be zero that cannot be. Half of
/// the key rows lie where the LSE and delta of all their queries can be recomputed in float64, so these are
/// independent of the run. The others lie anywhere and take LSE and output of their queries from the run.
/// Given these the comparison is exact, and the query rows sample these. `results` is RunResult::results.
CheckReport check_results(const Execution& execution, std::span<const std::vector<LocalResults>> results,
                          const CheckOptions& options);

}  // namespace strata
