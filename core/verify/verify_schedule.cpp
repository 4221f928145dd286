// SPDX-License-Identifier: Apache-2.0
// The order of the checks of one wave, and the same proof in parallel for a wave that is right.
#include "core/verify/verify_schedule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <optional>

#include "core/base/parallel_for.hpp"
#include "core/schedule/backward_schedule.hpp"
#include "core/verify/verify_detail.hpp"

namespace strata {

namespace {

/// Derived backward schedules repeat the forward tasks, which have been counted already.
bool same_tasks(const CommSchedule& forward, const CommSchedule& backward) {
  static const std::vector<AttentionTask> kNone;
  const auto tasks = [](const CommSchedule& schedule, std::size_t step) -> const std::vector<AttentionTask>& {
    return step < schedule.steps.size() ? schedule.steps[step].tasks : kNone;
  };
  for (std::size_t step = 0; step < std::max(forward.steps.size(), backward.steps.size()); ++step) {
    if (tasks(forward, step) != tasks(backward, step)) return false;
  }
  return true;
}

bool is_derived(const Wave& wave) { return wave.backward.gradient_return != GradientReturn::explicit_steps; }

/// The whole of backward, step by step as it is written down or derived, which `result` becomes.
void verify_backward(const detail::WaveIndex& index, const detail::ScheduleIndex& forward,
                     CommSchedule& result, detail::Findings& findings) {
  const Wave& wave = index.wave();
  if (is_derived(wave) && !wave.backward.steps.empty()) {
    findings.add(
        "backward_policy", ".backward",
        fmt::format("{} steps are written down, but the policy derives them", wave.backward.steps.size()));
    return;
  }
  result = derive_backward(wave, index.model());
  const CommSchedule& schedule = result;
  const std::string where = is_derived(wave) ? ".backward.derived" : ".backward";
  verify_records(index, schedule.steps, detail::Pass::backward, where, findings);
  if (!findings.empty()) return;
  const detail::ScheduleIndex backward(index, schedule.steps, where);
  if (!same_tasks(wave.schedule, schedule)) verify_coverage(index, backward, index.all_documents(), findings);
  verify_backward_flow(index, forward, backward, findings);
}

/// Forward, then `backward`, which is derived here; each check only if those before it found nothing.
void verify_in_order(const detail::WaveIndex& index, CommSchedule& backward, detail::Findings& findings) {
  const Wave& wave = index.wave();
  verify_records(index, wave.schedule.steps, detail::Pass::forward, "", findings);
  if (!findings.empty()) return;
  const detail::ScheduleIndex forward(index, wave.schedule.steps, "");
  verify_coverage(index, forward, index.all_documents(), findings);
  verify_forward_flow(index, forward, index.all_documents(), findings);
  if (findings.empty()) verify_backward(index, forward, backward, findings);
}

/// Whether all is well with a wave whose backward is derived: the same proof as verify_in_order, split over
/// threads, without a word about what is wrong. It checks of backward what is not forward again. Documents
/// have nothing to do with each other once the records are known to be well-formed.
class QuickProof {
 public:
  /// `keep`: backward is wanted afterwards.
  QuickProof(const detail::WaveIndex& index, bool keep)
      : index_(index), wave_(index.wave()), threads_(is_large(wave_.schedule) ? 0 : 1), keep_(keep) {}

  bool holds() {
    if (!wave_.backward.steps.empty()) return false;
    const auto& steps = wave_.schedule.steps;
    each(2 * steps.size() + 1, [&](std::size_t job, detail::Findings& findings) {
      if (job == 0) {
        owners_.emplace(wave_.placement, wave_.documents);
        return;
      }
      const auto kind = job % 2 == 0 ? detail::RecordKind::moves : detail::RecordKind::tasks;
      verify_records(index_, steps, (job - 1) / 2, kind, detail::Pass::forward, "", findings);
    });
    split_documents();
    each(parts_.size() + 1, [&](std::size_t job, detail::Findings& findings) {
      if (job == 0) {
        forward_.emplace(index_, steps, "");
      } else {
        derive(parts_[job - 1], findings);
      }
    });
    each(2 * parts_.size(), [&](std::size_t job, detail::Findings& findings) {
      Part& part = parts_[job / 2];
      if (job % 2 == 0) {
        verify_gradient_flow(index_, *forward_, *part.gradients, part.documents, findings);
        part.gradients.reset();
        if (!keep_) part.steps.clear();  // here, since it takes a while
      } else {
        verify_coverage(index_, *forward_, part.documents, findings);
        verify_forward_flow(index_, *forward_, part.documents, findings);
      }
    });
    return well_;
  }

