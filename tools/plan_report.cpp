// SPDX-License-Identifier: Apache-2.0
#include "tools/plan_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "core/base/counts.hpp"
#include "core/base/human_units.hpp"
#include "core/json/json_writer.hpp"
#include "core/plan/plan_json.hpp"
#include "planner/report/explain.hpp"
#include "planner/report/memory_text.hpp"
#include "tools/output.hpp"

namespace strata::tools {

namespace {

bool is_within_tie(Duration time, const Plan& plan) {
  const auto best = static_cast<double>(plan.predicted.step_time.ns);
  return static_cast<double>(time.ns) <= best * (1 + kTiePermille / 1000.0);
}

bool is_tied(const Candidate& candidate, const Plan& plan) {
  return candidate.step_time && candidate.strategy != plan.strategy &&
         is_within_tie(*candidate.step_time, plan);
}

/// Its simulation ended before it was known.
bool may_be_tied(const Candidate& candidate, const Plan& plan) {
  return candidate.slower_than && is_within_tie(*candidate.slower_than, plan);
}

/// `tied`: nothing where it is not known.
void write_candidate(JsonWriter& json, const Candidate& candidate, std::optional<bool> tied) {
  json.open_object(JsonLayout::compact);
  json.member("strategy", std::string_view(candidate.strategy));
  json.key("step_time_ns");
  if (candidate.step_time) {
    json.value(candidate.step_time->ns);
  } else {
    json.null();
  }
  json.key("rejected");
  if (candidate.rejected) {
    json.value(std::string_view(*candidate.rejected));
  } else {
    json.null();
  }
  json.member("settled", candidate.settled);
  json.key("tied");
  if (tied) {
    json.value(*tied);
  } else {
    json.null();
  }
  if (candidate.slower_than) json.member("slower_than_ns", candidate.slower_than->ns);
  json.close();
}

std::string verdict(const Candidate& candidate, const Plan& plan) {
  const char* text = candidate.strategy == plan.strategy ? "chosen"
                     : is_tied(candidate, plan)          ? "tied"
                     : may_be_tied(candidate, plan)      ? "may be tied"
                                                         : "";
  if (candidate.settled) return text;
  return *text == '\0' ? "unsettled" : fmt::format("{}, unsettled", text);
}

/// What is to be said of a request that makes backward move keys and values more often than it needs to.
std::optional<std::string> third_fetch_note(const Plan& plan) {
  if (plan.options.recompute != Recompute::full || plan.options.kv != BackwardKeep::refetch ||
      plan.predicted.kv_bytes.count == 0) {
    return std::nullopt;
  }
  return "--recompute full with --backward-kv refetch fetches keys and values a third time; --backward-kv "
         "retain costs one layer's memory";
}

}  // namespace

std::string excluded_sentence() {
  return "step time = layers x (attention + linear layers), forward and backward, recomputation included\n" +
         wrapped("  not in it: " + step_time_exclusions(), 4);
}

std::string profile_label(const CostProfile& profile) {
  return fmt::format("profile {}, {}", profile.name, provenance_label(profile));
}

std::string memory_summary(const Prediction& predicted, const Plan& plan) {
  return wrapped(fmt::format("  peak memory {} on rank {}, {}: {}", human(predicted.peak_memory),
                             predicted.memory_rank,
                             memory_cap_text(plan.options, plan.topology, predicted.peak_memory),
                             memory_terms(predicted.memory, plan.model, plan.options)),
                 4) +
         '\n' + wrapped("  left out of it: " + memory_exclusions(), 4);
}

std::string moved_bytes(const LevelBytes& bytes) {
  return fmt::format("moved {}: {} inside devices, {} inside nodes, {} over the network",
                     human(bytes.total()), human(bytes.device), human(bytes.node), human(bytes.network));
}

std::vector<std::string> plan_summary(const Plan& plan) {
  std::vector<std::string> lines;
  lines.push_back(fmt::format("{} in {}, {}; {} on {}", counted(plan.batch.token_count(), "token"),
                              counted(plan.batch.document_count(), "document"),
                              counted(std::ssize(plan.waves), "wave"),
                              counted(plan.topology.rank_count(), "rank"), plan.topology.name));
  std::vector<Candidate> ranked = plan.candidates;
  std::stable_sort(ranked.begin(), ranked.end(), [](const Candidate& a, const Candidate& b) {
    if (a.step_time.has_value() != b.step_time.has_value()) return a.step_time.has_value();
    if (a.slower_than.has_value() != b.slower_than.has_value()) return a.slower_than.has_value();
    return a.step_time && *a.step_time < *b.step_time;
  });
  bool ties = false;
  Table table({"strategy", "step time", "vs best", "verdict"});
  for (const Candidate& candidate : ranked) {
    if (!candidate.step_time) {
      table.add({candidate.strategy, "-", "-",
                 candidate.slower_than ? "slower: more than " + human(*candidate.slower_than) : "rejected"});
      continue;
    }
    const double ratio = static_cast<double>(candidate.step_time->ns) /
                         static_cast<double>(std::max<std::int64_t>(1, plan.predicted.step_time.ns));
    table.add({candidate.strategy, human(*candidate.step_time), fmt::format("{:.3f}x", ratio),
               verdict(candidate, plan)});
    ties = ties || is_tied(candidate, plan);
  }
  lines.push_back(table.text());
  if (ties) lines.push_back(fmt::format("tied: within {} of the chosen one", percent(kTiePermille / 1000.0)));
  if (std::any_of(ranked.begin(), ranked.end(), [](const Candidate& each) { return !each.settled; })) {
    lines.push_back(wrapped("unsettled: " + unsettled_note(), 2));
  }
  const Prediction& predicted = plan.predicted;
  for (const Candidate& candidate : ranked) {
    if (candidate.rejected)
      lines.push_back(wrapped(fmt::format("{} is rejected: {}", candidate.strategy, *candidate.rejected), 2));
  }
  lines.push_back(fmt::format("{}: step {}, {} above the lower bound of {}, which is set by {}",
                              plan.strategy, human(predicted.step_time), percent(plan.bounds.gap),
                              human(plan.bounds.lower_bound), to_string(plan.bounds.active)));
  lines.push_back(fmt::format("  {}", moved_bytes(predicted.bytes_by_level)));
  if (const auto note = third_fetch_note(plan)) lines.push_back(wrapped("  " + *note, 4));
  lines.push_back(
      fmt::format("  KV per layer {}; imbalance {:.3f}", human(predicted.kv_bytes), predicted.imbalance));
  lines.push_back(memory_summary(predicted, plan));
  lines.push_back(excluded_sentence());
  return lines;
}

void write_bounds(JsonWriter& json, const Bounds& bounds) {
  json.open_object(JsonLayout::compact);
  json.member("lower_bound_ns", bounds.lower_bound.ns);
  json.key("in_family_ns");
  if (bounds.in_family) {
    json.value(bounds.in_family->ns);
  } else {
    json.null();
  }
  json.member("gap", bounds.gap);
  json.member("active", to_string(bounds.active));
  json.close();
}

void write_plan_summary(JsonWriter& json, const Plan& plan, const std::string& path, const ReadAs* read_as) {
  json.open_object(JsonLayout::lines);
  json.member("plan", std::string_view(path));
  if (read_as != nullptr) write_read_as(json, *read_as);
  json.member("strategy", std::string_view(plan.strategy));
  json.member("ranks", plan.topology.rank_count());
  json.member("waves", static_cast<std::int64_t>(plan.waves.size()));
  json.key("predicted");
  write_prediction(json, plan.predicted, JsonLayout::compact);
  json.key("bounds");
  write_bounds(json, plan.bounds);
  json.key("candidates");
  json.open_array(JsonLayout::lines);
  for (const Candidate& candidate : plan.candidates) {
    write_candidate(json, candidate,
                    may_be_tied(candidate, plan) ? std::nullopt : std::optional(is_tied(candidate, plan)));
  }
  json.close();
  json.close();
}

void write_no_plan(JsonWriter& json, const PlanResult& result, const ReadAs& read_as) {
  json.open_object(JsonLayout::lines);
  json.key("plan");
  json.null();
  write_read_as(json, read_as);
  json.key("candidates");
  json.open_array(JsonLayout::lines);
  for (const Rejection& rejection : result.rejections) {
    write_candidate(json, {rejection.strategy, std::nullopt, rejection.reason}, false);
  }
  json.close();
  json.key("would_fit");
  json.open_array(JsonLayout::lines);
  for (const std::string& change : result.would_fit) json.value(std::string_view(change));
  json.close();
  json.close();
}

}  // namespace strata::tools
