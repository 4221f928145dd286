// SPDX-License-Identifier: Apache-2.0
#include "cost_models/simulator/steady_layers.hpp"

#include <algorithm>

#include "core/base/check.hpp"
#include "cost_models/simulator/simulated_program.hpp"

namespace strata {

namespace {

/// Times are rounded to whole nanoseconds, and a rhythm's thirds are not whole.
constexpr std::int64_t kRoundingNs = 2;

/// The least and the most of some increments.
struct Increments {
  std::int64_t least = kLongestNs, most = 0;
  void add(std::int64_t increment) {
    least = std::min(least, increment);
    most = std::max(most, increment);
  }
  bool agree() const {
    return static_cast<double>(most - least) <=
           std::max(static_cast<double>(kRoundingNs), kSteadyShare * static_cast<double>(most));
  }
};

void add_growth(const LayerMarks& marks, std::size_t wave, Pass pass,
                std::vector<LayerGrowth::Rank>& growth) {
  const std::int32_t last = marks.layers() - 1;
  for (std::size_t rank = 0; rank < marks.ranks(); ++rank) {
    const LayerMark& from = marks.at(wave, pass, last - kSteadyIncrements, rank);
    const LayerMark& to = marks.at(wave, pass, last, rank);
    growth[rank].end_ns += to.end_ns - from.end_ns;
    growth[rank].busy_ns += to.busy_ns - from.busy_ns;
    growth[rank].exposed_ns += to.exposed_ns - from.exposed_ns;
    if (pass == Pass::forward) growth[rank].forward_ns += to.end_ns - from.end_ns;
  }
}

}  // namespace

bool pass_is_steady(const LayerMarks& marks, std::size_t wave, Pass pass, bool apart) {
  Increments all;
  for (std::size_t rank = 0; rank < marks.ranks(); ++rank) {
    Increments own;
    for (std::int32_t order = marks.layers() - kSteadyIncrements; order < marks.layers(); ++order) {
      own.add(marks.at(wave, pass, order, rank).end_ns - marks.at(wave, pass, order - 1, rank).end_ns);
    }
    if (!own.agree()) return false;
    all.add(own.least);
    all.add(own.most);
  }
  return apart || all.agree();
}

std::optional<LayerGrowth> steady_growth(const LayerMarks& marks, bool apart) {
  STRATA_CHECK(marks.layers() > kSteadyIncrements, "{} layers have no {} increments", marks.layers(),
               kSteadyIncrements);
  LayerGrowth growth{kSteadyIncrements, std::vector<LayerGrowth::Rank>(marks.ranks())};
  for (std::size_t wave = 0; wave < marks.waves(); ++wave) {
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      if (!pass_is_steady(marks, wave, pass, apart)) return std::nullopt;
      add_growth(marks, wave, pass, growth.ranks);
    }
  }
  return growth;
}

std::int64_t grown(std::int64_t ns, std::int64_t growth, std::int32_t layers, std::int64_t more) {
  const double added = static_cast<double>(growth) * static_cast<double>(more) / layers;
  if (static_cast<double>(ns) + added > static_cast<double>(kLongestNs)) throw_too_long();
  return ns + growth / layers * more + growth % layers * more / layers;
}

}  // namespace strata
