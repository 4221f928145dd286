// SPDX-License-Identifier: Apache-2.0
// Gradients of rows that came back: which sums the rank keeps and which it passes on. A slice can have rows
// of several origins. So what arrives is cut at the borders of the rank's own rows once, here, and is never
// taken for what its first row is. Inside of lowering.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "core/lowering/rank_rows.hpp"
#include "core/lowering/step_slices.hpp"

namespace strata::detail {

class GradientSums {
 public:
  /// Whose rows: this rank's own, or another's, so that the rank passes their sum on.
  enum class Origin : std::uint8_t { own, relayed };

  explicit GradientSums(RankRows& rows) : rows_(rows) {}

  /// Begins `step`. `expect` then names the reductions that the rank collects in it; they outlive the step.
  void begin_arrivals(std::int32_t step);
  void expect(const Reduction& reduction);
  /// The share that `source` has of the expected reduction number `index`; it arrives at `place`. Calls come
  /// by ascending source, and for one source by ascending reduction: this is the order of sums.
  void add(std::size_t index, std::int32_t source, const Slice& place);
  /// Adds what has arrived and is ready in `step`. Rows that the rank passes on are added before it sends,
  /// its own rows afterwards.
  void emit_ready(std::int32_t step, Origin origin);
  /// The sum that this rank gives to a reduction, where others' shares of rows whose kv it does not hold go
  /// into the sum. Nothing where there are none: then what the rank computed is all.
  std::optional<Slice> emit_passed(const Reduction& reduction);
  /// Whether everything that arrived has been added.
  bool empty() const { return waiting_.empty(); }

 private:
  /// Rows of one origin whose gradient arrived and waits to be added.
  struct Share {
    std::int32_t ready = 0, step = 0, source = 0;
    TensorKind tensor = TensorKind::dkv;
    TokenSpan span;
    HeadRange heads;
    std::int32_t buffer = 0;
    std::int64_t row = 0;
    Origin origin = Origin::own;
  };
  struct OriginPart {
    TokenSpan span;
    Origin origin = Origin::own;
  };
  struct Expected {
    const Reduction* reduction = nullptr;
    std::size_t first_part = 0, end_part = 0;  ///< of `origins_`
  };

  /// Appends the parts of `span` by origin, in row order, to `origins_`: the only place that tells the rank's
  /// own rows from those of others.
  void split_by_origin(const TokenSpan& span);
  void add_share(const Share& share, AccumulateGradient& sum);
  /// Keeps rows [begin, end) of a share whose kv the rank does not hold until it sends them on.
  void pass_on(Share share, HeadRange heads, std::int64_t begin, std::int64_t end);
  /// Appends, as additions to `target`, what the rank itself has added up of the rows of a reduction.
  void append_own_sums(const Reduction& reduction, std::int32_t target, AccumulateGradient& sum);

  RankRows& rows_;
  std::int32_t step_ = 0;
  std::vector<Expected> expected_;  ///< in the current step
  std::vector<Share> waiting_;      ///< by (step, source), the order of sums
  std::int32_t next_ready_ = 0;     ///< no share that waits is ready before this step
  std::map<std::pair<TensorKind, std::int32_t>, std::vector<Share>> passed_;  ///< by tensor and document
  std::vector<OriginPart> origins_;
  std::vector<HeldRun> runs_;
  std::vector<HeadRange> head_parts_;
};

}  // namespace strata::detail
