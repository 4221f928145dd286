// SPDX-License-Identifier: Apache-2.0
// Chosen rows against the oracle, for packs whose full reference would take hours.
#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <numeric>

#include "core/base/parallel_for.hpp"
#include "core/problem/mask.hpp"
#include "executor/check_detail.hpp"
#include "executor/seeded_tensors.hpp"

namespace strata {

namespace {

/// Pairs per query head that recomputing the rows behind one independent key row may take.
constexpr std::int64_t kRecomputePairs = 1 << 18;
/// Query rows that are in memory at a time while a key row is compared.
constexpr std::int64_t kQueryChunk = 2048;

/// Reproducible draws.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : state_(seed) {}
  std::int64_t below(std::int64_t limit) {
    state_ += 0x9e3779b97f4a7c15ULL;
    std::uint64_t x = state_;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return static_cast<std::int64_t>((x ^ (x >> 31)) % static_cast<std::uint64_t>(limit));
  }

 private:
  std::uint64_t state_;
};

/// document -> rows, ascending.
using RowSample = std::map<std::int32_t, std::vector<std::int64_t>>;

/// A token drawn evenly from all documents.
std::pair<std::size_t, std::int64_t> draw_token(const std::vector<PlacedDocument>& documents, Draw& draw) {
  std::int64_t total = 0;
  for (const PlacedDocument& document : documents) total += document.length;
  std::int64_t token = draw.below(total);
  std::size_t d = 0;
  while (token >= documents[d].length) token -= documents[d++].length;
  return {d, token};
}

void sort_rows(RowSample& sample) {
  for (auto& [document, rows] : sample) {
    std::sort(rows.begin(), rows.end());
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  }
}

RowSample query_sample(const std::vector<PlacedDocument>& documents, const SequenceLayout& placement,
                       std::int64_t count, Draw& draw) {
  RowSample sample;
  for (const auto& rank : placement.spans) {
    for (const TokenSpan& span : rank) {
      auto& rows = sample[span.document];
      rows.push_back(span.begin);
      rows.push_back(span.end - 1);
    }
  }
  sort_rows(sample);
  std::int64_t tokens = 0;
  for (const PlacedDocument& document : documents) tokens += document.length;
  const auto missing = [&] {
    std::int64_t total = 0;
    for (const auto& [document, rows] : sample) total += std::ssize(rows);
    return std::min(count, tokens) - total;
  };
  for (std::int64_t more = missing(); more > 0; more = missing()) {
    for (std::int64_t i = 0; i < more; ++i) {
      const auto [d, token] = draw_token(documents, draw);
      sample[documents[d].document].push_back(token);
    }
    sort_rows(sample);
  }
  return sample;
}

/// The first key row whose queries can all be recomputed within the budget.
std::int64_t first_affordable(const Mask& mask, const PlacedDocument& document) {
  std::int64_t low = 0, high = document.length - 1;
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    const TokenSpan queries =
        queries_that_see(mask, {document.document, middle, middle + 1}, document.length);
    const bool affordable =
        pair_count(mask, queries, {document.document, 0, document.length}) <= kRecomputePairs;
    (affordable ? high : low) = affordable ? middle : middle + 1;
  }
  return low;
}

struct KeyRow {
  std::int32_t document = 0;
  std::int64_t length = 0;
  std::int64_t row = 0;
  bool independent = false;
};

std::vector<KeyRow> key_sample(const ModelShape& model, const std::vector<PlacedDocument>& documents,
                               std::int64_t count, Draw& draw) {
  std::vector<KeyRow> sample;
  for (std::int64_t i = 0; i < count; ++i) {
    auto [d, token] = draw_token(documents, draw);
    const PlacedDocument& document = documents[d];
    const bool independent = i % 2 == 0;
    if (independent) {
      const std::int64_t first = first_affordable(model.mask(), document);
      token = first + draw.below(document.length - first);
    }
    sample.push_back({document.document, document.length, token, independent});
  }
  return sample;
}

/// Row r, head h of a token-major reference against the run.
class RowComparison {
 public:
  RowComparison(const GatheredResults& results, std::int32_t wave, std::int32_t document,
                ErrorCollector& errors)
      : results_(results), wave_(wave), document_(document), errors_(errors) {}

