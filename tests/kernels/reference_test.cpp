// SPDX-License-Identifier: Apache-2.0
// Shows the oracle itself right: against a softmax worked by hand, against finite differences of its own
// forward pass, and its restricted forms against the full one.
#include "kernels/reference_attention.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace strata::kernels {
namespace {

struct Data {
  ReferenceInput input;
  std::vector<double> q, k, v, grad_out;

  Data(std::int64_t queries, std::int64_t keys, std::int32_t query_heads, std::int32_t kv_heads,
       std::int32_t k_dim, std::int32_t v_dim) {
    std::mt19937 generator(17);
    std::normal_distribution<double> normal;
    const auto random = [&](std::vector<double>& values, std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i) values.push_back(normal(generator));
    };
    random(q, queries * query_heads * k_dim);
    random(k, keys * kv_heads * k_dim);
    random(v, keys * kv_heads * v_dim);
    random(grad_out, queries * query_heads * v_dim);
    input = {queries, keys, query_heads, kv_heads, k_dim, v_dim, 0.7, {}, {}, {}, {}};
    bind();
  }
  Data(const Data&) = delete;
  Data& operator=(const Data&) = delete;

  void bind() {
    input.q = q;
    input.k = k;
    input.v = v;
    input.grad_out = grad_out;
  }

  /// The scalar whose gradient the backward pass computes.
  [[nodiscard]] double loss(const ReferenceMask& mask) const {
    const ReferenceOutput output = reference_forward(input, mask);
    double sum = 0;
    for (std::size_t i = 0; i < grad_out.size(); ++i) sum += grad_out[i] * output.out[i];
    return sum;
  }
};

void expect_finite_differences(Data& data, std::vector<double>& values, const std::vector<double>& gradient,
                               const ReferenceMask& mask) {
  for (std::size_t i = 0; i < values.size(); i += 3) {
    constexpr double kStep = 1e-5;
    const double original = values[i];
    values[i] = original + kStep;
    const double above = data.loss(mask);
    values[i] = original - kStep;
    const double below = data.loss(mask);
    values[i] = original;
    EXPECT_NEAR((above - below) / (2 * kStep), gradient[i], 1e-8) << i;
  }
}

TEST(Reference, ForwardEqualsASoftmaxWorkedByHand) {
  const std::vector<double> q = {1, 2};  // two queries, one head, one dimension
  const std::vector<double> k = {0, std::log(3.0)};
  const std::vector<double> v = {10, 20};
  const ReferenceInput input{2, 2, 1, 1, 1, 1, 1.0, q, k, v, {}};
  const ReferenceOutput output = reference_forward(input, causal_mask(2, 2));
  EXPECT_DOUBLE_EQ(output.out[0], 10);  // sees only the first key
  EXPECT_DOUBLE_EQ(output.lse[0], 0);
  EXPECT_DOUBLE_EQ(output.out[1], (10.0 + 9.0 * 20.0) / 10.0);  // weights 1 and 3^2
  EXPECT_DOUBLE_EQ(output.lse[1], std::log(10.0));
}

TEST(Reference, ARowThatSeesNothingIsZeroWithMinusInfinity) {
  const Data data(3, 3, 2, 1, 4, 4);
  const ReferenceMask mask = band_mask(3, 3, -3, -1);
  const ReferenceOutput output = reference_forward(data.input, mask);
  EXPECT_EQ(output.lse[0], -std::numeric_limits<double>::infinity());
  EXPECT_EQ(output.lse[1], -std::numeric_limits<double>::infinity());
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(output.out[i], 0);
  for (const double g : reference_backward(data.input, mask, output).grad_q) EXPECT_TRUE(std::isfinite(g));
}

TEST(Reference, BackwardEqualsFiniteDifferencesForGroupedHeadsAndAnyMask) {
  Data data(7, 9, 4, 2, 3, 5);
  const auto odd = [](std::int64_t i, std::int64_t j) { return (i * 5 + j * 3) % 4 != 0; };
  for (const ReferenceMask& mask :
       {causal_mask(7, 9), full_mask(7, 9), band_mask(7, 9, -2, 3), predicate_mask(7, 9, odd)}) {
    const ReferenceGradients gradients =
        reference_backward(data.input, mask, reference_forward(data.input, mask));
    expect_finite_differences(data, data.q, gradients.grad_q, mask);
    expect_finite_differences(data, data.k, gradients.grad_k, mask);
    expect_finite_differences(data, data.v, gradients.grad_v, mask);
  }
}

