// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/arena.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "core/lowering/first_fit.hpp"

namespace strata::detail {

namespace {

/// Buffers side by side that begin to live together and have the same users count as one.
struct Stretch {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int32_t first = 0;
  std::span<const LastUse> users;

  bool goes_on_in(const Lifetime& life) const {
    return life.offset == end && life.first == first &&
           std::equal(users.begin(), users.end(), life.users.begin(), life.users.end());
  }
};

std::vector<Stretch> stretches_of(const std::vector<Lifetime>& lives) {
  std::vector<Stretch> stretches;
  for (const Lifetime& life : lives) {
    if (life.bytes == 0) continue;
    const std::int64_t end = life.offset + life.bytes;
    if (!stretches.empty() && stretches.back().goes_on_in(life)) {
      stretches.back().end = end;
    } else {
      stretches.push_back({life.offset, end, life.first, life.users});
    }
  }
  return stretches;
}

/// Who used which bytes last, stream by stream: maxima over ranges, in a segment tree over the offsets at
/// which stretches begin and end (de Berg and others, Computational Geometry, section 10.3). Node 1 is the
/// root, the children of node n are 2 n and 2 n + 1.
class FormerUsers {
 public:
  FormerUsers(const std::vector<Stretch>& stretches, std::int32_t stream_count)
      : streams_(static_cast<std::size_t>(stream_count)) {
    borders_.reserve(2 * stretches.size());
    for (const Stretch& stretch : stretches) {
      borders_.push_back(stretch.begin);
      borders_.push_back(stretch.end);
    }
    std::sort(borders_.begin(), borders_.end());
    borders_.erase(std::unique(borders_.begin(), borders_.end()), borders_.end());
    whole_.assign(2 * borders_.size() * streams_, -1);
    any_ = whole_;
  }

  /// Adds the former users of the stretch's bytes to `waits`.
  void add_to(Waits& waits, const Stretch& stretch) const {
    const auto add = [&](const std::vector<std::int32_t>& users, std::size_t node) {
      for (std::size_t stream = 0; stream < streams_; ++stream) {
        const std::int32_t user = users[node * streams_ + stream];
        if (user >= 0) waits.add(static_cast<std::int32_t>(stream), user);
      }
    };
    visit(
        stretch, [&](std::size_t covered) { add(any_, covered); },
        [&](std::size_t above) { add(whole_, above); });
  }

  /// Adds the stretch's users to those of its bytes.
  void use(const Stretch& stretch) {
    const auto add = [&](std::vector<std::int32_t>& users, std::size_t node) {
      for (const LastUse& user : stretch.users) {
        std::int32_t& latest = users[node * streams_ + static_cast<std::size_t>(user.stream)];
        latest = std::max(latest, user.instruction);
      }
    };
    const auto add_all = [&](std::size_t covered) { add(whole_, covered), add(any_, covered); };
    visit(stretch, add_all, [&](std::size_t above) { add(any_, above); });
  }

 private:
  std::size_t leaf(std::int64_t border) const {
    const auto at = std::lower_bound(borders_.begin(), borders_.end(), border);
    return borders_.size() + static_cast<std::size_t>(at - borders_.begin());
  }

  /// Visits the nodes that make up the stretch, and those above its first and last byte. Some of the latter
  /// lie within the stretch, where what is noted of the whole stretch is right as well.
  template <typename Covered, typename Above>
  void visit(const Stretch& stretch, const Covered& covered, const Above& above) const {
    const std::size_t first = leaf(stretch.begin), last = leaf(stretch.end) - 1;
    std::size_t begin = first, end = last + 1;
    for (; begin < end; begin /= 2, end /= 2) {
      if (begin % 2 == 1) covered(begin++);
      if (end % 2 == 1) covered(--end);
    }
    for (std::size_t node = first / 2; node > 0; node /= 2) above(node);
    for (std::size_t node = last / 2; node > 0; node /= 2) above(node);
  }

  std::size_t streams_;
  std::vector<std::int64_t> borders_;
  std::vector<std::int32_t> whole_;  ///< [node][stream]: the latest of those who used all bytes of the node
  std::vector<std::int32_t> any_;    ///< [node][stream]: the latest of those who used any of them
};

}  // namespace

std::int64_t place_by_first_fit(std::vector<Lifetime>& lives) {
  constexpr std::int32_t kNone = -1;
  std::int32_t instructions = 0;
  for (const Lifetime& life : lives) instructions = std::max(instructions, life.last + 1);
  std::vector<std::int32_t> ending(static_cast<std::size_t>(instructions), kNone);  // [last] -> a buffer ...
  std::vector<std::int32_t> ending_too(lives.size(), kNone);                        // ... -> the next one
  FirstFit space;
  std::int64_t end = 0;
  std::int32_t now = 0;
  for (std::size_t i = 0; i < lives.size(); ++i) {
    Lifetime& life = lives[i];
    for (; now < life.first; ++now) {
      for (std::int32_t over = ending[static_cast<std::size_t>(now)]; over != kNone;
           over = ending_too[static_cast<std::size_t>(over)]) {
        const Lifetime& ended = lives[static_cast<std::size_t>(over)];
        space.give_back(ended.offset, ended.bytes);
      }
    }
    life.offset = space.take(life.bytes);
    end = std::max(end, life.offset + life.bytes);
    ending_too[i] = std::exchange(ending[static_cast<std::size_t>(life.last)], static_cast<std::int32_t>(i));
  }
  return end;
}

void Waits::add(std::int32_t stream, std::int32_t instruction) {
  const auto s = static_cast<std::size_t>(stream);
  if (s >= latest_.size()) latest_.resize(s + 1, -1);
  if (latest_[s] < 0) streams_.push_back(stream);
  latest_[s] = std::max(latest_[s], instruction);
}

std::vector<std::int32_t> Waits::take(std::int32_t own_stream) {
  std::vector<std::int32_t> waits;
  waits.reserve(streams_.size());
  for (const std::int32_t stream : streams_) {
    const std::int32_t latest = std::exchange(latest_[static_cast<std::size_t>(stream)], -1);
    if (stream != own_stream) waits.push_back(latest);
  }
  streams_.clear();
  std::sort(waits.begin(), waits.end());
  return waits;
}

void hand_over_bytes(const std::vector<Lifetime>& lives, std::int32_t stream_count,
                     const std::function<void(std::int32_t, Waits&)>& heir) {
  const std::vector<Stretch> stretches = stretches_of(lives);
  FormerUsers former(stretches, stream_count);
  Waits waits;
  for (std::size_t i = 0; i < stretches.size(); ++i) {
    // Buffers that begin to live together share no bytes, so that no one waits for itself.
    former.add_to(waits, stretches[i]);
    former.use(stretches[i]);
    const bool complete = i + 1 == stretches.size() || stretches[i + 1].first != stretches[i].first;
    if (complete && !waits.empty()) heir(stretches[i].first, waits);
  }
}

}  // namespace strata::detail