  /// `reference` points at the row's values; `scale` at its absolute sums or null.
  void add(ResultTensor tensor, std::int64_t token, std::int32_t head, const double* reference,
           const double* scale) {
    const auto width = static_cast<std::size_t>(results_.width(tensor));
    row_.resize(width);
    results_.read(tensor, document_, token, head, row_.data());
    double scale_norm = 1.0;
    if (scale != nullptr) {
      const double squares = std::inner_product(scale, scale + width, scale, 0.0);
      scale_norm = gradient_scale(results_.element_type(), squares, width);
    }
    const double error = kernels::tile_error(row_, std::span(reference, width), scale_norm);
    errors_.add(tensor, error, {wave_, document_, head, token, results_.owner(document_, token)});
  }

 private:
  const GatheredResults& results_;
  std::int32_t wave_, document_;
  ErrorCollector& errors_;
  std::vector<double> row_;
};

/// Keys [begin[i], end[i]) of the query rows, as positions among all keys of the document.
kernels::ReferenceMask mask_of_rows(const Mask& mask, std::span<const std::int64_t> rows) {
  kernels::ReferenceMask result;
  for (const std::int64_t row : rows) {
    const TokenSpan keys = keys_seen_by(mask, {0, row, row + 1});
    result.begin.push_back(keys.begin);
    result.end.push_back(keys.end);
  }
  return result;
}

void compare_query_rows(const ModelShape& model, const GatheredResults& results, std::int32_t wave,
                        std::int32_t document, std::span<const std::int64_t> rows, std::int32_t kv_head,
                        std::uint64_t seed, ErrorCollector& errors) {
  const OracleInput input(model, seed, kv_head, document, rows, row_range(0, rows.back() + 1));
  const kernels::ReferenceMask mask = mask_of_rows(model.mask(), rows);
  const std::vector<std::int64_t> every = row_range(0, std::ssize(rows));
  const auto output = kernels::reference_forward_rows(input.view, mask, every);
  const auto gradients = kernels::reference_grad_query_rows(input.view, mask, every, output);
  RowComparison comparison(results, wave, document, errors);
  const std::int32_t group = model.group_size();
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::int32_t g = 0; g < group; ++g) {
      const std::int64_t place = static_cast<std::int64_t>(r) * group + g;
      const std::int32_t head = kv_head * group + g;
      comparison.add(ResultTensor::o, rows[r], head, output.out.data() + place * model.value_head_dim,
                     nullptr);
      comparison.add(ResultTensor::lse, rows[r], head, output.lse.data() + place, nullptr);
      comparison.add(ResultTensor::dq, rows[r], head, gradients.grad_q.data() + place * model.head_dim,
                     gradients.scale_q.data() + place * model.head_dim);
    }
  }
}

/// Final LSE and delta of some query rows and the heads of one KV head.
struct RowStatistics {
  std::vector<double> lse, delta;
};

RowStatistics recomputed_statistics(const ModelShape& model, const KeyRow& key, std::int32_t kv_head,
                                    std::span<const std::int64_t> rows, const OracleInput& queries,
                                    std::uint64_t seed) {
  OracleInput input(model, seed, kv_head, key.document, {}, row_range(0, rows.back() + 1));
  input.view.queries = std::ssize(rows);
  input.view.q = queries.q;
  const auto output = kernels::reference_forward_rows(input.view, mask_of_rows(model.mask(), rows),
                                                      row_range(0, std::ssize(rows)));
  RowStatistics statistics{output.lse, {}};
  const auto width = static_cast<std::size_t>(model.value_head_dim);
  for (std::size_t place = 0; place < output.lse.size(); ++place) {
    double delta = 0;
    for (std::size_t c = 0; c < width; ++c)
      delta += output.out[place * width + c] * queries.d_o[place * width + c];
    statistics.delta.push_back(delta);
  }
  return statistics;
}

RowStatistics statistics_of_run(const ModelShape& model, const GatheredResults& results, const KeyRow& key,
                                std::int32_t kv_head, std::span<const std::int64_t> rows,
                                const OracleInput& queries) {
  RowStatistics statistics;
  const auto width = static_cast<std::size_t>(model.value_head_dim);
  std::vector<double> out(width);
  for (const std::int64_t row : rows) {
    for (std::int32_t g = 0; g < model.group_size(); ++g) {
      double lse = 0, delta = 0;
      const std::size_t place = statistics.lse.size();
      results.read(ResultTensor::lse, key.document, row, kv_head * model.group_size() + g, &lse);
      results.read(ResultTensor::o, key.document, row, kv_head * model.group_size() + g, out.data());
      for (std::size_t c = 0; c < width; ++c) delta += out[c] * queries.d_o[place * width + c];
      statistics.lse.push_back(lse);
      statistics.delta.push_back(delta);
    }
  }
  return statistics;
}

