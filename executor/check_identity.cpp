// SPDX-License-Identifier: Apache-2.0
// What ties the gradients of a document together as a whole, so that a row no sample hits is seen all the
// same.
//
// With S the scaled scores, P = softmax(S), dP(i,j) = dO(i).V(j) and dS = P * (dP - delta), row by row:
//   O(i)  = sum over j of P(i,j) V(j)           dV(j) = sum over i of P(i,j) dO(i)
//   dQ(i) = scale * sum over j of dS(i,j) K(j)  dK(j) = scale * sum over i of dS(i,j) Q(i)
// so that, with x ⊗ y the matrix of all products of their elements,
//   sum over i of dO(i) ⊗ O(i)  = sum over i, j of P(i,j) dO(i) ⊗ V(j)          = sum over j of dV(j) ⊗ V(j)
//   sum over i of Q(i) ⊗ dQ(i)  = scale * sum over i, j of dS(i,j) Q(i) ⊗ K(j)  = sum over j of dK(j) ⊗ K(j)
// for every mask, whatever P and dS are, as long as both passes mean the same ones. Query heads that share a
// KV head are summed. The traces of the matrices are the sums of dO.O = dV.V and dQ.Q = dK.K; every other
// element is one more witness that costs no more to demand.
//
// A row with an error e puts e ⊗ y into the difference, of size |e| |y|. Values of one row and of the next
// are drawn independently and rounded independently, so the sizes of rows add like squares, and with storage
// that is off by at most u of every element, |e| <= u |x|, the difference is at most u of
//   scale = sqrt(sum over rows of |x|^2 |y|^2).
// Sums are kept in fp32: n of them one after another are off by 2^-24 sqrt(n) of the result, where n is at
// most the document's length. An error of rows is seen when it exceeds u of everything, that is sooner in
// short documents than in long ones, and sooner in early rows, which are larger, than in late ones: 64 rows
// in the middle of one document of 131,072 are 0.4 % of everything, those at its end less.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/problem/mask.hpp"
#include "executor/check_detail.hpp"
#include "executor/seeded_tensors.hpp"

namespace strata {

namespace {

/// Columns that rows of longer documents are folded to, and documents that are short enough to go without:
/// few rows do not average out what folding adds.
constexpr std::int32_t kFoldedColumns = 16;
constexpr std::int64_t kUnfoldedRows = 256;

/// Adds column c to column c mod `columns` with a sign of its own: products of folded rows keep their size in
/// the mean (M. Charikar, K. Chen, M. Farach-Colton, "Finding frequent items in data streams", 2002).
class Fold {
 public:
  Fold(std::int32_t width, std::int64_t length, std::uint64_t seed)
      : columns_(length <= kUnfoldedRows ? width : std::min(width, kFoldedColumns)) {
    std::uint64_t state = seed;
    for (std::int32_t c = 0; c < width; ++c) {
      state += 0x9e3779b97f4a7c15ULL;
      std::uint64_t x = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9ULL;
      x ^= x >> 27;
      signs_.push_back((x & 1) == 0 ? 1.0 : -1.0);
    }
  }
  std::int32_t columns() const { return columns_; }
  template <typename Value>
  void apply(const Value* row, std::vector<double>& folded) const {
    folded.assign(static_cast<std::size_t>(columns_), 0.0);
    for (std::size_t c = 0; c < signs_.size(); ++c) {
      folded[c % folded.size()] += signs_[c] * static_cast<double>(row[c]);
    }
  }

 private:
  std::int32_t columns_;
  std::vector<double> signs_;
};

template <typename Value>
double norm2(const Value* row, std::int32_t width) {
  double sum = 0;
  for (std::int32_t c = 0; c < width; ++c) sum += static_cast<double>(row[c]) * static_cast<double>(row[c]);
  return sum;
}

/// sum of x ⊗ y over the query rows less the same over the key rows; x is of the run, y an input.
class OuterSums {
 public:
  OuterSums(std::int32_t width, std::int64_t length, ElementType type, std::uint64_t seed)
      : width_(width), left_(width, length, seed), right_(width, length, ~seed) {
    const double smallest_normal = type == ElementType::f16 ? 0x1p-14 : 0x1p-126;
    least_norm2_ = smallest_normal * smallest_normal * width;
    sums_.resize(static_cast<std::size_t>(left_.columns()) * static_cast<std::size_t>(right_.columns()));
  }

  /// `left` and `right` are x and y in the order in which their product is summed.
  template <typename Left, typename Right>
  void add(double sign, const Left* left, const Right* right) {
    left_.apply(left, folded_left_);
    right_.apply(right, folded_right_);
    double* at = sums_.data();
    for (const double x : folded_left_) {
      for (const double y : folded_right_) *at++ += sign * x * y;
    }
    // Below its smallest normal number the storage type rounds to steps of a fixed size.
    squares_ += std::max(norm2(left, width_), least_norm2_) * std::max(norm2(right, width_), least_norm2_);
  }

  /// The size of the difference on the scale of what may be off. `least` is of the squares.
  double error(double least) const {
    double sum = 0;
    for (const double value : sums_) sum += value * value;
    return std::sqrt(sum / std::max(squares_, least));
  }

