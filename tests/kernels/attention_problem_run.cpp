// SPDX-License-Identifier: Apache-2.0
// Runs a random attention problem and judges the result.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "tests/kernels/attention_problem.hpp"

namespace strata::kernels::test {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::size_t at(std::int64_t value) { return static_cast<std::size_t>(value); }

std::int64_t cell(std::int64_t row, std::int64_t heads, std::int64_t head, std::int64_t dim,
                  std::int64_t column) {
  return (row * heads + head) * dim + column;
}

/// One result array of a document next to the oracle's: values in the shape [rows, heads, dim].
struct Comparison {
  std::int64_t rows, heads, dim;
  const std::vector<double>& actual;
  const std::vector<double>& expected;
  const std::vector<double>* scale;  // nullptr: the constant 1

  [[nodiscard]] double largest_error() const {
    double worst = 0;
    for (std::int64_t head = 0; head < heads; ++head) {
      for (std::int64_t first = 0; first < rows; first += 64) {
        std::vector<double> a, e;
        double norm = 0;
        for (std::int64_t row = first; row < std::min(rows, first + 64); ++row) {
          for (std::int64_t c = 0; c < dim; ++c) {
            const std::size_t i = at(cell(row, heads, head, dim, c));
            a.push_back(actual[i]);
            e.push_back(expected[i]);
            if (scale != nullptr) norm += (*scale)[i] * (*scale)[i];
          }
        }
        const double error = tile_error(a, e, scale != nullptr ? std::sqrt(norm) : 1.0);
        if (!(error <= worst)) worst = error;  // NaN sticks
        if (std::isnan(worst)) return worst;
      }
    }
    return worst;
  }
};

double worse(double a, double b) { return std::isnan(a) || std::isnan(b) ? kNaN : std::max(a, b); }

/// Calls visit(document row, head, row of its array, array index) for every row and head of the pieces.
template <class Visit>
void for_each_cell(const std::vector<Piece>& pieces, const Visit& visit) {
  for (const Piece& p : pieces) {
    for (std::int64_t r = 0; r < p.count; ++r) {
      for (std::int32_t h = p.head_begin; h < p.head_end; ++h) visit(p.begin + r, h, p.place + r, p.source);
    }
  }
}

/// Collects columns [first, first + dim) of a result scattered over arrays into [rows, heads, dim].
template <class Arrays, class Member>
std::vector<double> gather(const std::vector<Piece>& pieces, const Arrays& arrays, Member member,
                           std::int64_t rows, std::int64_t heads, std::int64_t width, std::int64_t first,
                           std::int64_t dim) {
  std::vector<double> values(at(rows * heads * dim));
  for_each_cell(pieces, [&](std::int64_t row, std::int32_t head, std::int64_t place, std::int32_t source) {
    const auto& array = arrays[at(source)];
    for (std::int64_t c = 0; c < dim; ++c) {
      values[at(cell(row, heads, head, dim, c))] =
          (array.*member).get(cell(place, array.head_count, head - array.head_begin, width, first + c));
    }
  });
  return values;
}

}  // namespace

Operands Problem::operands() {
  query_rows_.clear();
  key_rows_.clear();
  for (QueryArrays& a : queries) {
    query_rows_.push_back({a.q.data(), a.out.data(), a.lse.floats(), a.grad_out.data(), a.delta.floats(),
                           a.grad_q.floats(), a.rows, a.head_begin, a.head_count});
  }
  for (KeyArrays& a : keys) {
    key_rows_.push_back({a.kv.data(), a.grad_kv.floats(), a.rows, a.head_begin, a.head_count});
  }
  return {query_rows_, key_rows_};
}

/// NaN everywhere; the neutral element inside pieces when results are to be merged.
void Problem::clear_results(OutputMode mode) {
  const Element out_element = mode == OutputMode::write ? shape_.element : Element::f32;
  for (QueryArrays& a : queries) {
    const std::int64_t cells = a.rows * a.head_count;
    a.out = Tensor(out_element, cells * shape_.v_dim);
    a.lse = Tensor(Element::f32, cells);
    a.delta = Tensor(Element::f32, cells);
    a.grad_q = Tensor(Element::f32, cells * shape_.k_dim);
  }
  const std::int64_t fused = shape_.k_dim + shape_.v_dim;
  for (KeyArrays& a : keys) a.grad_kv = Tensor(Element::f32, a.rows * a.head_count * fused);
  if (mode == OutputMode::write) return;
  for (const Document& document : documents) {
    for (const Piece& p : document.query_pieces) {
      QueryArrays& a = queries[at(p.source)];
      for (std::int64_t r = 0; r < p.count; ++r) {
        for (std::int32_t h = p.head_begin; h < p.head_end; ++h) {
          const std::int64_t place = (p.place + r) * a.head_count + h - a.head_begin;
          a.lse.set(place, -std::numeric_limits<double>::infinity());
          for (std::int64_t c = 0; c < shape_.v_dim; ++c) a.out.set(place * shape_.v_dim + c, 0);
          for (std::int64_t c = 0; c < shape_.k_dim; ++c) a.grad_q.set(place * shape_.k_dim + c, 0);
        }
      }
    }
    for (const Piece& p : document.key_pieces) {
      KeyArrays& a = keys[at(p.source)];
      for (std::int64_t r = 0; r < p.count; ++r) {
        for (std::int32_t h = p.head_begin; h < p.head_end; ++h) {
          const std::int64_t place = ((p.place + r) * a.head_count + h - a.head_begin) * fused;
          for (std::int64_t c = 0; c < fused; ++c) a.grad_kv.set(place + c, 0);
        }
      }
    }
  }
}

