// SPDX-License-Identifier: Apache-2.0
#include "planner/search/waves.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "core/problem/mask.hpp"

namespace strata {

std::int64_t WaveDocuments::token_count() const {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
}

namespace {

void check_countable(const Batch& batch, const ModelShape& model, std::string_view where) {
  constexpr auto kMost = static_cast<double>(std::int64_t{1} << 62);
  double pairs = 0;  // exact enough: a document alone has at most 2^61
  for (const std::int64_t length : batch.document_lengths()) {
    pairs += static_cast<double>(document_pair_count(model.mask(), length));
  }
  if (pairs * model.query_heads <= kMost) return;
  throw InputError(
      std::string(where),
      fmt::format("{} with {:.1e} pairs of query and key in {}", counted(batch.token_count(), "token"), pairs,
                  counted(model.query_heads, "query head")),
      "at most 4.6e18 pairs x heads");
}

}  // namespace

Batch masked_batch(const Batch& batch, const ModelShape& model, std::string_view where) {
  if (model.mask_kind == MaskKind::document_causal) {
    check_countable(batch, model, where);
    return batch;
  }
  if (!batch.fixed_packs) {
    throw InputError(std::string(where), "free documents with the mask full_causal",
                     "fixed packs, each of which is one sequence under full_causal");
  }
  Batch masked = batch;
  for (auto& pack : masked.packs) pack = {std::accumulate(pack.begin(), pack.end(), std::int64_t{0})};
  validate(masked, where);
  check_countable(masked, model, where);
  return masked;
}

std::vector<WaveDocuments> split_into_waves(const Batch& batch, std::int64_t token_budget) {
  std::vector<WaveDocuments> waves;
  std::vector<std::int64_t> tokens;  // [wave]
  std::int32_t document = 0;
  for (const auto& pack : batch.packs) {
    if (batch.fixed_packs) waves.emplace_back();
    for (const std::int64_t length : pack) {
      std::size_t wave = waves.size() - 1;
      if (!batch.fixed_packs) {
        const auto room = std::find_if(tokens.begin(), tokens.end(),
                                       [&](std::int64_t used) { return used <= token_budget - length; });
        wave = static_cast<std::size_t>(room - tokens.begin());
        if (room == tokens.end()) {
          waves.emplace_back();
          tokens.push_back(0);
        }
        tokens[wave] += length;
      }
      waves[wave].documents.push_back(document++);
      waves[wave].lengths.push_back(length);
    }
  }
  return waves;
}

}  // namespace strata
