// SPDX-License-Identifier: Apache-2.0
// Builds a random attention problem and scatters it over arrays.
#include "tests/kernels/attention_problem.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/functors/row_chunks.hpp"

namespace strata::kernels::test {
namespace {

constexpr std::int32_t kSources = 3;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::size_t at(std::int64_t value) { return static_cast<std::size_t>(value); }

double rounded(float value, Element element) {
  std::uint32_t storage = 0;
  store_element(&storage, element, value);
  return load_element(&storage, element);
}

}  // namespace

ProblemOptions options_of(Element element, std::int32_t k_dim, std::int32_t v_dim, std::int32_t kv_heads,
                          std::int32_t group) {
  ProblemOptions options;
  options.shape.element = element;
  options.shape.k_dim = k_dim;
  options.shape.v_dim = v_dim;
  options.shape.kv_heads = kv_heads;
  options.shape.query_heads = kv_heads * group;
  options.shape.scale = 1.0F / std::sqrt(static_cast<float>(k_dim));
  return options;
}

ProblemOptions ragged_options(std::uint32_t seed, std::int32_t dim, const RaggedLimits& limits) {
  std::mt19937 generator(seed);
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(generator);
  };
  ProblemOptions options =
      options_of(seed % 2 == 0 ? Element::bf16 : Element::f16, dim, dim,
                 static_cast<std::int32_t>(pick(1, 2)), static_cast<std::int32_t>(pick(1, limits.group)));
  options.queries.push_back(pick(1, limits.rows));
  options.keys.push_back(pick(0, 1) == 0 ? pick(1, limits.rows) : options.queries.back());
  options.queries.push_back(pick(1, 40));
  options.keys.push_back(options.queries.back());
  options.queries.push_back(pick(0, 1) == 0 ? 1 : pick(1, 30));
  options.keys.push_back(options.queries.back() == 1 ? pick(1, 70) : 1);
  options.window = std::array<std::int64_t, 4>{0, pick(1, 90), -1, -1}[static_cast<std::size_t>(pick(0, 3))];
  return options;
}

Tolerance tolerance_of(Element element) {
  if (element == Element::f32) return {2e-6, 5e-6};
  return element == Element::bf16 ? Tolerance{4e-3, 8e-3} : Tolerance{5e-4, 1e-3};
}

Tensor::Tensor(Element element, std::int64_t count)
    : element_(element), bytes_(at(count * element_bytes(element))) {
  for (std::int64_t i = 0; i < count; ++i) set(i, kNaN);
}

double Tensor::get(std::int64_t i) const {
  return load_element(bytes_.data() + i * element_bytes(element_), element_);
}

void Tensor::set(std::int64_t i, double value) {
  store_element(bytes_.data() + i * element_bytes(element_), element_, static_cast<float>(value));
}

Problem::Problem(const ProblemOptions& options, std::uint32_t seed)
    : options_(options), shape_(options.shape), generator_(seed) {
  for (std::size_t d = 0; d < options.queries.size(); ++d) add_document(options.queries[d], options.keys[d]);
  place_pieces();
  allocate();
  fill_pieces();
  for (const Document& document : documents) add_blocks(document);
  if (options_.cut) std::shuffle(blocks.begin(), blocks.end(), generator_);
}

std::int64_t Problem::random(std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(generator_);
}

void Problem::add_document(std::int64_t query_count, std::int64_t key_count) {
  Document document;
  document.queries = query_count;
  document.keys = key_count;
  document.hi = key_count - query_count;
  document.lo = options_.window > 0 ? document.hi - options_.window + 1 : -query_count;
  if (options_.window < 0) {
    document.lo = random(-query_count, key_count);
    document.hi = random(document.lo, key_count + 3);
  }
  document.mask = band_mask(query_count, key_count, document.lo, document.hi);
  std::normal_distribution<double> normal;
  const auto fill = [&](std::vector<double>& values, std::int64_t count, double amplitude) {
    for (std::int64_t i = 0; i < count; ++i) {
      const auto value = static_cast<float>(normal(generator_) * amplitude);
      values.push_back(rounded(value, shape_.element));
    }
  };
  fill(document.q, query_count * shape_.query_heads * shape_.k_dim, options_.amplitude);
  fill(document.k, key_count * shape_.kv_heads * shape_.k_dim, 1.0);
  fill(document.v, key_count * shape_.kv_heads * shape_.v_dim, 1.0);
  fill(document.grad_out, query_count * shape_.query_heads * shape_.v_dim, 1.0);
  const ReferenceInput input{query_count,  key_count,    shape_.query_heads, shape_.kv_heads,
                             shape_.k_dim, shape_.v_dim, shape_.scale,       document.q,
                             document.k,   document.v,   document.grad_out};
  document.output = reference_forward(input, document.mask);
  document.gradients = reference_backward(input, document.mask, document.output);
  document.query_pieces = cut_rows(query_count, true);
  document.key_pieces = cut_rows(key_count, false);
  documents.push_back(std::move(document));
}

/// Cuts the heads once, and within each part of them the rows anywhere; each piece goes to a random array.
std::vector<Piece> Problem::cut_rows(std::int64_t rows, bool query_side) {
  const std::int32_t heads = query_side ? shape_.query_heads : shape_.kv_heads;
  if (!options_.cut) return {{0, rows, 0, 0, 0, heads}};
  std::vector<Piece> pieces;
  const auto middle = static_cast<std::int32_t>(random(0, heads));
  for (const auto& [head_begin, head_end] : {std::pair(0, middle), std::pair(middle, heads)}) {
    for (std::int64_t begin = 0; head_begin < head_end && begin < rows;) {
      const std::int64_t count = std::min(rows - begin, random(0, 2) == 0 ? random(1, 9) : random(1, rows));
      pieces.push_back(
          {begin, count, 0, static_cast<std::int32_t>(random(0, kSources - 1)), head_begin, head_end});
      begin += count;
    }
  }
  return pieces;
}