  /// The backward schedule of a proof that was to keep it, and holds.
  CommSchedule take_backward() {
    forward_.reset();  // what the proof needed makes room
    owners_.reset();
    std::vector<ScheduleStep> moves = std::move(parts_.front().steps);
    for (auto part = parts_.begin() + 1; part != parts_.end(); ++part) {
      if (moves.size() < part->steps.size()) moves.resize(part->steps.size());
      for (std::size_t s = 0; s < part->steps.size(); ++s) {
        std::move(part->steps[s].transfers.begin(), part->steps[s].transfers.end(),
                  std::back_inserter(moves[s].transfers));
        std::move(part->steps[s].reductions.begin(), part->steps[s].reductions.end(),
                  std::back_inserter(moves[s].reductions));
      }
    }
    return complete_backward(wave_, std::move(moves));
  }

 private:
  struct Part {
    detail::Documents documents;
    std::vector<ScheduleStep> steps;  ///< what backward adds
    std::optional<detail::ScheduleIndex> gradients;
  };

  /// Starting a thread costs as much as verifying a few hundred transfers.
  static bool is_large(const CommSchedule& schedule) {
    constexpr std::size_t kTransfers = 1'000;
    std::size_t transfers = 0;
    for (const ScheduleStep& step : schedule.steps) transfers += step.transfers.size();
    return transfers > kTransfers;
  }

  /// Nothing is done any more once something was found.
  template <typename Job>
  void each(std::size_t count, Job job) {
    if (!well_) return;
    parallel_for(static_cast<std::int64_t>(count), threads_, [&](std::int64_t number) {
      if (!well_) return;
      detail::Findings findings("", 1);
      job(static_cast<std::size_t>(number), findings);
      if (!findings.empty()) well_ = false;
    });
  }

  void split_documents() {
    constexpr std::size_t kParts = 3;  // more balance better, but each goes through all tasks once
    const std::size_t documents = index_.document_count();
    const std::size_t parts = threads_ == 1 ? 1 : std::min(documents, kParts);
    for (std::size_t i = 0; i < parts; ++i) {
      parts_.push_back({{documents * i / parts, documents * (i + 1) / parts}, {}, {}});
    }
  }

  void derive(Part& part, detail::Findings& findings) const {
    const DocumentNumbers numbers{index_.document(part.documents.begin),
                                  index_.document(part.documents.end - 1) + 1};
    part.steps = derive_gradient_moves(wave_, index_.model(), *owners_, numbers);
    verify_records(index_, part.steps, detail::Pass::backward, "", findings);
    if (findings.empty()) part.gradients.emplace(index_, part.steps, "");
  }

  const detail::WaveIndex& index_;
  const Wave& wave_;
  std::int32_t threads_;
  bool keep_;
  std::atomic<bool> well_ = true;
  std::optional<OwnerTable> owners_;
  std::optional<detail::ScheduleIndex> forward_;
  std::vector<Part> parts_;
};

}  // namespace

std::vector<Violation> verify_wave(const Wave& wave, const ModelShape& model, std::int32_t rank_count,
                                   const std::string& place, std::size_t limit, CommSchedule* backward) {
  detail::Findings findings(place, limit);
  verify_model(model, findings);
  verify_structure(wave, rank_count, findings);
  if (!findings.empty()) return findings.take();
  const detail::WaveIndex index(wave, model);
  verify_ownership(index, findings);
  if (!findings.empty()) return findings.take();
  if (is_derived(wave)) {
    QuickProof proof(index, backward != nullptr);
    if (proof.holds()) {
      if (backward != nullptr) *backward = proof.take_backward();
      return {};
    }
  }
  CommSchedule derived;
  verify_in_order(index, derived, findings);
  if (backward != nullptr && findings.empty()) *backward = std::move(derived);
  return findings.take();
}

}  // namespace strata
