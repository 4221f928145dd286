// SPDX-License-Identifier: Apache-2.0
#include <sstream>

#include "core/base/atomic_file.hpp"
#include "core/base/check.hpp"
#include "core/base/digest.hpp"
#include "core/json/json_document.hpp"
#include "core/json/json_writer.hpp"
#include "core/plan/plan_json.hpp"
#include "core/problem/batch_json.hpp"
#include "core/problem/model_json.hpp"
#include "core/problem/topology_json.hpp"

namespace strata {

namespace {

constexpr JsonLayout kLines = JsonLayout::lines;
constexpr JsonLayout kCompact = JsonLayout::compact;

void write_input(JsonWriter& out, std::string_view name, const std::string& stated,
                 const std::string& content) {
  out.key(name);
  out.open_object(kLines);
  out.member("digest", stated.empty() ? digest_of(content) : stated);
  out.key("content");
  out.raw(content);
  out.close();
}

void write_inputs(JsonWriter& out, const Plan& plan) {
  out.key("inputs");
  out.open_object(kLines);
  write_input(out, "batch", plan.digests.batch, to_json(plan.batch));
  write_input(out, "topology", plan.digests.topology, to_json(plan.topology));
  write_input(out, "model", plan.digests.model, to_json(plan.model));
  write_input(out, "request", plan.digests.request, to_json(plan.options));
  out.key("profile");
  out.open_object(kLines);
  out.member("digest", plan.profile.digest);
  out.key("content");
  out.raw(plan.profile.content.empty() ? "null" : plan.profile.content);
  out.close();
  out.close();
}

void write_span_fields(JsonWriter& out, const TokenSpan& span) {
  out.member("document", span.document);
  out.member("begin", span.begin);
  out.member("end", span.end);
}

void write_span(JsonWriter& out, std::string_view key, const TokenSpan& span) {
  out.key(key);
  out.open_object(kCompact);
  write_span_fields(out, span);
  out.close();
}

void write_head_fields(JsonWriter& out, const HeadRange& heads) {
  out.member("head_begin", heads.begin);
  out.member("head_end", heads.end);
}

template <typename Integer>
void write_integers(JsonWriter& out, std::string_view key, const std::vector<Integer>& values) {
  out.key(key);
  out.open_array(kCompact);
  for (const Integer value : values) out.value(value);
  out.close();
}

/// One rank as a number under `one`, anything else as half-open ranges under `many`.
void write_ranks(JsonWriter& out, std::string_view one, std::string_view many,
                 const std::vector<RankRange>& ranks) {
  if (ranks.size() == 1 && ranks[0].count() == 1) return out.member(one, ranks[0].begin);
  out.key(many);
  out.open_array(kCompact);
  for (const RankRange& range : ranks) {
    out.open_array(kCompact);
    out.value(range.begin);
    out.value(range.end);
    out.close();
  }
  out.close();
}

/// What transfers and reductions have in common, after their ends.
template <typename Movement>
void write_slice(JsonWriter& out, const Movement& movement, std::size_t step) {
  out.member("tensor", to_string(movement.tensor));
  write_span_fields(out, movement.span);
  write_head_fields(out, movement.heads);
  if (movement.lane != 0) out.member("lane", movement.lane);
  if (movement.ready != static_cast<std::int64_t>(step) + 1) out.member("ready", movement.ready);
}

void write_step(JsonWriter& out, const ScheduleStep& step, std::size_t index) {
  out.open_object(kLines);
  out.member("collective", to_string(step.collective));
  out.key("transfers");
  out.open_array(kLines);
  for (const Transfer& transfer : step.transfers) {
    out.open_object(kCompact);
    out.member("source", transfer.source);
    write_ranks(out, "target", "targets", transfer.targets);
    write_slice(out, transfer, index);
    out.close();
  }
  out.close();
  out.key("tasks");
  out.open_array(kLines);
  for (const AttentionTask& task : step.tasks) {
    out.open_object(kCompact);
    out.member("rank", task.rank);
    write_span(out, "query", task.query);
    write_span(out, "key", task.key);
    write_head_fields(out, task.heads);
    out.close();
  }
  out.close();
  if (!step.reductions.empty()) {
    out.key("reductions");
    out.open_array(kLines);
    for (const Reduction& reduction : step.reductions) {
      out.open_object(kCompact);
      write_ranks(out, "source", "sources", reduction.sources);
      out.member("target", reduction.target);
      write_slice(out, reduction, index);
      out.close();
    }
    out.close();
  }
  out.close();
}

void write_steps(JsonWriter& out, const std::vector<ScheduleStep>& steps) {
  out.key("steps");
  out.open_array(kLines);
  for (std::size_t i = 0; i < steps.size(); ++i) write_step(out, steps[i], i);
  out.close();
}

void write_group(JsonWriter& out, const GroupLayout& group) {
  out.open_object(kCompact);
  write_integers(out, "ranks", group.ranks);
  out.key("dims");
  out.open_array(kCompact);
  for (const GridDimension& dimension : group.dims) {
    out.open_object(kCompact);
    out.member("name", dimension.name);
    out.member("degree", dimension.degree);
    out.close();
  }
  out.close();
  write_integers(out, "documents", group.documents);
  out.close();
}

/// Ranks without tokens are left out.
void write_placement(JsonWriter& out, const SequenceLayout& placement) {
  out.key("placement");
  out.open_array(kLines);
  for (std::size_t rank = 0; rank < placement.spans.size(); ++rank) {
    if (placement.spans[rank].empty()) continue;
    out.open_object(kCompact);
    out.member("rank", rank);
    out.key("spans");
    out.open_array(kCompact);
    for (const TokenSpan& span : placement.spans[rank]) {
      out.open_object(kCompact);
      write_span_fields(out, span);
      out.close();
    }
    out.close();
    out.close();
  }
  out.close();
}

void write_wave(JsonWriter& out, const Wave& wave) {
  out.open_object(kLines);
  write_integers(out, "documents", wave.documents);
  out.key("groups");
  out.open_array(kLines);
  for (const GroupLayout& group : wave.groups) write_group(out, group);
  out.close();
  write_placement(out, wave.placement);
  out.member("exchange", to_string(wave.schedule.exchange));
  write_steps(out, wave.schedule.steps);
  out.key("backward");
  out.open_object(kLines);
  out.member("kv", to_string(wave.backward.kv));
  out.member("return", to_string(wave.backward.gradient_return));
  if (wave.backward.gradient_return == GradientReturn::explicit_steps) write_steps(out, wave.backward.steps);
  out.close();
  out.close();
}

void write_optional(JsonWriter& out, std::string_view key, const std::optional<Bytes>& bytes) {
  out.key(key);
  if (bytes) {
    out.value(bytes->count);
  } else {
    out.null();
  }
}

}  // namespace

void write_memory(JsonWriter& out, const Prediction& predicted) {
  const MemoryTerms& memory = predicted.memory;
  out.open_object(kCompact);
  out.member("rank", predicted.memory_rank);
  out.member("state_bytes", memory.state.count);
  out.member("activation_bytes", memory.activations.count);
  out.member("attention_bytes", memory.attention.count);
  write_optional(out, "logits_bytes", memory.logits);
  write_optional(out, "communicator_bytes", memory.communicators);
  out.close();
}

void write_prediction(JsonWriter& out, const Prediction& predicted, JsonLayout layout) {
  out.open_object(layout);
  out.member("step_time_ns", predicted.step_time.ns);
  out.member("forward_ns", predicted.forward.ns);
  out.member("backward_ns", predicted.backward.ns);
  out.member("imbalance", predicted.imbalance);
  out.member("peak_memory_bytes", predicted.peak_memory.count);
  out.key("memory");
  write_memory(out, predicted);
  out.member("arena_bytes", predicted.arena.count);
  out.member("kv_bytes", predicted.kv_bytes.count);
  out.key("bytes_by_level");
  out.open_object(kCompact);
  out.member("device", predicted.bytes_by_level.device.count);
  out.member("node", predicted.bytes_by_level.node.count);
  out.member("network", predicted.bytes_by_level.network.count);
  out.close();
  out.member("extrapolated_share", predicted.extrapolated_share);
  out.member("settled", predicted.settled);
  out.close();
}

namespace {

void write_optional(JsonWriter& out, std::string_view key, const std::optional<Duration>& time) {
  out.key(key);
  if (time) {
    out.value(time->ns);
  } else {
    out.null();
  }
}

void write_bounds(JsonWriter& out, const Bounds& bounds) {
  out.key("bounds");
  out.open_object(kLines);
  out.member("lower_bound_ns", bounds.lower_bound.ns);
  write_optional(out, "in_family_ns", bounds.in_family);
  out.member("gap", bounds.gap);
  out.member("active", to_string(bounds.active));
  out.close();
}

void write_candidates(JsonWriter& out, const std::vector<Candidate>& candidates) {
  out.key("candidates");
  out.open_array(kLines);
  for (const Candidate& candidate : candidates) {
    out.open_object(kCompact);
    out.member("strategy", candidate.strategy);
    write_optional(out, "step_time_ns", candidate.step_time);
    out.key("rejected");
    if (candidate.rejected) {
      out.value(*candidate.rejected);
    } else {
      out.null();
    }
    out.member("settled", candidate.settled);
    if (candidate.slower_than) out.member("slower_than_ns", candidate.slower_than->ns);
    out.close();
  }
  out.close();
}

}  // namespace

std::string_view to_string(Logits logits) { return logits == Logits::full ? "full" : "chunked"; }
std::string_view to_string(ExchangeMode mode) { return mode == ExchangeMode::needed ? "needed" : "full"; }
std::string_view to_string(BackwardKeep keep) { return keep == BackwardKeep::retain ? "retain" : "refetch"; }

std::string_view to_string(GradientReturn way) {
  switch (way) {
    case GradientReturn::owner:
      return "owner";
    case GradientReturn::reverse_tree:
      return "reverse_tree";
    case GradientReturn::explicit_steps:
      return "explicit";
  }
  STRATA_CHECK(false, "gradient return {} has no name", static_cast<int>(way));
}

std::string_view to_string(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::none:
      return "none";
    case CollectiveKind::all_gather:
      return "all_gather";
    case CollectiveKind::all_to_all:
      return "all_to_all";
  }
  STRATA_CHECK(false, "collective {} has no name", static_cast<int>(kind));
}

