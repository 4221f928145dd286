// SPDX-License-Identifier: Apache-2.0
#include "executor/check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "executor/check_detail.hpp"
#include "executor/seeded_tensors.hpp"

namespace strata {

double check_tolerance(ElementType type, ResultTensor tensor) {
  const bool forward = tensor == ResultTensor::o || tensor == ResultTensor::lse;
  switch (type) {
    case ElementType::f32:
      return forward ? 2e-6 : 5e-6;
    case ElementType::bf16:
      return forward ? 4e-3 : 8e-3;
    case ElementType::f16:
      return forward ? 5e-4 : 1e-3;
  }
  STRATA_CHECK(false, "element type {} has no tolerance", static_cast<int>(type));
}

bool CheckReport::passed() const {
  return !tensors.empty() && std::all_of(tensors.begin(), tensors.end(),
                                         [](const CheckedTensor& tensor) { return tensor.passed(); });
}

double CheckReport::max_relative_l2() const {
  double largest = 0;
  for (const CheckedTensor& tensor : tensors) {
    if (tensor.of_sums) continue;
    if (std::isnan(tensor.error)) return tensor.error;
    largest = std::max(largest, tensor.error);
  }
  return largest;
}

std::string CheckReport::to_text() const {
  std::string text;
  for (const CheckedTensor& tensor : tensors) {
    fmt::format_to(std::back_inserter(text), "{:8} {:.2e} (at most {:.0e}) {}", tensor.tensor, tensor.error,
                   tensor.tolerance, tensor.passed() ? "ok" : "FAILED");
    if (tensor.tiles > 0 && tensor.rank >= 0) {
      fmt::format_to(std::back_inserter(text), ", of {} tiles; wave {} document {} head {} row {} on rank {}",
                     tensor.tiles, tensor.wave, tensor.document, tensor.head, tensor.row, tensor.rank);
    } else if (tensor.tiles > 0) {
      fmt::format_to(std::back_inserter(text), ", of {}; wave {} document {} KV head {}, rows of all ranks",
                     counted(tensor.tiles, "sum"), tensor.wave, tensor.document, tensor.head);
    }
    text += '\n';
  }
  return text;
}

std::string_view to_string(CheckMode mode) { return mode == CheckMode::full ? "full" : "sampled"; }

std::string CheckReport::verdict() const {
  return fmt::format("check {} ({}): the result {}", passed() ? "passed" : "FAILED", to_string(mode),
                     passed() ? "is what one device computes" : "differs from the float64 reference");
}

std::string_view to_string(Identity identity) { return identity == Identity::scores ? "dq=dk" : "o=dv"; }

double gradient_scale(ElementType type, double squares, std::size_t count) {
  const double smallest_normal = type == ElementType::f16 ? 0x1p-14 : 0x1p-126;
  return std::max(std::sqrt(squares), smallest_normal * std::sqrt(static_cast<double>(count)));
}

ErrorCollector::ErrorCollector(ElementType type) {
  for (int t = 0; t < kResultTensors; ++t) {
    const auto tensor = static_cast<ResultTensor>(t);
    CheckedTensor& entry = worst_.emplace_back();
    entry.tensor = to_string(tensor);
    entry.tolerance = check_tolerance(type, tensor);
  }
  for (int i = 0; i < kIdentities; ++i) {
    CheckedTensor& entry = worst_.emplace_back();
    entry.tensor = to_string(static_cast<Identity>(i));
    entry.of_sums = true;
    entry.tolerance = check_tolerance(type, ResultTensor::o);
  }
}

void ErrorCollector::add_to(CheckedTensor& worst, double error, const TilePlace& place) {
  ++worst.tiles;
  const bool worse =
      worst.tiles == 1 || error > worst.error || (std::isnan(error) && !std::isnan(worst.error));
  if (!worse) return;
  worst.error = error;
  worst.wave = place.wave;
  worst.document = place.document;
  worst.head = place.head;
  worst.row = place.row;
  worst.rank = place.rank;
}

void ErrorCollector::add(ResultTensor tensor, double error, const TilePlace& place) {
  add_to(worst_[static_cast<std::size_t>(tensor)], error, place);
}

void ErrorCollector::add_identity(Identity identity, double error, const TilePlace& place) {
  add_to(worst_[static_cast<std::size_t>(kResultTensors) + static_cast<std::size_t>(identity)], error, place);
}

void ErrorCollector::merge(const ErrorCollector& other) {
  for (std::size_t t = 0; t < worst_.size(); ++t) {
    const CheckedTensor& theirs = other.worst_[t];
    if (theirs.tiles == 0) continue;
    const std::int64_t tiles = worst_[t].tiles + theirs.tiles;
    add_to(worst_[t], theirs.error, {theirs.wave, theirs.document, theirs.head, theirs.row, theirs.rank});
    worst_[t].tiles = tiles;
  }
}

std::vector<CheckedTensor> ErrorCollector::finish() const {
  std::vector<CheckedTensor> tensors = worst_;
  while (tensors.size() > static_cast<std::size_t>(kResultTensors) && tensors.back().tiles == 0) {
    tensors.pop_back();
  }
  return tensors;
}

std::vector<std::int64_t> row_range(std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> rows;
  for (std::int64_t row = begin; row < end; ++row) rows.push_back(row);
  return rows;
}

OracleInput::OracleInput(const ModelShape& model, std::uint64_t seed, std::int32_t kv_head,
                         std::int32_t document, std::span<const std::int64_t> query_rows,
                         std::span<const std::int64_t> key_rows) {
  const std::int32_t group = model.group_size();
  const HeadRange query_heads{kv_head * group, (kv_head + 1) * group};
  const auto append = [&](InputTensor tensor, std::int64_t token, HeadRange heads, std::int32_t width,
                          std::vector<float>& row) {
    row.resize(static_cast<std::size_t>(heads.count()) * static_cast<std::size_t>(width));
    seeded_row(seed, tensor, document, token, heads, width, model.element_type, row.data());
  };
  std::vector<float> row;
  for (const std::int64_t token : query_rows) {
    append(InputTensor::q, token, query_heads, model.head_dim, row);
    q.insert(q.end(), row.begin(), row.end());
    append(InputTensor::d_o, token, query_heads, model.value_head_dim, row);
    d_o.insert(d_o.end(), row.begin(), row.end());
  }
  for (const std::int64_t token : key_rows) {
    append(InputTensor::kv, token, {kv_head, kv_head + 1}, model.head_dim + model.value_head_dim, row);
    k.insert(k.end(), row.begin(), row.begin() + model.head_dim);
    v.insert(v.end(), row.begin() + model.head_dim, row.end());
  }
  view.queries = std::ssize(query_rows);
  view.keys = std::ssize(key_rows);
  view.query_heads = group;
  view.kv_heads = 1;
  view.k_dim = model.head_dim;
  view.v_dim = model.value_head_dim;
  // The scale that the kernels are given is an fp32 number; the function under test is defined with that
  // number.
  view.scale = static_cast<double>(static_cast<float>(1.0 / std::sqrt(static_cast<double>(model.head_dim))));
  view.q = q;
  view.k = k;
  view.v = v;
  view.grad_out = d_o;
}

namespace {

/// Whether a row of zeros can only be one that nobody wrote. Inputs are drawn from a continuous distribution,
/// so that the sums of a row do not all vanish, except where the gradient of the scores is zero: where every
/// query sees one key. Rows of a few elements may, and gradients that half precision holds in steps.
bool zeros_are_unwritten(const GatheredResults& results, const ModelShape& model,
                         const PlacedDocument& document, ResultTensor tensor, std::int64_t token) {
  constexpr std::int32_t kFewElements = 8;
  constexpr std::int64_t kHalfPrecisionRows = 1 << 16;
  if (results.width(tensor) < kFewElements) return false;
  if (model.element_type == ElementType::f16 && document.length > kHalfPrecisionRows) return false;
  if (tensor == ResultTensor::o || tensor == ResultTensor::dv) return true;
  const std::int64_t row = tensor == ResultTensor::dq ? token : document.length - 1;
  return row > 0 && model.mask().window != 1;
}

/// A NaN or infinity anywhere in the results, and rows that nobody wrote, also where nothing is compared. A
/// row of zeros is off by all of itself.
void check_every_row(const GatheredResults& results, const ModelShape& model, const PlacedDocument& document,
                     std::int32_t wave, ErrorCollector& errors) {
  std::vector<double> row(static_cast<std::size_t>(std::max(model.head_dim, model.value_head_dim)));
  for (int t = 0; t < kResultTensors; ++t) {
    const auto tensor = static_cast<ResultTensor>(t);
    const bool of_kv = tensor == ResultTensor::dk || tensor == ResultTensor::dv;
    for (std::int64_t token = 0; token < document.length; ++token) {
      const bool never_zero = zeros_are_unwritten(results, model, document, tensor, token);
      for (std::int32_t head = 0; head < (of_kv ? model.kv_heads : model.query_heads); ++head) {
        results.read(tensor, document.document, token, head, row.data());
        const auto end = row.begin() + results.width(tensor);
        const bool finite = std::all_of(row.begin(), end, [](double value) { return std::isfinite(value); });
        const bool zero =
            never_zero && std::all_of(row.begin(), end, [](double value) { return value == 0; });
        if (finite && !zero) continue;
        errors.add(tensor, finite ? 1.0 : std::numeric_limits<double>::quiet_NaN(),
                   {wave, document.document, head, token, results.owner(document.document, token)});
      }
    }
  }
}

}  // namespace

CheckReport check_results(const Execution& execution, std::span<const std::vector<LocalResults>> results,
                          const CheckOptions& options) {
  STRATA_CHECK(results.size() == execution.waves.size(), "results of {} waves, plan of {}", results.size(),
               execution.waves.size());
  const ModelShape& model = execution.model;
  ErrorCollector errors(model.element_type);
  for (std::size_t w = 0; w < execution.waves.size(); ++w) {
    const SequenceLayout& placement = execution.waves[w].placement;
    const GatheredResults gathered(model, placement, results[w]);
    const auto wave = static_cast<std::int32_t>(w);
    CheckOptions of_wave = options;
    if (options.progress) {
      of_wave.progress = [&](double share) {
        options.progress((static_cast<double>(w) + share) / static_cast<double>(execution.waves.size()));
      };
    }
    if (options.mode == CheckMode::full) {
      const FullOracle oracle(model, placed_documents(placement), options.seed, options.threads,
                              of_wave.progress);
      compare_full(oracle, model, gathered, wave, options.threads, errors);
    } else {
      compare_sampled(model, placement, gathered, wave, of_wave, errors);
    }
    for (const PlacedDocument& document : placed_documents(placement)) {
      check_every_row(gathered, model, document, wave, errors);
    }
  }
  return {options.mode, errors.finish()};
}

}  // namespace strata
