// SPDX-License-Identifier: Apache-2.0
// Inside of the check: the oracle of whole documents, kept apart so that one computation serves many runs of
// the same documents, and the collection of errors.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "executor/check.hpp"
#include "kernels/reference_attention.hpp"

namespace strata {

inline constexpr std::int64_t kTileRows = 64;

/// The reference of one KV head of one document and of the query heads that read it, token-major.
struct HeadReference {
  kernels::ReferenceOutput output;
  kernels::ReferenceGradients gradients;
};

/// Inputs of one KV head's reference: query rows `queries` and key rows `keys` of one document.
struct OracleInput {
  std::vector<double> q, k, v, d_o;
  kernels::ReferenceInput view;  ///< of the vectors above: not copyable
  OracleInput(const ModelShape& model, std::uint64_t seed, std::int32_t kv_head, std::int32_t document,
              std::span<const std::int64_t> query_rows, std::span<const std::int64_t> key_rows);
  OracleInput(const OracleInput&) = delete;
  OracleInput& operator=(const OracleInput&) = delete;
};

/// [begin, end) as a list.
std::vector<std::int64_t> row_range(std::int64_t begin, std::int64_t end);

/// Every row of every document, in float64.
class FullOracle {
 public:
  /// `progress` as in CheckOptions.
  FullOracle(const ModelShape& model, std::vector<PlacedDocument> documents, std::uint64_t seed,
             std::int32_t threads, const std::function<void(double)>& progress = {});
  const std::vector<PlacedDocument>& documents() const { return documents_; }
  const HeadReference& of(std::size_t document, std::int32_t kv_head) const;

 private:
  std::int32_t kv_heads_ = 1;
  std::vector<PlacedDocument> documents_;
  std::vector<HeadReference> heads_;  ///< [document][kv head]
};

/// Where a tile lies.
struct TilePlace {
  std::int32_t wave = 0, document = 0, head = 0;
  std::int64_t row = 0;
  std::int32_t rank = -1;
};

/// The s of check.hpp for `count` elements of a gradient; `squares` is the sum of their squares with absolute
/// values in every sum.
double gradient_scale(ElementType type, double squares, std::size_t count);

/// Sums that the two sides of a document share: Q with dQ gives the same as K with dK, dO with O the same as
/// V with dV.
enum class Identity : std::uint8_t { scores, values };
inline constexpr int kIdentities = 2;
std::string_view to_string(Identity identity);

/// Keeps the worst tile of every tensor.
class ErrorCollector {
 public:
  explicit ErrorCollector(ElementType type);
  void add(ResultTensor tensor, double error, const TilePlace& place);
  void add_identity(Identity identity, double error, const TilePlace& place);
  void merge(const ErrorCollector& other);
  /// All of o, lse, dq, dk, dv, and the identities that were added.
  std::vector<CheckedTensor> finish() const;

 private:
  static void add_to(CheckedTensor& worst, double error, const TilePlace& place);
  std::vector<CheckedTensor> worst_;
};

void compare_full(const FullOracle& oracle, const ModelShape& model, const GatheredResults& results,
                  std::int32_t wave, std::int32_t threads, ErrorCollector& errors);
void compare_sampled(const ModelShape& model, const SequenceLayout& placement, const GatheredResults& results,
                     std::int32_t wave, const CheckOptions& options, ErrorCollector& errors);

/// Both identities of one document and KV head, each as its difference on the scale of independent errors of
/// rows.
void compare_identities(const ModelShape& model, const GatheredResults& results, std::int32_t wave,
                        const PlacedDocument& document, std::int32_t kv_head, std::uint64_t seed,
                        ErrorCollector& errors);

}  // namespace strata