std::string_view to_string(ActiveBound bound) {
  switch (bound) {
    case ActiveBound::compute:
      return "compute";
    case ActiveBound::chain:
      return "chain";
  }
  STRATA_CHECK(false, "bound {} has no name", static_cast<int>(bound));
}

std::string to_json(const PlanOptions& options) {
  std::ostringstream text;
  JsonWriter out(text);
  out.open_object(kCompact);
  out.member("memory_cap", memory_cap_kind(options));
  out.member("memory_cap_bytes", options.memory_cap.count);
  out.member("recompute", to_string(options.recompute));
  out.member("offload_activations", options.offload_activations);
  out.member("logits", to_string(options.logits));
  out.member("state_shards", options.state_shards);
  out.member("state_bytes_per_parameter", options.state_bytes_per_parameter);
  out.member("exchange", to_string(options.exchange));
  out.member("backward_kv", to_string(options.kv));
  out.member("gradient_return", to_string(options.gradient_return));
  out.key("strategies");
  out.open_array(kCompact);
  for (const std::string& name : options.strategies) out.value(name);
  out.close();
  out.member("seed", options.seed);
  out.close();
  out.finish(false);
  return text.str();
}

InputDigests input_digests(const Plan& plan) {
  return {digest_of(to_json(plan.batch)), digest_of(to_json(plan.topology)), digest_of(to_json(plan.model)),
          digest_of(to_json(plan.options))};
}

