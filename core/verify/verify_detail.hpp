// SPDX-License-Identifier: Apache-2.0
// Inside of the schedule verifier: its working forms of a wave and of a schedule, and its checks in the order
// in which they run. Every check relies on the ones before it, so verify_wave stops at the first that finds
// something.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/schedule/comm_schedule.hpp"
#include "core/verify/verify_schedule.hpp"

namespace strata::detail {

/// Bounds that keep every product of the verifier inside int64 and its memory proportional to the plan.
inline constexpr std::int32_t kMaxLanes = 16;
inline constexpr std::int64_t kMaxDocumentTokens = std::numeric_limits<std::int32_t>::max();
/// Document numbers covered x ranks.
inline constexpr std::int64_t kMaxDocumentRanks = std::int64_t{1} << 26;

/// Violations up to a limit.
class Findings {
 public:
  Findings(std::string place, std::size_t limit) : place_(std::move(place)), limit_(limit) {}
  bool empty() const { return !any_; }
  bool full() const { return found_.size() >= limit_; }
  /// `where` is appended to the place of the wave; it starts with '.' or is empty.
  void add(std::string_view rule, const std::string& where, std::string message) {
    any_ = true;
    if (!full()) found_.push_back({std::string(rule), place_ + where, std::move(message)});
  }
  std::vector<Violation> take() { return std::move(found_); }

 private:
  std::string place_;
  std::size_t limit_;
  bool any_ = false;
  std::vector<Violation> found_;
};

/// Positions [begin, end) of documents in the wave.
struct Documents {
  std::size_t begin = 0, end = 0;
};

/// A wave whose structure has been checked, with its owners by document. Until verify_ownership has passed
/// they may leave gaps or overlap.
class WaveIndex {
 public:
  WaveIndex(const Wave& wave, const ModelShape& model);

  const Wave& wave() const { return wave_; }
  const ModelShape& model() const { return model_; }
  Mask mask() const { return mask_; }
  std::int32_t rank_count() const { return wave_.placement.rank_count(); }
  std::size_t document_count() const { return wave_.documents.size(); }
  Documents all_documents() const { return {0, document_count()}; }
  std::int32_t document(std::size_t index) const { return wave_.documents[index]; }
  std::int64_t length(std::size_t index) const { return wave_.lengths[index]; }
  /// Position of a document number in the wave, -1 when it is not there.
  std::int64_t find(std::int32_t document) const {
    if (!consecutive_) return search(document);
    const std::int64_t index = std::int64_t{document} - wave_.documents.front();
    return index >= 0 && index < static_cast<std::int64_t>(wave_.documents.size()) ? index : -1;
  }
  /// Pieces of the document at `index`, sorted by begin.
  std::span<const OwnedSpan> owners(std::size_t index) const;
  /// The owner of all of [begin, end) of the document at `index`; -1 when it has several.
  std::int32_t sole_owner(std::size_t index, std::int64_t begin, std::int64_t end) const;
  std::int32_t head_count(TensorKind tensor) const {
    return counts_kv_heads(tensor) ? model_.kv_heads : model_.query_heads;
  }

 private:
  std::int64_t search(std::int32_t document) const;

  const Wave& wave_;
  const ModelShape& model_;
  Mask mask_;
  bool consecutive_ = false;
  std::vector<std::size_t> offsets_;
  std::vector<OwnedSpan> pieces_;
};

/// WaveIndex::sole_owner of one document for rows that mostly ascend.
class OwnerCursor {
 public:
  explicit OwnerCursor(std::span<const OwnedSpan> owners) : owners_(owners) {}
  std::int32_t sole_owner(std::int64_t begin, std::int64_t end);