 private:
  std::int32_t width_;
  Fold left_, right_;
  double least_norm2_ = 0, squares_ = 0;
  std::vector<double> sums_, folded_left_, folded_right_;
};

/// The least that the LSE of each row can be: the logarithm of the mean of exp is at least the mean (Jensen),
/// so that lse(i) >= ln n + scale * Q(i).(mean of the n keys that it sees). No sum ties the LSE of a finished
/// run to anything else, and rows that nobody wrote fall below.
class LeastLse {
 public:
  LeastLse(const ModelShape& model, std::uint64_t seed, std::int32_t document, std::int32_t kv_head)
      : model_(model),
        seed_(seed),
        document_(document),
        kv_head_(kv_head),
        sum_(static_cast<std::size_t>(model.head_dim)),
        left_(static_cast<std::size_t>(model.head_dim + model.value_head_dim)) {}

  /// The key of the next token, which its query and later ones see.
  void add(std::int64_t token, const float* key) {
    for (std::size_t c = 0; c < sum_.size(); ++c) sum_[c] += static_cast<double>(key[c]);
    const std::int64_t window = model_.mask().window;
    if (window == 0 || token < window) return;
    seeded_row(seed_, InputTensor::kv, document_, token - window, {kv_head_, kv_head_ + 1},
               model_.head_dim + model_.value_head_dim, model_.element_type, left_.data());
    for (std::size_t c = 0; c < sum_.size(); ++c) sum_[c] -= static_cast<double>(left_[c]);
  }
  /// How far `lse` is below it, on the scale of the score of the row with the mean key, whose products a
  /// finished run has rounded; 1 where that is less. Where one key is seen nothing else separates the two.
  double missing(std::int64_t token, const float* query, double lse) const {
    const auto keys =
        static_cast<double>(keys_seen_by(model_.mask(), {document_, token, token + 1}).length());
    double product = 0, query2 = 0, sum2 = 0;
    for (std::size_t c = 0; c < sum_.size(); ++c) {
      const auto value = static_cast<double>(query[c]);
      product += value * sum_[c];
      query2 += value * value;
      sum2 += sum_[c] * sum_[c];
    }
    const double scale = 1 / (keys * std::sqrt(static_cast<double>(model_.head_dim)));
    return (std::log(keys) + product * scale - lse) / std::max(1.0, std::sqrt(query2 * sum2) * scale);
  }

 private:
  const ModelShape& model_;
  std::uint64_t seed_;
  std::int32_t document_, kv_head_;
  std::vector<double> sum_;
  std::vector<float> left_;
};

/// The factor by which sums of `length` terms in fp32 widen a scale whose tolerance is `tolerance`.
double summation_factor(std::int64_t length, double tolerance) {
  const double step = 0x1p-24 / tolerance;
  return std::sqrt(1.0 + static_cast<double>(length) * step * step);
}

}  // namespace

void compare_identities(const ModelShape& model, const GatheredResults& results, std::int32_t wave,
                        const PlacedDocument& document, std::int32_t kv_head, std::uint64_t seed,
                        ErrorCollector& errors) {
  const std::int32_t group = model.group_size(), k_dim = model.head_dim, v_dim = model.value_head_dim;
  const HeadRange heads{kv_head * group, (kv_head + 1) * group};
  OuterSums scores(k_dim, document.length, model.element_type, seed);
  OuterSums values(v_dim, document.length, model.element_type, seed);
  std::vector<double> result(static_cast<std::size_t>(std::max(k_dim, v_dim)));
  std::vector<float> q(static_cast<std::size_t>(group) * static_cast<std::size_t>(k_dim));
  std::vector<float> d_o(static_cast<std::size_t>(group) * static_cast<std::size_t>(v_dim));
  std::vector<float> kv(static_cast<std::size_t>(k_dim + v_dim));
  const std::int32_t d = document.document;
  LeastLse least_lse(model, seed, d, kv_head);
  const double tolerance = check_tolerance(model.element_type, ResultTensor::o);
  for (std::int64_t token = 0; token < document.length; ++token) {
    seeded_row(seed, InputTensor::q, d, token, heads, k_dim, model.element_type, q.data());
    seeded_row(seed, InputTensor::d_o, d, token, heads, v_dim, model.element_type, d_o.data());
    seeded_row(seed, InputTensor::kv, d, token, {kv_head, kv_head + 1}, k_dim + v_dim, model.element_type,
               kv.data());
    least_lse.add(token, kv.data());
    for (std::int32_t g = 0; g < group; ++g) {
      const float* const query = q.data() + static_cast<std::ptrdiff_t>(g) * k_dim;
      results.read(ResultTensor::dq, d, token, heads.begin + g, result.data());
      scores.add(1.0, query, result.data());
      results.read(ResultTensor::o, d, token, heads.begin + g, result.data());
      values.add(1.0, d_o.data() + static_cast<std::ptrdiff_t>(g) * v_dim, result.data());
      results.read(ResultTensor::lse, d, token, heads.begin + g, result.data());
      const double missing = least_lse.missing(token, query, result.front());
      if (missing > tolerance) {
        errors.add(ResultTensor::lse, missing, {wave, d, heads.begin + g, token, results.owner(d, token)});
      }
    }
    results.read(ResultTensor::dk, d, token, kv_head, result.data());
    scores.add(-1.0, result.data(), kv.data());
    results.read(ResultTensor::dv, d, token, kv_head, result.data());
    values.add(-1.0, result.data(), kv.data() + k_dim);
  }
  const TilePlace place{wave, d, kv_head, -1, -1};
  const double widened = summation_factor(document.length, tolerance);
  // dS may cancel entirely, as for a single token; what is left of it is of the size of one score.
  const double least = static_cast<double>(document.length) * static_cast<double>(group);
  errors.add_identity(Identity::scores, scores.error(least) / widened, place);
  errors.add_identity(Identity::values, values.error(0.0) / widened, place);
}

}  // namespace strata
