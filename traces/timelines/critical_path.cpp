// SPDX-License-Identifier: Apache-2.0
#include "traces/timelines/critical_path.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

namespace strata {

namespace {

class PathFinder {
 public:
  PathFinder(const Timeline& timeline, WavePrograms programs, std::int32_t repeat)
      : timeline_(timeline), programs_(programs), repeat_(repeat) {
    for (std::size_t i = 0; i < timeline.events.size(); ++i) {
      if (event(i).repeat == repeat) by_rank_[event(i).rank].push_back(i);
    }
    for (auto& [rank, indices] : by_rank_) {
      std::stable_sort(indices.begin(), indices.end(),
                       [&](std::size_t a, std::size_t b) { return event(a).end_ns < event(b).end_ns; });
    }
  }

  std::vector<std::size_t> find() const {
    std::vector<std::size_t> path;
    std::vector<bool> visited(timeline_.events.size(), false);
    std::optional<std::size_t> current = last_event();
    while (current && !visited[*current]) {
      visited[*current] = true;
      if (const auto late = latest_participant(*current); late && !visited[*late]) {
        // The exchange took its time only once the late rank was there: that rank's part stands for both.
        current = late;
        visited[*current] = true;
      }
      path.push_back(*current);
      current = predecessor(*current);
    }
    std::reverse(path.begin(), path.end());
    return path;
  }

 private:
  const TimelineEvent& event(std::size_t index) const { return timeline_.events[index]; }
  const Instruction& instruction(std::size_t index) const {
    return instruction_of(timeline_, event(index), programs_);
  }

  std::optional<std::size_t> last_event() const {
    std::optional<std::size_t> last;
    for (std::size_t i = 0; i < timeline_.events.size(); ++i) {
      if (event(i).repeat != repeat_) continue;
      if (!last || event(i).end_ns > event(*last).end_ns) last = i;
    }
    return last;
  }

  /// The event of `rank` and `instruction` in the repeat, wave, layer and pass of `like`.
  std::optional<std::size_t> find_event(TimelineEvent like, std::int32_t rank,
                                        std::int32_t instruction) const {
    like.rank = rank;
    like.instruction = instruction;
    const auto found = std::lower_bound(timeline_.events.begin(), timeline_.events.end(), like, key_less);
    if (found == timeline_.events.end() || key_less(like, *found)) return std::nullopt;
    return static_cast<std::size_t>(found - timeline_.events.begin());
  }

  /// For an exchange that waited: the part of the participant that was posted last, if that was not itself.
  std::optional<std::size_t> latest_participant(std::size_t index) const {
    const Exchange* exchange = exchange_of(instruction(index).op);
    if (exchange == nullptr || event(index).matched_ns <= event(index).posted_ns) return std::nullopt;
    std::vector<std::int32_t> peers;
    for (const ExchangePart& part : exchange->sends) peers.push_back(part.peer);
    for (const ExchangePart& part : exchange->receives) peers.push_back(part.peer);
    std::sort(peers.begin(), peers.end());
    peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
    std::optional<std::size_t> latest;
    for (const std::int32_t peer : peers) {
      const auto part = matching_part(index, *exchange, peer);
      if (!part || event(*part).posted_ns <= event(index).posted_ns) continue;
      if (!latest || event(*part).posted_ns > event(*latest).posted_ns) latest = part;
    }
    return latest;
  }

  /// The exchange of `peer` with the same step and lane.
  std::optional<std::size_t> matching_part(std::size_t index, const Exchange& exchange,
                                           std::int32_t peer) const {
    TimelineEvent first = event(index);
    first.rank = peer;
    first.instruction = 0;
    const auto& instructions = program_of(timeline_, first, programs_).instructions(first.pass);
    for (std::size_t i = 0; i < instructions.size(); ++i) {
      const Exchange* other = exchange_of(instructions[i].op);
      if (other == nullptr || other->step != exchange.step || other->lane != exchange.lane) continue;
      return find_event(first, peer, static_cast<std::int32_t>(i));
    }
    return std::nullopt;
  }

  std::optional<std::size_t> predecessor(std::size_t index) const {
    const TimelineEvent& self = event(index);
    const Instruction& own = instruction(index);
    std::vector<std::int32_t> candidates = own.wait_for;
    const auto& instructions = program_of(timeline_, self, programs_).instructions(self.pass);
    for (std::int32_t before = self.instruction - 1; before >= 0; --before) {
      if (instructions[static_cast<std::size_t>(before)].stream != own.stream) continue;
      candidates.push_back(before);
      break;
    }
    std::sort(candidates.begin(), candidates.end());
    std::optional<std::size_t> best;
    for (const std::int32_t candidate : candidates) {
      const auto found = find_event(self, self.rank, candidate);
      if (found && (!best || event(*found).end_ns > event(*best).end_ns)) best = found;
    }
    return best ? best : ended_before(index);
  }

  /// What ended last on the rank before `index` was posted, in another layer, pass or wave.
  std::optional<std::size_t> ended_before(std::size_t index) const {
    const TimelineEvent& self = event(index);
    const auto same_pass = [&](const TimelineEvent& other) {
      return std::tie(other.wave, other.layer, other.pass) == std::tie(self.wave, self.layer, self.pass);
    };
    const std::vector<std::size_t>& indices = by_rank_.at(self.rank);
    auto place =
        std::upper_bound(indices.begin(), indices.end(), self.posted_ns,
                         [&](std::int64_t time, std::size_t other) { return time < event(other).end_ns; });
    while (place != indices.begin()) {
      --place;
      if (!same_pass(event(*place))) return *place;
    }
    return std::nullopt;
  }

  const Timeline& timeline_;
  WavePrograms programs_;
  std::int32_t repeat_;
  std::map<std::int32_t, std::vector<std::size_t>> by_rank_;  ///< event indices, by end
};

}  // namespace

std::vector<std::size_t> critical_path(const Timeline& timeline, WavePrograms programs, std::int32_t repeat) {
  return PathFinder(timeline, programs, repeat).find();
}

}  // namespace strata