EmbeddedProfile embed_profile(std::string_view json_text) {
  const std::string content = JsonDocument::parse_text(json_text, "profile").root().canonical_text();
  return {digest_of(content), content.size() <= kMaxEmbeddedProfileBytes ? content : std::string()};
}

void write_plan(const Plan& plan, std::ostream& stream) {
  JsonWriter out(stream);
  out.open_object(kLines);
  out.member("format_version", kPlanFormatVersion);
  write_inputs(out, plan);
  out.member("lowering_version", plan.lowering_version);
  out.member("strategy", plan.strategy);
  out.member("seed", plan.options.seed);
  out.key("waves");
  out.open_array(kLines);
  for (const Wave& wave : plan.waves) write_wave(out, wave);
  out.close();
  out.key("program_digests");
  out.open_array(kLines);
  for (const auto& wave : plan.program_digests) {
    out.open_array(kCompact);
    for (const std::string& digest : wave) out.value(digest);
    out.close();
  }
  out.close();
  out.key("predicted");
  write_prediction(out, plan.predicted, kLines);
  write_bounds(out, plan.bounds);
  write_candidates(out, plan.candidates);
  out.close();
  out.finish();
}

void write_plan(const Plan& plan, const std::string& path) {
  write_file_atomically(path, [&](std::ostream& out) { write_plan(plan, out); });
}

std::string to_json(const Plan& plan) {
  std::ostringstream text;
  write_plan(plan, text);
  return std::move(text).str();
}

std::string plan_digest(const Plan& plan) { return digest_of(to_json(plan)); }

}  // namespace strata