void compare_key_row(const ModelShape& model, const GatheredResults& results, std::int32_t wave,
                     const KeyRow& key, std::int32_t kv_head, std::uint64_t seed, ErrorCollector& errors) {
  kernels::ReferenceGradients sum;
  sum.grad_k.resize(static_cast<std::size_t>(model.head_dim));
  sum.scale_k = sum.grad_k;
  sum.grad_v.resize(static_cast<std::size_t>(model.value_head_dim));
  sum.scale_v = sum.grad_v;
  const TokenSpan seeing = queries_that_see(model.mask(), {key.document, key.row, key.row + 1}, key.length);
  const std::vector<std::int64_t> key_rows{key.row}, first{0};
  for (std::int64_t begin = seeing.begin; begin < seeing.end; begin += kQueryChunk) {
    const std::vector<std::int64_t> rows = row_range(begin, std::min(seeing.end, begin + kQueryChunk));
    const OracleInput input(model, seed, kv_head, key.document, rows, key_rows);
    const RowStatistics statistics = key.independent
                                         ? recomputed_statistics(model, key, kv_head, rows, input, seed)
                                         : statistics_of_run(model, results, key, kv_head, rows, input);
    const auto part = kernels::reference_grad_key_rows(input.view, kernels::full_mask(std::ssize(rows), 1),
                                                       first, statistics.lse, statistics.delta);
    const auto add = [](std::vector<double>& total, const std::vector<double>& values) {
      for (std::size_t i = 0; i < total.size(); ++i) total[i] += values[i];
    };
    add(sum.grad_k, part.grad_k);
    add(sum.scale_k, part.scale_k);
    add(sum.grad_v, part.grad_v);
    add(sum.scale_v, part.scale_v);
  }
  RowComparison comparison(results, wave, key.document, errors);
  comparison.add(ResultTensor::dk, key.row, kv_head, sum.grad_k.data(), sum.scale_k.data());
  comparison.add(ResultTensor::dv, key.row, kv_head, sum.grad_v.data(), sum.scale_v.data());
}

}  // namespace

void compare_sampled(const ModelShape& model, const SequenceLayout& placement, const GatheredResults& results,
                     std::int32_t wave, const CheckOptions& options, ErrorCollector& errors) {
  const std::vector<PlacedDocument> documents = placed_documents(placement);
  if (documents.empty()) return;
  Draw draw(options.seed + static_cast<std::uint64_t>(wave));
  const RowSample queries = query_sample(documents, placement, options.query_rows, draw);
  const std::vector<KeyRow> keys = key_sample(model, documents, options.key_rows, draw);

  std::vector<std::pair<std::int32_t, std::span<const std::int64_t>>> query_jobs(queries.begin(),
                                                                                 queries.end());
  const auto query_count = std::ssize(query_jobs) * model.kv_heads;
  const auto key_count = std::ssize(keys) * model.kv_heads;
  const auto identity_count = std::ssize(documents) * model.kv_heads;
  const std::int64_t jobs = query_count + key_count + identity_count;
  std::vector<ErrorCollector> partial(static_cast<std::size_t>(jobs), ErrorCollector(model.element_type));
  std::mutex mutex;
  std::int64_t done = 0;
  parallel_for(jobs, options.threads, [&](std::int64_t job) {
    ErrorCollector& mine = partial[static_cast<std::size_t>(job)];
    const auto head = static_cast<std::int32_t>(job % model.kv_heads);
    if (job < query_count) {
      const auto& [document, rows] = query_jobs[static_cast<std::size_t>(job / model.kv_heads)];
      compare_query_rows(model, results, wave, document, rows, head, options.seed, mine);
    } else if (job < query_count + key_count) {
      const auto index = static_cast<std::size_t>((job - query_count) / model.kv_heads);
      compare_key_row(model, results, wave, keys[index], head, options.seed, mine);
    } else {
      const auto index = static_cast<std::size_t>((job - query_count - key_count) / model.kv_heads);
      compare_identities(model, results, wave, documents[index], head, options.seed, mine);
    }
    if (!options.progress) return;
    const std::lock_guard lock(mutex);
    options.progress(static_cast<double>(++done) / static_cast<double>(jobs));
  });
  for (const ErrorCollector& part : partial) errors.merge(part);
}

}  // namespace strata