void Problem::execute(const AttentionWork& work, const Operands& bound, std::uint32_t order,
                      int threads) const {
  std::vector<std::int64_t> items = longest_first(work);
  std::mt19937 shuffler(order);
  if (order != 0) std::shuffle(items.begin(), items.end(), shuffler);
  std::atomic<std::size_t> next{0};
  const auto worker = [&] {
    Scratch scratch(shape_);
    for (std::size_t i = next++; i < items.size(); i = next++) run_item(work, bound, items[i], scratch);
  };
  std::vector<std::thread> helpers;
  for (int t = 1; t < threads; ++t) helpers.emplace_back(worker);
  worker();
  for (std::thread& helper : helpers) helper.join();
}

Kernels Problem::cpu_kernels(std::uint32_t order, int threads) {
  const auto launch = [=, this](auto build) {
    return [=, this](const AttentionShape& shape, std::span<const AttentionBlock> some, const Operands& bound,
                     OutputMode mode) { execute(build(shape, some, mode), bound, order, threads); };
  };
  return {launch(build_forward_work), launch(build_backward_work)};
}

void Problem::run_launches(const Kernels& kernels, int launches) {
  const OutputMode mode = launches == 1 ? OutputMode::write : OutputMode::merge;
  clear_results(mode);
  std::vector<std::vector<AttentionBlock>> dealt(at(launches));
  for (std::size_t b = 0; b < blocks.size(); ++b) dealt[b % dealt.size()].push_back(blocks[b]);
  for (const auto& launch : dealt) kernels.forward(shape_, launch, operands(), mode);
  for (QueryArrays& a : queries) {
    for (std::int64_t i = 0; i < a.rows * a.head_count; ++i) {
      double delta = 0;
      for (std::int64_t c = i * shape_.v_dim; c < (i + 1) * shape_.v_dim; ++c)
        delta += a.grad_out.get(c) * a.out.get(c);
      a.delta.set(i, delta);
    }
  }
  for (const auto& launch : dealt) kernels.backward(shape_, launch, operands(), mode);
}

void Problem::run(int launches, std::uint32_t order) { run_launches(cpu_kernels(order, 1), launches); }

void Problem::run_with(const Kernels& kernels, int launches) { run_launches(kernels, launches); }

void Problem::run_threaded(int threads) { run_launches(cpu_kernels(0, threads), 1); }

double Problem::forward_error() const {
  double worst = 0;
  for (const Document& d : documents) {
    const std::int64_t heads = shape_.query_heads;
    const auto out =
        gather(d.query_pieces, queries, &QueryArrays::out, d.queries, heads, shape_.v_dim, 0, shape_.v_dim);
    const auto lse = gather(d.query_pieces, queries, &QueryArrays::lse, d.queries, heads, 1, 0, 1);
    const Comparison outputs{d.queries, heads, shape_.v_dim, out, d.output.out, nullptr};
    const Comparison sums{d.queries, heads, 1, lse, d.output.lse, nullptr};
    worst = worse(worst, worse(outputs.largest_error(), sums.largest_error()));
  }
  return worst;
}

double Problem::backward_error() const {
  double worst = 0;
  const std::int64_t kd = shape_.k_dim;
  const std::int64_t vd = shape_.v_dim;
  for (const Document& d : documents) {
    const ReferenceGradients& g = d.gradients;
    const auto q =
        gather(d.query_pieces, queries, &QueryArrays::grad_q, d.queries, shape_.query_heads, kd, 0, kd);
    const auto k = gather(d.key_pieces, keys, &KeyArrays::grad_kv, d.keys, shape_.kv_heads, kd + vd, 0, kd);
    const auto v = gather(d.key_pieces, keys, &KeyArrays::grad_kv, d.keys, shape_.kv_heads, kd + vd, kd, vd);
    const Comparison for_q{d.queries, shape_.query_heads, kd, q, g.grad_q, &g.scale_q};
    const Comparison for_k{d.keys, shape_.kv_heads, kd, k, g.grad_k, &g.scale_k};
    const Comparison for_v{d.keys, shape_.kv_heads, vd, v, g.grad_v, &g.scale_v};
    worst = worse(worst, worse(for_q.largest_error(), worse(for_k.largest_error(), for_v.largest_error())));
  }
  return worst;
}

