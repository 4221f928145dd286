// SPDX-License-Identifier: Apache-2.0
// The ranks' local results of one wave, read as if every document lay in one piece.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/problem/model_shape.hpp"
#include "executor/run.hpp"

namespace strata {

enum class ResultTensor : std::uint8_t { o, lse, dq, dk, dv };
inline constexpr int kResultTensors = 5;
std::string_view to_string(ResultTensor tensor);

/// A document of a wave and its tokens.
struct PlacedDocument {
  std::int32_t document = 0;
  std::int64_t length = 0;
};
/// The documents that the placement holds, ascending. STRATA_CHECKs that every token is placed exactly once.
std::vector<PlacedDocument> placed_documents(const SequenceLayout& placement);

class GatheredResults {
 public:
  /// All arguments must outlive the object. `results` is [rank].
  GatheredResults(const ModelShape& model, const SequenceLayout& placement,
                  std::span<const LocalResults> results);

  /// The type of outputs and gradients.
  ElementType element_type() const { return model_.element_type; }
  /// Elements per row and head.
  std::int32_t width(ResultTensor tensor) const;
  /// Row `token`, head `head` (KV head for dk and dv), as `width` doubles.
  void read(ResultTensor tensor, std::int32_t document, std::int64_t token, std::int32_t head,
            double* out) const;
  std::int32_t owner(std::int32_t document, std::int64_t token) const;

 private:
  struct Piece {
    std::int32_t document = 0;
    std::int64_t begin = 0, end = 0;
    std::int32_t rank = 0;
    std::int64_t row = 0;  ///< of the rank's local tensors
  };
  const Piece& find(std::int32_t document, std::int64_t token) const;

  const ModelShape& model_;
  std::span<const LocalResults> results_;
  std::vector<Piece> pieces_;  ///< sorted by document and begin
};

}  // namespace strata
