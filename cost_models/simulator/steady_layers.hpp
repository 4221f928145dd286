// SPDX-License-Identifier: Apache-2.0
// Whether the layers of a simulated step have become alike, and what one more then adds. Programs do not
// change from layer to layer, so ranks that wait for each other settle into one rhythm. It is the maximum
// cycle mean of max-plus systems (Baccelli, Cohen, Olsder, Quadrat, Synchronization and Linearity, section
// 3.7). Ranks that share devices or links without waiting for each other need not settle, and some never do.
// A rank that is ahead gets further ahead with every layer, and speeds the others up when it has done.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/program/rank_program.hpp"

namespace strata {

/// A rank at the end of one pass-layer, counted from the start of the step. A rank without work stays where
/// it was.
struct LayerMark {
  std::int64_t end_ns = 0, busy_ns = 0, exposed_ns = 0;
};

/// Every rank at the end of every pass-layer.
class LayerMarks {
 public:
  LayerMarks(std::size_t waves, std::int32_t layers, std::size_t ranks)
      : layers_(layers), ranks_(ranks), marks_(waves * 2 * static_cast<std::size_t>(layers) * ranks) {}

  std::size_t waves() const {
    return marks_.empty() ? 0 : marks_.size() / (2 * static_cast<std::size_t>(layers_) * ranks_);
  }
  std::int32_t layers() const { return layers_; }
  /// Makes room for more layers. The marks that are kept are those of the first wave's forward pass.
  void extend(std::size_t waves, std::int32_t layers) {
    layers_ = layers;
    marks_.resize(waves * 2 * static_cast<std::size_t>(layers) * ranks_);
  }
  std::size_t ranks() const { return ranks_; }
  /// `order` is the number of the layer in the order of its pass, from 0.
  LayerMark& at(std::size_t wave, Pass pass, std::int32_t order, std::size_t rank) {
    return marks_[place(wave, pass, order, rank)];
  }
  const LayerMark& at(std::size_t wave, Pass pass, std::int32_t order, std::size_t rank) const {
    return marks_[place(wave, pass, order, rank)];
  }

 private:
  std::size_t place(std::size_t wave, Pass pass, std::int32_t order, std::size_t rank) const {
    const std::size_t stage =
        (2 * wave + (pass == Pass::backward ? 1 : 0)) * static_cast<std::size_t>(layers_) +
        static_cast<std::size_t>(order);
    return stage * ranks_ + rank;
  }
  std::int32_t layers_;
  std::size_t ranks_;
  std::vector<LayerMark> marks_;
};

/// What `layers` further layers add to every rank, all waves and both passes.
struct LayerGrowth {
  struct Rank {
    std::int64_t end_ns = 0, busy_ns = 0, exposed_ns = 0, forward_ns = 0;
  };
  std::int32_t layers = 1;
  std::vector<Rank> ranks;
};

/// So many of the last increments of a pass must agree. They take one mark more.
inline constexpr std::int32_t kSteadyIncrements = 4;
/// Increments agree that differ by at most this share of the largest of them.
inline constexpr double kSteadyShare = 1e-3;

/// Whether the last kSteadyIncrements increments of one pass agree, as steady_growth asks of all passes.
bool pass_is_steady(const LayerMarks& marks, std::size_t wave, Pass pass, bool apart);

/// Nothing unless in every wave and pass the last kSteadyIncrements increments from layer to layer agree:
/// each rank's own, and those of all ranks with each other. Ranks that are `apart`, which share no device and
/// exchange nothing, may each have a rhythm of their own. The latest rank alone would not do: its increments
/// can agree while others still drift apart. Needs more layers than increments.
std::optional<LayerGrowth> steady_growth(const LayerMarks& marks, bool apart);

/// What `ns` becomes after `more` further layers, of which every `layers` add `growth`. Throws as
/// throw_too_long.
std::int64_t grown(std::int64_t ns, std::int64_t growth, std::int32_t layers, std::int64_t more);

}  // namespace strata