std::array<double, 3> Problem::backward_relative_errors() const {
  std::array<double, 3> difference{}, norm{};
  const std::int64_t kd = shape_.k_dim;
  const std::int64_t vd = shape_.v_dim;
  const auto add = [&](std::size_t kind, const std::vector<double>& actual,
                       const std::vector<double>& oracle) {
    for (std::size_t i = 0; i < oracle.size(); ++i) {
      difference[kind] += (actual[i] - oracle[i]) * (actual[i] - oracle[i]);
      norm[kind] += oracle[i] * oracle[i];
    }
  };
  for (const Document& d : documents) {
    const std::int32_t heads = shape_.kv_heads;
    add(0, gather(d.query_pieces, queries, &QueryArrays::grad_q, d.queries, shape_.query_heads, kd, 0, kd),
        d.gradients.grad_q);
    add(1, gather(d.key_pieces, keys, &KeyArrays::grad_kv, d.keys, heads, kd + vd, 0, kd),
        d.gradients.grad_k);
    add(2, gather(d.key_pieces, keys, &KeyArrays::grad_kv, d.keys, heads, kd + vd, kd, vd),
        d.gradients.grad_v);
  }
  std::array<double, 3> errors{};
  for (std::size_t kind = 0; kind < 3; ++kind) {
    errors[kind] = difference[kind] == 0 ? 0 : std::sqrt(difference[kind] / norm[kind]);
  }
  return errors;
}

bool Problem::untouched() const {
  std::vector<std::vector<bool>> query_cells, key_cells;
  for (const QueryArrays& a : queries) query_cells.emplace_back(at(a.rows * a.head_count), false);
  for (const KeyArrays& a : keys) key_cells.emplace_back(at(a.rows * a.head_count), false);
  for (const Document& d : documents) {
    for_each_cell(d.query_pieces, [&](std::int64_t, std::int32_t head, std::int64_t place, std::int32_t s) {
      query_cells[at(s)][at(cell(place, queries[at(s)].head_count, head - queries[at(s)].head_begin, 1, 0))] =
          true;
    });
    for_each_cell(d.key_pieces, [&](std::int64_t, std::int32_t head, std::int64_t place, std::int32_t s) {
      key_cells[at(s)][at(cell(place, keys[at(s)].head_count, head - keys[at(s)].head_begin, 1, 0))] = true;
    });
  }
  const auto all_nan = [](const Tensor& tensor, std::int64_t row, std::int64_t dim) {
    for (std::int64_t c = 0; c < dim; ++c) {
      if (!std::isnan(tensor.get(row * dim + c))) return false;
    }
    return true;
  };
  for (std::size_t s = 0; s < queries.size(); ++s) {
    for (std::size_t i = 0; i < query_cells[s].size(); ++i) {
      const auto row = static_cast<std::int64_t>(i);
      const QueryArrays& a = queries[s];
      if (query_cells[s][i]) continue;
      if (!all_nan(a.out, row, shape_.v_dim) || !all_nan(a.lse, row, 1) ||
          !all_nan(a.grad_q, row, shape_.k_dim)) {
        return false;
      }
    }
  }
  for (std::size_t s = 0; s < keys.size(); ++s) {
    for (std::size_t i = 0; i < key_cells[s].size(); ++i) {
      const auto row = static_cast<std::int64_t>(i);
      if (!key_cells[s][i] && !all_nan(keys[s].grad_kv, row, shape_.k_dim + shape_.v_dim)) return false;
    }
  }
  return true;
}

std::int64_t Problem::listed_pairs() const {
  return total_pairs(build_forward_work(shape_, blocks, OutputMode::write));
}

std::int64_t Problem::counted_pairs() const {
  std::int64_t pairs = 0;
  for (const Document& d : documents) {
    for (std::int64_t i = 0; i < d.queries; ++i) {
      for (std::int64_t j = 0; j < d.keys; ++j)
        pairs += d.lo <= j - i && j - i <= d.hi ? shape_.query_heads : 0;
    }
  }
  return pairs;
}

std::vector<Tensor> Problem::results() const {
  std::vector<Tensor> all;
  for (const QueryArrays& a : queries) all.insert(all.end(), {a.out, a.lse, a.grad_q});
  for (const KeyArrays& a : keys) all.push_back(a.grad_kv);
  return all;
}

}  // namespace strata::kernels::test