 private:
  std::span<const OwnedSpan> owners_;
  std::size_t at_ = 0;
};

/// A Transfer or a Reduction in the form that the sweeps use.
struct Move {
  std::int64_t begin = 0, end = 0;
  HeadRange heads;
  std::int32_t rank = 0;  ///< the single end: a source, or the target of a Reduction
  std::int32_t step = 0;
  std::int32_t ready = 0;
  std::int32_t index = 0;  ///< in its step
  TensorKind tensor = TensorKind::kv;
  const std::vector<RankRange>* peers = nullptr;  ///< the many ends
};

struct TaskRef {
  const AttentionTask* task = nullptr;
  std::int32_t step = 0;
  std::int32_t index = 0;  ///< in its step
};

/// Well-formed transfers, reductions and tasks of one pass by document: moves sorted by (tensor, begin),
/// tasks by (step, index).
class ScheduleIndex {
 public:
  /// `where` is the place of the pass below the wave: "" or ".backward.derived".
  ScheduleIndex(const WaveIndex& wave, const std::vector<ScheduleStep>& steps, std::string where);

  const std::string& where() const { return where_; }
  /// Moves of the document at `index`, of all tensors or of tensors `first` to `last`.
  std::span<const Move> moves(std::size_t index) const;
  std::span<const Move> moves(std::size_t index, TensorKind first, TensorKind last) const;
  std::span<const TaskRef> tasks(std::size_t index) const;
  /// Whether every task of the document is for queries that its rank owns.
  bool queries_are_owned(std::size_t index) const { return queries_are_owned_[index] != 0; }
  std::string place(const Move& move) const;
  std::string place(const TaskRef& task) const;

 private:
  std::string where_;
  std::vector<std::size_t> move_offsets_, task_offsets_;
  std::vector<Move> moves_;
  std::vector<TaskRef> tasks_;
  std::vector<char> queries_are_owned_;
};

std::string describe(std::int32_t document, std::int64_t begin, std::int64_t end);
std::string describe(HeadRange heads);

/// Model sizes that the checks can work with.
void verify_model(const ModelShape& model, Findings& findings);
/// Documents, groups and placement: their form, and documents placed inside their group.
void verify_structure(const Wave& wave, std::int32_t rank_count, Findings& findings);
/// Every token owned once.
void verify_ownership(const WaveIndex& wave, Findings& findings);

enum class Pass : std::uint8_t { forward, backward };
/// Every transfer, reduction and task by itself, and their order. `where` as in ScheduleIndex.
void verify_records(const WaveIndex& wave, const std::vector<ScheduleStep>& steps, Pass pass,
                    const std::string& where, Findings& findings);
enum class RecordKind : std::uint8_t { moves, tasks };
/// The part of verify_records that concerns the records of one kind in steps[step].
void verify_records(const WaveIndex& wave, const std::vector<ScheduleStep>& steps, std::size_t step,
                    RecordKind kind, Pass pass, const std::string& where, Findings& findings);

/// Every allowed (query, key) pair of every query head in exactly one task.
void verify_coverage(const WaveIndex& wave, const ScheduleIndex& schedule, Documents documents,
                     Findings& findings);

/// No row and head of the document comes home in more parts than kMaxPartialOutputs.
void verify_part_counts(const WaveIndex& wave, const ScheduleIndex& schedule, std::size_t document,
                        Findings& findings);
/// `o` transfers of one document: their source computed all pairs of their rows and heads.
void verify_finished_outputs(const WaveIndex& wave, const ScheduleIndex& schedule, std::size_t document,
                             Findings& findings);
/// Senders hold what they send, tasks what they read; nothing arrives twice or for nothing; outputs come
/// home.
void verify_forward_flow(const WaveIndex& wave, const ScheduleIndex& forward, Documents documents,
                         Findings& findings);
/// The same for q, kv and d_o in backward, and dq and dkv come home once, after their last contribution.
void verify_backward_flow(const WaveIndex& wave, const ScheduleIndex& forward, const ScheduleIndex& backward,
                          Findings& findings);
/// What verify_backward_flow adds to verify_forward_flow where backward is derived. `gradients` are the moves
/// of derive_gradient_moves. The other moves and the tasks are those of forward. So a rank has q and kv when
/// it had them in forward: the same transfers send them again, or they were kept, which is the same without a
/// wait.
void verify_gradient_flow(const WaveIndex& wave, const ScheduleIndex& forward, const ScheduleIndex& gradients,
                          Documents documents, Findings& findings);

/// The numbers of a plan whose inputs and waves have been checked. `backward` is the backward schedule of
/// each wave.
void verify_numbers(const Plan& plan, const std::vector<CommSchedule>& backward, Findings& findings);

}  // namespace strata::detail