/// Gives every piece its rows in its array, in random order with gaps.
void Problem::place_pieces() {
  queries.resize(kSources);
  keys.resize(kSources);
  std::vector<Piece*> query_pieces, key_pieces;
  for (Document& document : documents) {
    for (Piece& piece : document.query_pieces) query_pieces.push_back(&piece);
    for (Piece& piece : document.key_pieces) key_pieces.push_back(&piece);
  }
  const auto place = [&](std::vector<Piece*>& pieces, auto& arrays) {
    if (options_.cut) std::shuffle(pieces.begin(), pieces.end(), generator_);
    for (Piece* piece : pieces) {
      auto& array = arrays[at(piece->source)];
      piece->place = array.rows + (options_.cut ? random(0, 3) : 0);
      array.rows = piece->place + piece->count;
    }
  };
  place(query_pieces, queries);
  place(key_pieces, keys);
}

/// Every array holds all heads, except that the last one starts and ends where its pieces need it.
void Problem::allocate() {
  const auto bounds = [&](std::int32_t source, bool query_side) {
    std::int32_t low = query_side ? shape_.query_heads : shape_.kv_heads;
    std::int32_t high = 0;
    for (const Document& document : documents) {
      for (const Piece& piece : query_side ? document.query_pieces : document.key_pieces) {
        if (piece.source != source) continue;
        low = std::min(low, piece.head_begin);
        high = std::max(high, piece.head_end);
      }
    }
    return std::pair(std::min(low, high), high);
  };
  for (std::int32_t s = 0; s < kSources; ++s) {
    QueryArrays& a = queries[at(s)];
    const auto [low, high] = bounds(s, true);
    a.head_begin = low;
    a.head_count = high - low;
    const std::int64_t cells = a.rows * a.head_count;
    a.q = Tensor(shape_.element, cells * shape_.k_dim);
    a.grad_out = Tensor(shape_.element, cells * shape_.v_dim);
    KeyArrays& b = keys[at(s)];
    const auto [key_low, key_high] = bounds(s, false);
    b.head_begin = key_low;
    b.head_count = key_high - key_low;
    b.kv = Tensor(shape_.element, b.rows * b.head_count * (shape_.k_dim + shape_.v_dim));
  }
}

void Problem::fill_pieces() {
  const std::int64_t kd = shape_.k_dim;
  const std::int64_t vd = shape_.v_dim;
  for (const Document& document : documents) {
    for (const Piece& p : document.query_pieces) {
      QueryArrays& a = queries[at(p.source)];
      for (std::int64_t r = 0; r < p.count; ++r) {
        for (std::int32_t h = p.head_begin; h < p.head_end; ++h) {
          const std::int64_t from = (p.begin + r) * shape_.query_heads + h;
          const std::int64_t to = (p.place + r) * a.head_count + h - a.head_begin;
          for (std::int64_t c = 0; c < kd; ++c) a.q.set(to * kd + c, document.q[at(from * kd + c)]);
          for (std::int64_t c = 0; c < vd; ++c)
            a.grad_out.set(to * vd + c, document.grad_out[at(from * vd + c)]);
        }
      }
    }
    for (const Piece& p : document.key_pieces) {
      KeyArrays& a = keys[at(p.source)];
      for (std::int64_t r = 0; r < p.count; ++r) {
        for (std::int32_t h = p.head_begin; h < p.head_end; ++h) {
          const std::int64_t from = (p.begin + r) * shape_.kv_heads + h;
          const std::int64_t to = ((p.place + r) * a.head_count + h - a.head_begin) * (kd + vd);
          for (std::int64_t c = 0; c < kd; ++c) a.kv.set(to + c, document.k[at(from * kd + c)]);
          for (std::int64_t c = 0; c < vd; ++c) a.kv.set(to + kd + c, document.v[at(from * vd + c)]);
        }
      }
    }
  }
}

/// One block per pair of pieces with heads in common, some of them split once more so that ranges overlap
/// partially.
void Problem::add_blocks(const Document& document) {
  const std::int32_t group = shape_.group();
  for (const Piece& q : document.query_pieces) {
    for (const Piece& k : document.key_pieces) {
      AttentionBlock block;
      block.query_source = q.source;
      block.key_source = k.source;
      block.query_begin = q.place;
      block.query_count = q.count;
      block.key_begin = k.place;
      block.key_count = k.count;
      block.head_begin = std::max(q.head_begin, k.head_begin * group);
      block.head_end = std::min(q.head_end, k.head_end * group);
      block.lo = document.lo + q.begin - k.begin;
      block.hi = document.hi + q.begin - k.begin;
      if (block.head_begin >= block.head_end) continue;
      if (options_.cut && random(0, 2) == 0) {
        AttentionBlock rest = block;
        const std::int64_t split = random(0, block.query_count);
        block.query_count = split;
        rest.query_begin += split;
        rest.query_count -= split;
        rest.lo += split;
        rest.hi += split;
        blocks.push_back(rest);
      }
      blocks.push_back(block);
    }
  }
}

}  // namespace strata::kernels::test
