// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/multicast.hpp"

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "core/base/parallel_for.hpp"
#include "core/problem/mask.hpp"
#include "core/schedule/rank_set.hpp"
#include "planner/realise/attention_tasks.hpp"

namespace strata {

namespace {

class Multicast {
 public:
  Multicast(const WaveRequest& request, std::vector<Transfer>& transfers)
      : window_(request.model.mask().window),
        heads_(request.kv_heads()),
        needing_(request.rank_count),
        transfers_(transfers) {}

  /// Sends each piece of one document to the ranks that own queries which see it. The pieces that see a row
  /// are the ones behind it up to the end of its window, so one sweep with two ends that only move forward
  /// finds them all.
  void document(std::int32_t document, std::span<const OwnedSpan> pieces) {
    std::size_t reached = 0;  // `needing_` holds the owners of pieces (i, reached)
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      if (reached > i) {
        needing_.remove(pieces[i].rank);
      } else {
        reached = i + 1;
      }
      for (std::int64_t begin = pieces[i].begin; begin < pieces[i].end;) {
        while (reached < pieces.size() && pieces[reached].begin <= last_query_of(begin)) {
          needing_.add(pieces[reached++].rank);
        }
        // Rows keep this set of targets until the window reaches the next piece.
        const std::int64_t end = reached == pieces.size()
                                     ? pieces[i].end
                                     : std::min(pieces[i].end, pieces[reached].begin - window_ + 1);
        send(pieces[i].rank, {document, begin, end}, begin > pieces[i].begin);
        begin = end;
      }
    }
  }

 private:
  std::int64_t last_query_of(std::int64_t key) const {
    return window_ == 0 ? std::numeric_limits<std::int64_t>::max() : key + window_ - 1;
  }

  /// `continues`: the rows follow those sent last, from the same piece; same targets then make one transfer.
  void send(std::int32_t owner, const TokenSpan& span, bool continues) {
    std::vector<RankRange> targets = needing_.ranges_without(owner);
    if (targets.empty()) return;
    if (continues && !transfers_.empty() && transfers_.back().targets == targets &&
        transfers_.back().span.document == span.document && transfers_.back().span.end == span.begin) {
      transfers_.back().span.end = span.end;
      return;
    }
    transfers_.push_back({owner, std::move(targets), TensorKind::kv, span, heads_, 0, 1});
  }

  std::int64_t window_;
  HeadRange heads_;
  RankSet needing_;
  std::vector<Transfer>& transfers_;
};

std::size_t piece_count(const SequenceLayout& layout) {
  std::size_t pieces = 0;
  for (const auto& spans : layout.spans) pieces += spans.size();
  return pieces;
}

void send_needed(const WaveRequest& request, const SequenceLayout& layout, std::vector<Transfer>& transfers) {
  const OwnerTable owners(layout, request.documents);
  transfers.reserve(piece_count(layout));  // a window may cut one in several
  Multicast multicast(request, transfers);
  for (const std::int32_t document : request.documents) multicast.document(document, owners.of(document));
}

void send_all(const WaveRequest& request, const SequenceLayout& layout, std::vector<Transfer>& transfers) {
  for (std::int32_t rank = 0; rank < request.rank_count; ++rank) {
    std::vector<RankRange> others;
    if (rank > 0) others.push_back({0, rank});
    if (rank + 1 < request.rank_count) others.push_back({rank + 1, request.rank_count});
    if (others.empty()) continue;
    for (const TokenSpan& span : layout.spans[static_cast<std::size_t>(rank)]) {
      transfers.push_back({rank, others, TensorKind::kv, span, request.kv_heads(), 0, 1});
    }
  }
}

/// The parts of [0, end) of each document that are not in `owned`, where `end` is where the last owned span
/// of the document begins: what the rank's queries may see of other ranks' keys.
void append_gaps(const std::vector<TokenSpan>& owned, std::vector<TokenSpan>& gaps) {
  for (std::size_t i = 0; i < owned.size(); ++i) {
    const bool first = i == 0 || owned[i - 1].document != owned[i].document;
    const TokenSpan gap{owned[i].document, first ? 0 : owned[i - 1].end, owned[i].begin};
    if (!gap.empty()) gaps.push_back(gap);
  }
}

/// Without a window a query span has a task with every span and every gap before it, and with itself.
void reserve_tasks(const SequenceLayout& layout, ScheduleStep& local, ScheduleStep& remote) {
  std::size_t local_count = 0, remote_count = 0;
  for (const std::vector<TokenSpan>& owned : layout.spans) {
    std::size_t spans = 0, gaps = 0;  // of the document so far
    for (std::size_t i = 0; i < owned.size(); ++i) {
      const bool first = i == 0 || owned[i - 1].document != owned[i].document;
      if (first) spans = gaps = 0;
      gaps += (first ? 0 : owned[i - 1].end) < owned[i].begin ? 1 : 0;
      local_count += ++spans;
      remote_count += gaps;
    }
  }
  local.tasks.reserve(local_count);
  remote.tasks.reserve(remote_count);
}

/// Local keys first, while those of other ranks travel.
void add_tasks(const WaveRequest& request, const SequenceLayout& layout, ScheduleStep& local,
               ScheduleStep& remote) {
  if (request.model.mask().window == 0) reserve_tasks(layout, local, remote);
  std::vector<TokenSpan> gaps;
  for (std::int32_t rank = 0; rank < request.rank_count; ++rank) {
    const TaskMaker maker{request.model.mask(), rank, request.query_heads()};
    const std::vector<TokenSpan>& owned = layout.spans[static_cast<std::size_t>(rank)];
    maker.append(owned, owned, local.tasks);
    gaps.clear();
    append_gaps(owned, gaps);
    maker.append(owned, gaps, remote.tasks);
  }
  sort_canonically(local);
  sort_canonically(remote);
}

}  // namespace

CommSchedule schedule_multicast(const WaveRequest& request, const SequenceLayout& layout) {
  CommSchedule schedule;
  schedule.exchange = request.exchange;
  schedule.steps.resize(2);
  ScheduleStep moving;
  const auto add_transfers = [&] {
    if (request.exchange == ExchangeMode::full) {
      send_all(request, layout, moving.transfers);
      if (!moving.transfers.empty()) moving.collective = CollectiveKind::all_gather;
    } else {
      send_needed(request, layout, moving.transfers);
    }
    sort_canonically(moving);
  };
  constexpr std::size_t kManyPieces = 1'000;  // worth starting a thread
  parallel_for(2, piece_count(layout) < kManyPieces ? 1 : 0, [&](std::int64_t job) {
    if (job == 0) {
      add_tasks(request, layout, schedule.steps[0], schedule.steps[1]);
    } else {
      add_transfers();
    }
  });
  schedule.steps[0].transfers = std::move(moving.transfers);
  schedule.steps[0].collective = moving.collective;
  drop_unused_last_steps(schedule);
  return schedule;
}

}  // namespace strata