TEST(Reference, ScalesBoundTheGradientsAndAreTheSumsOfAbsoluteTerms) {
  const Data data(6, 6, 2, 1, 3, 3);
  const ReferenceMask mask = causal_mask(6, 6);
  const ReferenceGradients g = reference_backward(data.input, mask, reference_forward(data.input, mask));
  for (std::size_t i = 0; i < g.grad_q.size(); ++i) EXPECT_LE(std::abs(g.grad_q[i]), g.scale_q[i]);
  for (std::size_t i = 0; i < g.grad_k.size(); ++i) EXPECT_LE(std::abs(g.grad_k[i]), g.scale_k[i]);
  for (std::size_t i = 0; i < g.grad_v.size(); ++i) EXPECT_LE(std::abs(g.grad_v[i]), g.scale_v[i]);
  // The first query sees one key: its gradient is zero up to rounding, its scale 2 * scale * |dO| . |v| *
  // |k|.
  double product = 0;
  for (std::size_t c = 0; c < 3; ++c) product += std::abs(data.grad_out[c] * data.v[c]);
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(g.grad_q[c], 0, 1e-15);
    EXPECT_NEAR(g.scale_q[c], 2 * 0.7 * product * std::abs(data.k[c]), 1e-12);
  }
}

TEST(Reference, ChosenRowsEqualTheSameRowsOfTheFullResult) {
  const Data data(8, 8, 4, 2, 3, 5);
  const ReferenceMask mask = causal_mask(8, 8);
  const ReferenceOutput full = reference_forward(data.input, mask);
  const ReferenceGradients gradients = reference_backward(data.input, mask, full);
  const std::vector<std::int64_t> rows = {0, 3, 7};
  const ReferenceOutput part = reference_forward_rows(data.input, mask, rows);
  const ReferenceGradients for_queries = reference_grad_query_rows(data.input, mask, rows, part);
  std::vector<double> delta;
  for (std::size_t i = 0; i < full.lse.size(); ++i) {
    double sum = 0;
    for (std::size_t c = 0; c < 5; ++c) sum += data.grad_out[i * 5 + c] * full.out[i * 5 + c];
    delta.push_back(sum);
  }
  const ReferenceGradients for_keys = reference_grad_key_rows(data.input, mask, rows, full.lse, delta);
  const auto row_of = [](const std::vector<double>& values, std::int64_t row, std::size_t width) {
    const auto begin = values.begin() + row * static_cast<std::ptrdiff_t>(width);
    return std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(width));
  };
  for (std::int64_t r = 0; r < 3; ++r) {
    const std::int64_t row = rows[static_cast<std::size_t>(r)];
    EXPECT_EQ(row_of(part.out, r, 20), row_of(full.out, row, 20));
    EXPECT_EQ(row_of(part.lse, r, 4), row_of(full.lse, row, 4));
    EXPECT_EQ(row_of(for_queries.grad_q, r, 12), row_of(gradients.grad_q, row, 12));
    EXPECT_EQ(row_of(for_queries.scale_q, r, 12), row_of(gradients.scale_q, row, 12));
    EXPECT_EQ(row_of(for_keys.grad_v, r, 10), row_of(gradients.grad_v, row, 10));
    EXPECT_EQ(row_of(for_keys.scale_v, r, 10), row_of(gradients.scale_v, row, 10));
    for (std::size_t c = 0; c < 6; ++c) {
      EXPECT_NEAR(row_of(for_keys.grad_k, r, 6)[c], row_of(gradients.grad_k, row, 6)[c], 1e-13);
      EXPECT_LE(row_of(for_keys.scale_k, r, 6)[c], row_of(gradients.scale_k, row, 6)[c] * (1 + 1e-12));
    }
  }
}

TEST(Reference, TileErrorIsRelativeFlooredByTheScaleAndKeepsNaN) {
  const std::vector<double> reference = {3, 4};
  EXPECT_DOUBLE_EQ(tile_error(std::vector<double>{3, 4.5}, reference, 1), 0.1);
  EXPECT_DOUBLE_EQ(tile_error(std::vector<double>{3, 4.5}, reference, 10), 0.05);
  EXPECT_EQ(tile_error(std::vector<double>{0, 0}, std::vector<double>{0, 0}, 0), 0);
  EXPECT_TRUE(std::isnan(tile_error(std::vector<double>{3, NAN}, reference, 1)));
  const std::vector<double> empty = {-INFINITY};
  EXPECT_EQ(tile_error(empty, empty, 1), 0);
  EXPECT_FALSE(tile_error(std::vector<double>{1}, empty, 1) < 1e9);
}

}  // namespace
}  // namespace strata::kernels
