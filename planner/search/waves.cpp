// SPDX-License-Identifier: Apache-2.0
#include "planner/search/waves.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "core/problem/mask.hpp"

namespace strata {

std::int64_t WaveDocuments::token_count() const {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
}

namespace {

void check_countable(const Batch& batch, const ModelShape& model, std::string_view where) {
  constexpr auto kMost = static_cast<double>(std::int64_t{1} << 62);
  double pairs = 0;  // exact enough: a document alone has at most 2^61
  for (const auto& pack : batch.packs) {
    for (const std::int64_t length : pack) {
      pairs += static_cast<double>(document_pair_count(model.mask(), length));
    }
  }
  if (pairs * model.query_heads <= kMost) return;
  throw InputError(
      std::string(where),
      fmt::format("{} with {:.1e} pairs of query and key in {}", counted(batch.token_count(), "token"), pairs,
                  counted(model.query_heads, "query head")),
      "at most 4.6e18 pairs x heads");
}

}  // namespace

Batch masked_batch(Batch batch, const ModelShape& model, std::string_view where) {
  if (model.mask_kind == MaskKind::document_causal) {
    check_countable(batch, model, where);
    return batch;
  }
  if (!batch.fixed_packs) {
    throw InputError(std::string(where), "free documents with the mask full_causal",
                     "fixed packs, each of which is one sequence under full_causal");
  }
  for (auto& pack : batch.packs) pack = {std::accumulate(pack.begin(), pack.end(), std::int64_t{0})};
  validate(batch, where);
  check_countable(batch, model, where);
  return batch;
}

namespace {

/// The room that waves have left, kept as a tournament: a complete binary tree whose inner nodes hold the
/// larger of their children, so that the first wave with enough room is found, and its room changed, in steps
/// that are the logarithm of the waves (first-fit in n log n, Johnson 1974).
class WaveRoom {
 public:
  static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

  /// The first wave with room for `tokens`, or kNone.
  std::size_t first_with(std::int64_t tokens) const {
    if (count_ == 0 || most_[1] < tokens) return kNone;
    std::size_t node = 1;
    while (node < capacity_) {
      node *= 2;
      if (most_[node] < tokens) ++node;
    }
    return node - capacity_;
  }

  std::size_t size() const { return count_; }

  void open(std::int64_t room) {
    if (count_ == capacity_) grow();
    set(count_++, room);
  }

  void take(std::size_t wave, std::int64_t tokens) { set(wave, most_[capacity_ + wave] - tokens); }

 private:
  static constexpr std::int64_t kClosed = std::numeric_limits<std::int64_t>::min();

  void set(std::size_t wave, std::int64_t room) {
    std::size_t node = capacity_ + wave;
    most_[node] = room;
    while ((node /= 2) > 0) most_[node] = std::max(most_[2 * node], most_[2 * node + 1]);
  }

  void grow() {
    std::vector<std::int64_t> rooms(most_.begin() + static_cast<std::ptrdiff_t>(capacity_), most_.end());
    capacity_ = std::max<std::size_t>(1, 2 * capacity_);
    most_.assign(2 * capacity_, kClosed);
    std::copy(rooms.begin(), rooms.end(), most_.begin() + static_cast<std::ptrdiff_t>(capacity_));
    for (std::size_t node = capacity_; --node > 0;)
      most_[node] = std::max(most_[2 * node], most_[2 * node + 1]);
  }

  std::size_t count_ = 0, capacity_ = 0;
  std::vector<std::int64_t> most_;  // node 1 is the root, those from capacity_ on are the waves
};

void append(WaveDocuments& wave, std::int32_t document, std::int64_t length) {
  wave.documents.push_back(document);
  wave.lengths.push_back(length);
}

std::vector<WaveDocuments> waves_of_packs(const Batch& batch) {
  std::vector<WaveDocuments> waves;
  waves.reserve(batch.packs.size());
  std::int32_t document = 0;
  for (const auto& pack : batch.packs) {
    WaveDocuments& wave = waves.emplace_back();
    wave.lengths = pack;
    wave.documents.resize(pack.size());
    std::iota(wave.documents.begin(), wave.documents.end(), document);
    document += static_cast<std::int32_t>(pack.size());
  }
  return waves;
}

}  // namespace

std::vector<WaveDocuments> split_into_waves(const Batch& batch, std::int64_t token_budget) {
  if (batch.fixed_packs) return waves_of_packs(batch);
  std::vector<WaveDocuments> waves;
  WaveRoom room;
  std::int32_t document = 0;
  for (const auto& pack : batch.packs) {
    for (const std::int64_t length : pack) {
      std::size_t wave = room.first_with(length);
      if (wave == WaveRoom::kNone) {
        wave = room.size();
        room.open(token_budget);
        waves.emplace_back();
      }
      room.take(wave, length);
      append(waves[wave], document++, length);
    }
  }
  return waves;
}

}  // namespace strata
