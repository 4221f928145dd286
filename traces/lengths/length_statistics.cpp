// SPDX-License-Identifier: Apache-2.0
#include "traces/lengths/length_statistics.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "core/base/check.hpp"
#include "traces/lengths/steps.hpp"

namespace strata {

namespace {

constexpr std::array<std::int64_t, 6> kBandEnds = {1024,  4096,   8192,
                                                   32768, 131072, std::numeric_limits<std::int32_t>::max()};

SquaredTokens squared(std::int64_t tokens) {
  return static_cast<SquaredTokens>(tokens) * static_cast<SquaredTokens>(tokens);
}

/// The smallest value that at least `per_mille` of all do not exceed. `sorted` ascends and is not empty.
std::int64_t nearest_rank(const std::vector<std::int64_t>& sorted, std::int64_t per_mille) {
  const std::int64_t rank = (std::ssize(sorted) * per_mille + 999) / 1000;
  return sorted[static_cast<std::size_t>(rank - 1)];
}

void add_to(LengthBand& band, std::int64_t tokens) {
  ++band.documents;
  band.tokens += tokens;
  band.work += squared(tokens);
}

struct PackSummary {
  std::int64_t tokens = 0, pieces = 0, longest = 0;
  SquaredTokens work = 0;

  void add(std::int64_t piece) {
    tokens += piece;
    ++pieces;
    longest = std::max(longest, piece);
    work += squared(piece);
  }
};

PackSummary summary_of(const std::vector<std::int64_t>& pieces) {
  PackSummary pack;
  for (const std::int64_t piece : pieces) pack.add(piece);
  return pack;
}

GroupImbalance group_imbalance(const std::vector<PackSummary>& packs, std::int32_t group_packs) {
  GroupImbalance result{group_packs, std::ssize(packs) / group_packs, 0, 0};
  for (std::int64_t group = 0; group < result.groups; ++group) {
    SquaredTokens heaviest = 0, total = 0;
    for (std::int64_t i = group * group_packs; i < (group + 1) * group_packs; ++i) {
      const SquaredTokens work = packs[static_cast<std::size_t>(i)].work;
      heaviest = std::max(heaviest, work);
      total += work;
    }
    const double ratio = static_cast<double>(heaviest) * group_packs / static_cast<double>(total);
    result.mean += ratio / static_cast<double>(result.groups);
    result.worst = std::max(result.worst, ratio);
  }
  return result;
}

PackingPreview summarise(const std::vector<PackSummary>& packs) {
  STRATA_CHECK(!packs.empty(), "a packing preview is made of at least one pack");
  PackingPreview preview;
  preview.packs = std::ssize(packs);
  preview.fewest_pieces = packs.front().pieces;
  preview.lightest_work = packs.front().work;
  std::vector<std::int64_t> longest;
  for (const PackSummary& pack : packs) {
    preview.pack_tokens = std::max(preview.pack_tokens, pack.tokens);
    preview.pieces += pack.pieces;
    preview.fewest_pieces = std::min(preview.fewest_pieces, pack.pieces);
    preview.most_pieces = std::max(preview.most_pieces, pack.pieces);
    preview.lightest_work = std::min(preview.lightest_work, pack.work);
    preview.heaviest_work = std::max(preview.heaviest_work, pack.work);
    longest.push_back(pack.longest);
  }
  std::sort(longest.begin(), longest.end());
  preview.longest_piece_p50 = nearest_rank(longest, 500);
  preview.longest_piece_p90 = nearest_rank(longest, 900);
  preview.longest_piece = longest.back();
  for (const std::int32_t group_packs : {8, 32})
    preview.imbalance.push_back(group_imbalance(packs, group_packs));
  return preview;
}

}  // namespace

LengthStatistics length_statistics(std::span<const std::int64_t> lengths) {
  STRATA_CHECK(!lengths.empty(), "statistics are made of at least one length");
  std::vector<std::int64_t> sorted(lengths.begin(), lengths.end());
  std::sort(sorted.begin(), sorted.end());
  STRATA_CHECK(sorted.front() >= 1 && sorted.back() <= kBandEnds.back(),
               "lengths are 1 to 2^31 - 1, not {} to {}", sorted.front(), sorted.back());
  LengthStatistics result;
  result.documents = std::ssize(sorted);
  result.shortest = sorted.front();
  result.longest = sorted.back();
  result.p50 = nearest_rank(sorted, 500);
  result.p90 = nearest_rank(sorted, 900);
  result.p99 = nearest_rank(sorted, 990);
  result.p999 = nearest_rank(sorted, 999);
  result.top_documents = (result.documents + 99) / 100;

  std::int64_t from = 1;
  for (const std::int64_t to : kBandEnds) {
    result.bands.push_back({from, to, 0, 0, 0});
    from = to + 1;
  }
  const auto octave_of = [](std::int64_t tokens) {
    return static_cast<int>(std::bit_width(static_cast<std::uint64_t>(tokens))) - 1;
  };
  const int first_octave = octave_of(result.shortest);
  for (int octave = first_octave; octave <= octave_of(result.longest); ++octave) {
    result.octaves.push_back({std::int64_t{1} << octave, (std::int64_t{2} << octave) - 1, 0, 0, 0});
  }
  std::size_t band = 0;
  for (std::int64_t i = 0; i < result.documents; ++i) {
    const std::int64_t tokens = sorted[static_cast<std::size_t>(i)];
    while (tokens > result.bands[band].to) ++band;
    add_to(result.bands[band], tokens);
    add_to(result.octaves[static_cast<std::size_t>(octave_of(tokens) - first_octave)], tokens);
    result.tokens += tokens;
    result.work += squared(tokens);
    if (i >= result.documents - result.top_documents) result.top_work += squared(tokens);
  }
  return result;
}

PackingPreview preview_packing(std::span<const std::int64_t> lengths, std::int64_t pack_tokens) {
  STRATA_CHECK(pack_tokens >= 1 && cut_pack_count(lengths, pack_tokens) <= kMostPacks,
               "a preview has at most {} packs, not what {} tokens a pack give", kMostPacks, pack_tokens);
  const Packs made = make_packs(lengths, pack_tokens, true);
  const bool leave_last = made.short_tokens > 0 && made.packs.size() > 1;
  std::vector<PackSummary> packs;
  for (std::size_t i = 0; i + (leave_last ? 1 : 0) < made.packs.size(); ++i)
    packs.push_back(summary_of(made.packs[i]));
  PackingPreview preview = summarise(packs);
  preview.cut_documents = made.cut_documents;
  preview.leftover_tokens = leave_last ? made.short_tokens : 0;
  return preview;
}

PackingPreview packing_of(std::span<const Batch> batches) {
  std::vector<PackSummary> packs;
  for (const Batch& batch : batches) {
    for (const auto& pieces : batch.packs) packs.push_back(summary_of(pieces));
  }
  return summarise(packs);
}

}  // namespace strata
