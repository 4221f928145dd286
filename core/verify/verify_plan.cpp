// SPDX-License-Identifier: Apache-2.0
// A whole plan against its own inputs: a plan that answers another question than the one in `inputs` is wrong
// however sound its waves are.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "core/base/check.hpp"
#include "core/base/digest.hpp"
#include "core/base/parallel_for.hpp"
#include "core/lowering/lower.hpp"
#include "core/plan/plan_json.hpp"
#include "core/program/program_digest.hpp"
#include "core/schedule/backward_schedule.hpp"
#include "core/verify/program_summary.hpp"
#include "core/verify/verify_detail.hpp"

namespace strata {

namespace detail {

namespace {

std::string wave_place(std::size_t wave) { return fmt::format("waves[{}]", wave); }

template <typename Input>
void verify_input(const Input& input, const std::string& place, Findings& findings) {
  try {
    validate(input, place);
  } catch (const InputError& error) {
    findings.add("inputs", place, error.what());
  }
}

void verify_digests(const Plan& plan, Findings& findings) {
  const InputDigests expected = input_digests(plan);
  const auto compare = [&](const char* input, const std::string& stated, const std::string& actual) {
    if (stated.empty() || stated == actual) return;
    findings.add("digest", fmt::format("inputs.{}", input),
                 fmt::format("the digest is {}, but the content has {}", stated, actual));
  };
  compare("batch", plan.digests.batch, expected.batch);
  compare("topology", plan.digests.topology, expected.topology);
  compare("model", plan.digests.model, expected.model);
  compare("request", plan.digests.request, expected.request);
  if (!plan.profile.content.empty()) {
    compare("profile", plan.profile.digest, digest_of(plan.profile.content));
  }
}

/// Under full_causal the mask sees a pack as one document; the batch of a plan states it so.
void verify_mask_kind(const Plan& plan, Findings& findings) {
  if (plan.model.mask_kind != MaskKind::full_causal) return;
  if (!plan.batch.fixed_packs) {
    findings.add("batch", "inputs.batch", "free documents with a full_causal mask");
    return;
  }
  for (std::size_t pack = 0; pack < plan.batch.packs.size(); ++pack) {
    if (plan.batch.packs[pack].size() == 1) continue;
    findings.add("batch", fmt::format("inputs.batch.packs[{}]", pack),
                 fmt::format("{} documents, but a full_causal mask makes a pack one document",
                             plan.batch.packs[pack].size()));
  }
}

/// Every document of the batch is in exactly one wave with its length; recorded packs are the waves, in
/// order.
void verify_batch(const Plan& plan, Findings& findings) {
  const std::vector<std::int64_t> lengths = plan.batch.document_lengths();
  std::vector<std::int32_t> wave_of(lengths.size(), -1);
  for (std::size_t w = 0; w < plan.waves.size() && !findings.full(); ++w) {
    const Wave& wave = plan.waves[w];
    for (std::size_t i = 0; i < wave.documents.size() && i < wave.lengths.size() && !findings.full(); ++i) {
      const auto fail = [&](std::string message) {
        findings.add("batch", fmt::format("{}.documents[{}]", wave_place(w), i), std::move(message));
      };
      const std::int32_t document = wave.documents[i];
      if (document < 0 || static_cast<std::size_t>(document) >= lengths.size()) {
        fail(fmt::format("document {} of a batch of {} documents", document, lengths.size()));
        continue;
      }
      const auto index = static_cast<std::size_t>(document);
      if (wave_of[index] >= 0) fail(fmt::format("document {} is in waves[{}] too", document, wave_of[index]));
      wave_of[index] = static_cast<std::int32_t>(w);
      if (wave.lengths[i] != lengths[index]) {
        fail(fmt::format("document {} has {} tokens, but {} in the batch", document, wave.lengths[i],
                         lengths[index]));
      }
    }
  }
  std::size_t document = 0;
  for (std::size_t pack = 0; pack < plan.batch.packs.size(); ++pack) {
    for (std::size_t i = 0; i < plan.batch.packs[pack].size() && !findings.full(); ++i, ++document) {
      const std::int32_t wave = wave_of[document];
      if (wave < 0) {
        findings.add("batch", "waves",
                     fmt::format("document {} of {} tokens is in no wave", document, lengths[document]));
      } else if (plan.batch.fixed_packs && static_cast<std::size_t>(wave) != pack) {
        findings.add("batch", wave_place(static_cast<std::size_t>(wave)),
                     fmt::format("document {} belongs to recorded pack {}", document, pack));
      }
    }
  }
  if (plan.batch.fixed_packs && plan.waves.size() != plan.batch.packs.size()) {
    findings.add("batch", "waves",
                 fmt::format("{} waves for {} recorded packs", plan.waves.size(), plan.batch.packs.size()));
  }
}

void verify_lowering(const Plan& plan, Findings& findings) {
  if (plan.lowering_version != kLoweringVersion) {
    findings.add(
        "lowering_version", "lowering_version",
        fmt::format("{}, but this build lowers with version {}", plan.lowering_version, kLoweringVersion));
  }
  if (plan.program_digests.size() != plan.waves.size()) {
    findings.add(
        "program_digest", "program_digests",
        fmt::format("digests of {} waves, expected {}", plan.program_digests.size(), plan.waves.size()));
    return;
  }
  const auto ranks = static_cast<std::size_t>(plan.topology.rank_count());
  for (std::size_t wave = 0; wave < plan.waves.size(); ++wave) {
    if (plan.program_digests[wave].size() == ranks) continue;
    findings.add("program_digest", fmt::format("program_digests[{}]", wave),
                 fmt::format("digests of {} ranks, expected {}", plan.program_digests[wave].size(), ranks));
  }
}

void verify_waves(const Plan& plan, std::size_t limit, std::vector<CommSchedule>& backward,
                  std::vector<Violation>& found) {
  backward.resize(plan.waves.size());
  for (std::size_t wave = 0; wave < plan.waves.size() && found.size() < limit; ++wave) {
    auto more = verify_wave(plan.waves[wave], plan.model, plan.topology.rank_count(), wave_place(wave),
                            limit - found.size(), &backward[wave]);
    std::move(more.begin(), more.end(), std::back_inserter(found));
  }
}

}  // namespace

}  // namespace detail

std::vector<Violation> verify_plan(const Plan& plan, std::size_t limit, std::vector<CommSchedule>* backward) {
  limit = std::max<std::size_t>(limit, 1);
  detail::Findings findings("", limit);
  detail::verify_input(plan.batch, "inputs.batch", findings);
  detail::verify_input(plan.topology, "inputs.topology", findings);
  detail::verify_input(plan.model, "inputs.model", findings);
  if (!findings.empty()) return findings.take();
  detail::verify_digests(plan, findings);
  detail::verify_mask_kind(plan, findings);
  detail::verify_batch(plan, findings);
  detail::verify_lowering(plan, findings);
  // Documents are those of the batch, so waves are no larger than the plan.
  const bool numbered = findings.empty();
  std::vector<Violation> found = findings.take();
  if (!numbered) return found;
  std::vector<CommSchedule> derived;
  detail::verify_waves(plan, limit, derived, found);
  if (!found.empty()) return found;
  detail::Findings numbers("", limit);
  detail::verify_numbers(plan, derived, numbers);
  if (backward != nullptr && numbers.empty()) *backward = std::move(derived);
  return numbers.take();
}

namespace detail {

namespace {

/// A wave's programs and what is asked of each alone.
struct LoweredWave {
  std::vector<RankProgram> programs;      ///< [rank]; empty unless they are kept
  std::vector<ProgramSummary> summaries;  ///< [rank]
  std::vector<std::string> digests;       ///< [rank]
  Bytes arena;                            ///< the largest
};

/// Lowers rank by rank and checks each program while it is in the cache, which it need not outlive.
LoweredWave lower_and_check(const Plan& plan, std::size_t w, const CommSchedule& backward, bool keep,
                            std::size_t limit) {
  const Wave& wave = plan.waves[w];
  const WaveLowering lowering(wave, backward, plan.model);
  const auto ranks = static_cast<std::size_t>(wave.placement.rank_count());
  const std::string place = wave_place(w);
  LoweredWave lowered{std::vector<RankProgram>(keep ? ranks : 0),
                      std::vector<ProgramSummary>(ranks),
                      std::vector<std::string>(ranks),
                      {}};
  std::vector<Bytes> arenas(ranks);
  parallel_for(std::ssize(arenas), lowering_threads(wave), [&](std::int64_t rank) {
    const auto r = static_cast<std::size_t>(rank);
    RankProgram program = lowering.lower(static_cast<std::int32_t>(rank));
    lowered.digests[r] = program_digest(program);
    lowered.summaries[r] = summarize_program(program, ranks, place, limit);
    arenas[r] = program.arena;
    if (keep) lowered.programs[r] = std::move(program);
  });
  for (const Bytes& arena : arenas) lowered.arena = std::max(lowered.arena, arena);
  return lowered;
}

void verify_program_digests(const Plan& plan, std::size_t w, const LoweredWave& lowered, Findings& findings) {
  for (std::size_t rank = 0; rank < lowered.digests.size(); ++rank) {
    const bool stated = w < plan.program_digests.size() && rank < plan.program_digests[w].size();
    if (stated && plan.program_digests[w][rank] == lowered.digests[rank]) continue;
    findings.add("program_digest", fmt::format("program_digests[{}][{}]", w, rank),
                 fmt::format("the plan says {}, but the wave lowers to {}",
                             stated ? plan.program_digests[w][rank] : "nothing", lowered.digests[rank]));
  }
}

/// `backward_of(wave)` gives a backward schedule; `programs`, unless null, become those of the waves.
template <typename BackwardOf>
std::vector<Violation> verify_lowered(const Plan& plan, std::size_t limit, BackwardOf backward_of,
                                      std::vector<std::vector<RankProgram>>* programs) {
  limit = std::max<std::size_t>(limit, 1);
  std::vector<Violation> found;
  const auto append = [&](std::vector<Violation> more) {
    std::move(more.begin(), more.end(), std::back_inserter(found));
  };
  Bytes arena;
  for (std::size_t w = 0; w < plan.waves.size() && found.size() < limit; ++w) {
    LoweredWave lowered = lower_and_check(plan, w, backward_of(w), programs != nullptr, limit - found.size());
    arena = std::max(arena, lowered.arena);
    Findings digests("", limit - found.size());
    verify_program_digests(plan, w, lowered, digests);
    append(digests.take());
    if (found.size() >= limit) break;
    append(verify_summaries(std::move(lowered.summaries), wave_place(w), limit - found.size()));
    if (programs != nullptr) programs->push_back(std::move(lowered.programs));
  }
  if (found.empty() && plan.predicted.arena != arena) {
    found.push_back(
        {"predicted", "predicted.arena_bytes",
         fmt::format("{}, but the largest arena has {} bytes", plan.predicted.arena.count, arena.count)});
  }
  return found;
}

}  // namespace

}  // namespace detail

std::vector<Violation> verify_plan_programs(const Plan& plan, std::size_t limit) {
  return detail::verify_lowered(
      plan, limit, [&](std::size_t w) { return derive_backward(plan.waves[w], plan.model); }, nullptr);
}

std::vector<Violation> verify_plan_programs(const Plan& plan, std::vector<CommSchedule> backward,
                                            std::size_t limit,
                                            std::vector<std::vector<RankProgram>>& programs) {
  programs.clear();
  return detail::verify_lowered(
      plan, limit, [&](std::size_t w) { return std::move(backward[w]); }, &programs);
}

}  // namespace strata
