// SPDX-License-Identifier: Apache-2.0
// A random packed batch whose documents are cut into pieces, scattered over several poisoned arrays and
// described by attention blocks; with the oracle's answer for every document. Everything outside the pieces
// is NaN, so a read of a row or head that no block names shows in the result, and a write to it shows in
// untouched().
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <vector>

#include "kernels/attention_work.hpp"
#include "kernels/reference_attention.hpp"

namespace strata::kernels::test {

/// Values of one storage type, read and written as doubles.
class Tensor {
 public:
  Tensor() = default;
  Tensor(Element element, std::int64_t count);  // all NaN
  [[nodiscard]] double get(std::int64_t i) const;
  void set(std::int64_t i, double value);
  [[nodiscard]] void* data() { return bytes_.data(); }
  [[nodiscard]] float* floats() { return reinterpret_cast<float*>(bytes_.data()); }
  bool operator==(const Tensor& other) const { return bytes_ == other.bytes_; }

 private:
  Element element_ = Element::f32;
  std::vector<std::uint8_t> bytes_;
};

/// What the error figures of a problem may reach: rounding of fp32 sums, or of storing a result in 16 bits
/// (2^-8 and 2^-11, twice that backward).
struct Tolerance {
  double forward, backward;
};
Tolerance tolerance_of(Element element);

struct QueryArrays {
  std::int64_t rows = 0;
  std::int32_t head_begin = 0, head_count = 0;
  Tensor q, out, lse, grad_out, delta, grad_q;
};
struct KeyArrays {
  std::int64_t rows = 0;
  std::int32_t head_begin = 0, head_count = 0;
  Tensor kv, grad_kv;
};

/// Rows [begin, begin + count) and heads [head_begin, head_end) of a document at row `place` of array
/// `source`.
struct Piece {
  std::int64_t begin = 0, count = 0, place = 0;
  std::int32_t source = 0;
  std::int32_t head_begin = 0, head_end = 0;
};

struct Document {
  std::int64_t queries = 0, keys = 0, lo = 0, hi = 0;
  std::vector<double> q, k, v, grad_out;
  std::vector<Piece> query_pieces, key_pieces;
  ReferenceMask mask;
  ReferenceOutput output;
  ReferenceGradients gradients;
};

struct ProblemOptions {
  AttentionShape shape;
  std::vector<std::int64_t> queries;  // per document
  std::vector<std::int64_t> keys;
  bool cut = true;          // scatter over several arrays; otherwise one array, one block a document
  double amplitude = 1;     // of q; large values make huge scores
  std::int64_t window = 0;  // 0: causal; > 0: sliding window; < 0: a random band
};

/// No documents yet; the scale is 1 / sqrt(k_dim).
ProblemOptions options_of(Element element, std::int32_t k_dim, std::int32_t v_dim, std::int32_t kv_heads,
                          std::int32_t group);

struct RaggedLimits {
  std::int64_t rows = 200;  ///< of the longest document
  std::int64_t group = 2;   ///< query heads of a KV head
};
/// In 16 bits, ragged documents under a random mask; the last is one row, or one key.
ProblemOptions ragged_options(std::uint32_t seed, std::int32_t dim, const RaggedLimits& limits);

/// Kernels under test other than the CPU's: one launch over blocks.
using Launch = std::function<void(const AttentionShape& shape, std::span<const AttentionBlock> blocks,
                                  const Operands& operands, OutputMode mode)>;
struct Kernels {
  Launch forward, backward;
};

class Problem {
 public:
  Problem(const ProblemOptions& options, std::uint32_t seed);

  /// Runs forward, then delta, then backward. With `launches` > 1 the blocks are dealt over that many
  /// launches in OutputMode::merge; otherwise one launch in OutputMode::write. `order` shuffles items; 0
  /// keeps the given order.
  void run(int launches, std::uint32_t order);
  /// The same launches through other kernels.
  void run_with(const Kernels& kernels, int launches);
  /// One launch whose items are shared by `threads` threads.
  void run_threaded(int threads);

  /// Largest error over documents x heads x tiles of at most 64 rows, forward and backward.
  [[nodiscard]] Tolerance tolerance() const { return tolerance_of(shape_.element); }
  [[nodiscard]] double forward_error() const;
  [[nodiscard]] double backward_error() const;
  /// Relative L2 error of grad_q, grad_k and grad_v, each over all documents: norm(x - oracle) /
  /// norm(oracle).
  [[nodiscard]] std::array<double, 3> backward_relative_errors() const;
  /// True when every value that belongs to no piece is still NaN.
  [[nodiscard]] bool untouched() const;
  /// Allowed pairs times heads as the work list counts them, and by brute force over the masks.
  [[nodiscard]] std::int64_t listed_pairs() const;
  [[nodiscard]] std::int64_t counted_pairs() const;
  /// Every output, for bitwise comparison.
  [[nodiscard]] std::vector<Tensor> results() const;

  std::vector<AttentionBlock> blocks;
  std::vector<Document> documents;
  std::vector<QueryArrays> queries;
  std::vector<KeyArrays> keys;

 private:
  std::int64_t random(std::int64_t low, std::int64_t high);
  void add_document(std::int64_t query_count, std::int64_t key_count);
  std::vector<Piece> cut_rows(std::int64_t rows, bool query_side);
  void place_pieces();
  void allocate();
  void fill_pieces();
  void add_blocks(const Document& document);
  void clear_results(OutputMode mode);
  void run_launches(const Kernels& kernels, int launches);
  [[nodiscard]] Kernels cpu_kernels(std::uint32_t order, int threads);
  void execute(const AttentionWork& work, const Operands& bound, std::uint32_t order, int threads) const;
  [[nodiscard]] Operands operands();

  ProblemOptions options_;
  AttentionShape shape_;
  std::mt19937 generator_;
  std::vector<QueryRows> query_rows_;
  std::vector<KeyRows> key_rows_;
};

}  // namespace strata::kernels::test
