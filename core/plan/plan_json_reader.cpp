// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <limits>

#include "core/base/check.hpp"
#include "core/json/json_reader.hpp"
#include "core/plan/plan_json.hpp"
#include "core/problem/batch_json.hpp"
#include "core/problem/model_json.hpp"
#include "core/problem/topology_json.hpp"

namespace strata {

namespace {

constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxInt64 = std::numeric_limits<std::int64_t>::max();
constexpr double kMostStateBytes = 1024;

void read_span_fields(ObjectReader& reader, TokenSpan& span) {
  span.document = reader.required_int<std::int32_t>("document", 0, kMaxInt32);
  span.begin = reader.required_int("begin", 0, kMaxInt32);
  span.end = reader.required_int("end", 0, kMaxInt32);
}

TokenSpan read_span(const JsonValue& value) {
  TokenSpan span;
  ObjectReader reader(value);
  read_span_fields(reader, span);
  reader.finish();
  return span;
}

HeadRange read_heads(ObjectReader& reader) {
  HeadRange heads;
  heads.begin = reader.required_int<std::int32_t>("head_begin", 0, kMaxInt32);
  heads.end = reader.required_int<std::int32_t>("head_end", 0, kMaxInt32);
  return heads;
}

std::vector<std::int32_t> read_indices(const JsonValue& list) {
  std::vector<std::int32_t> indices;
  const JsonValue::Children items = list.items();
  indices.reserve(list.size());
  for (const JsonValue item : items) indices.push_back(static_cast<std::int32_t>(item.integer(0, kMaxInt32)));
  return indices;
}

RankRange read_range(const JsonValue& value) {
  const JsonValue::Children items = value.items();
  if (value.size() != 2) value.fail(fmt::format("{} numbers", value.size()), "the two ends of a range");
  JsonValue::Iterator at = items.first;
  RankRange range;
  range.begin = static_cast<std::int32_t>((*at).integer(0, kMaxInt32));
  range.end = static_cast<std::int32_t>((*++at).integer(0, kMaxInt32));
  return range;
}

/// A rank under `one`, or half-open ranges under `many`. The canonical form of a single rank is a number.
std::vector<RankRange> read_ranks(ObjectReader& reader, std::string_view one, std::string_view many) {
  std::vector<RankRange> ranks;
  if (const auto rank = reader.find(one)) {
    const auto number = static_cast<std::int32_t>(rank->integer(0, kMaxInt32 - 1));
    ranks.push_back({number, number + 1});
    return ranks;
  }
  const auto list = reader.find(many);
  if (!list) reader.value().fail(fmt::format("neither '{}' nor '{}'", one, many), "one of them");
  const JsonValue::Children items = list->items();
  ranks.reserve(list->size());
  for (const JsonValue item : items) ranks.push_back(read_range(item));
  if (ranks.size() == 1 && ranks[0].count() == 1) {
    list->fail("one rank as a range", fmt::format("'{}': {}", one, ranks[0].begin));
  }
  return ranks;
}

TensorKind read_tensor(ObjectReader& reader) {
  return reader.required_choice<TensorKind>("tensor", {{"kv", TensorKind::kv},
                                                       {"q", TensorKind::q},
                                                       {"o", TensorKind::o},
                                                       {"o_part", TensorKind::o_part},
                                                       {"do", TensorKind::d_o},
                                                       {"dq", TensorKind::dq},
                                                       {"dkv", TensorKind::dkv}});
}

template <typename Movement>
void read_slice(ObjectReader& reader, Movement& movement, std::int32_t step) {
  movement.tensor = read_tensor(reader);
  read_span_fields(reader, movement.span);
  movement.heads = read_heads(reader);
  movement.lane = reader.optional_int("lane", 0, kMaxInt32, 0);
  movement.ready = reader.optional_int("ready", 0, kMaxInt32, step + 1);
  reader.finish();
}

Transfer read_transfer(const JsonValue& value, std::int32_t step) {
  Transfer transfer;
  ObjectReader reader(value);
  transfer.source = reader.required_int<std::int32_t>("source", 0, kMaxInt32);
  transfer.targets = read_ranks(reader, "target", "targets");
  read_slice(reader, transfer, step);
  return transfer;
}

Reduction read_reduction(const JsonValue& value, std::int32_t step) {
  Reduction reduction;
  ObjectReader reader(value);
  reduction.sources = read_ranks(reader, "source", "sources");
  reduction.target = reader.required_int<std::int32_t>("target", 0, kMaxInt32);
  read_slice(reader, reduction, step);
  return reduction;
}

AttentionTask read_task(const JsonValue& value) {
  AttentionTask task;
  ObjectReader reader(value);
  task.rank = reader.required_int<std::int32_t>("rank", 0, kMaxInt32);
  task.query = read_span(reader.required("query", "a span"));
  task.key = read_span(reader.required("key", "a span"));
  task.heads = read_heads(reader);
  reader.finish();
  return task;
}

ScheduleStep read_step(const JsonValue& value, std::int32_t index, bool backward) {
  ScheduleStep step;
  ObjectReader reader(value);
  step.collective =
      reader.required_choice<CollectiveKind>("collective", {{"none", CollectiveKind::none},
                                                            {"all_gather", CollectiveKind::all_gather},
                                                            {"all_to_all", CollectiveKind::all_to_all}});
  const JsonValue transfers = reader.required("transfers", "a list of transfers");
  const JsonValue::Children transfer_items = transfers.items();
  step.transfers.reserve(transfers.size());
  for (const JsonValue item : transfer_items) step.transfers.push_back(read_transfer(item, index));
  const JsonValue tasks = reader.required("tasks", "a list of attention tasks");
  const JsonValue::Children task_items = tasks.items();
  step.tasks.reserve(tasks.size());
  for (const JsonValue item : task_items) step.tasks.push_back(read_task(item));
  if (const auto reductions = backward ? reader.find("reductions") : std::nullopt) {
    for (const JsonValue item : reductions->items()) step.reductions.push_back(read_reduction(item, index));
  }
  reader.finish();
  return step;
}

std::vector<ScheduleStep> read_steps(const JsonValue& list, bool backward) {
  std::vector<ScheduleStep> steps;
  for (const JsonValue item : list.items()) {
    steps.push_back(read_step(item, static_cast<std::int32_t>(steps.size()), backward));
  }
  return steps;
}

GroupLayout read_group(const JsonValue& value) {
  GroupLayout group;
  ObjectReader reader(value);
  group.ranks = read_indices(reader.required("ranks", "a list of ranks"));
  for (const JsonValue item : reader.required("dims", "a list of dimensions").items()) {
    ObjectReader dimension(item);
    group.dims.push_back(
        {dimension.required_string("name"), dimension.required_int<std::int32_t>("degree", 1, kMaxInt32)});
    dimension.finish();
  }
  group.documents = read_indices(reader.required("documents", "a list of documents"));
  reader.finish();
  return group;
}

SequenceLayout read_placement(const JsonValue& list, std::int32_t rank_count) {
  SequenceLayout placement;
  placement.spans.resize(static_cast<std::size_t>(rank_count));
  std::int64_t next_rank = 0;
  for (const JsonValue item : list.items()) {
    ObjectReader reader(item);
    const JsonValue rank = reader.required("rank", "a rank");
    const std::int64_t number = rank.integer(0, rank_count - 1);
    if (number < next_rank) rank.fail(fmt::format("a rank above {}: ranks ascend", next_rank - 1));
    next_rank = number + 1;
    const JsonValue spans = reader.required("spans", "a list of spans");
    auto& owned = placement.spans[static_cast<std::size_t>(number)];
    for (const JsonValue span : spans.items()) owned.push_back(read_span(span));
    if (owned.empty()) spans.fail("an empty list", "at least one span; ranks without tokens are left out");
    reader.finish();
  }
  return placement;
}

BackwardPolicy read_backward(const JsonValue& value) {
  BackwardPolicy policy;
  ObjectReader reader(value);
  policy.kv = reader.required_choice<BackwardKeep>(
      "kv", {{"retain", BackwardKeep::retain}, {"refetch", BackwardKeep::refetch}});
  policy.gradient_return =
      reader.required_choice<GradientReturn>("return", {{"owner", GradientReturn::owner},
                                                        {"reverse_tree", GradientReturn::reverse_tree},
                                                        {"explicit", GradientReturn::explicit_steps}});
  if (policy.gradient_return == GradientReturn::explicit_steps) {
    policy.steps = read_steps(reader.required("steps", "a list of steps"), /*backward=*/true);
  }
  reader.finish();
  return policy;
}

/// `lengths`: of every document of the batch.
Wave read_wave(const JsonValue& value, const std::vector<std::int64_t>& lengths, std::int32_t rank_count) {
  Wave wave;
  ObjectReader reader(value);
  for (const JsonValue item : reader.required("documents", "a list of documents").items()) {
    const std::int64_t document = item.integer(0, static_cast<std::int64_t>(lengths.size()) - 1);
    wave.documents.push_back(static_cast<std::int32_t>(document));
    wave.lengths.push_back(lengths[static_cast<std::size_t>(document)]);
  }
  for (const JsonValue item : reader.required("groups", "a list of groups").items()) {
    wave.groups.push_back(read_group(item));
  }
  wave.placement = read_placement(reader.required("placement", "the spans of every rank"), rank_count);
  wave.schedule.exchange = reader.required_choice<ExchangeMode>(
      "exchange", {{"needed", ExchangeMode::needed}, {"full", ExchangeMode::full}});
  wave.schedule.steps = read_steps(reader.required("steps", "a list of steps"), /*backward=*/false);
  wave.backward = read_backward(reader.required("backward", "the backward policy"));
  reader.finish();
  return wave;
}

enum class CapKind : std::uint8_t { none, device, size };

void read_memory_options(ObjectReader& reader, PlanOptions& options) {
  const auto kind = reader.required_choice<CapKind>(
      "memory_cap", {{"none", CapKind::none}, {"device", CapKind::device}, {"size", CapKind::size}});
  options.device_cap = kind == CapKind::device;
  const JsonValue cap = reader.required("memory_cap_bytes", "bytes; 0 unless memory_cap is size");
  options.memory_cap.count = cap.integer(0, kMaxInt64);
  if ((kind == CapKind::size) != (options.memory_cap.count > 0)) {
    cap.fail(kind == CapKind::size ? "at least 1: memory_cap is size" : "0: memory_cap is not size");
  }
  options.recompute = reader.required_choice<Recompute>(
      "recompute",
      {{"none", Recompute::none}, {"selective", Recompute::selective}, {"full", Recompute::full}});
  const JsonValue offload = reader.required("offload_activations", "true or false");
  options.offload_activations = offload.boolean();
  if (options.offload_activations && options.recompute != Recompute::full) {
    offload.fail("false: only recompute full offloads");
  }
  options.logits =
      reader.required_choice<Logits>("logits", {{"full", Logits::full}, {"chunked", Logits::chunked}});
  options.state_shards = reader.required_int<std::int32_t>("state_shards", 0, kMaxInt32);
  options.state_bytes_per_parameter = reader.required_number("state_bytes_per_parameter", 0, kMostStateBytes);
}

PlanOptions read_options(const JsonValue& value) {
  PlanOptions options;
  ObjectReader reader(value);
  read_memory_options(reader, options);
  options.exchange = reader.required_choice<ExchangeMode>(
      "exchange", {{"needed", ExchangeMode::needed}, {"full", ExchangeMode::full}});
  options.kv = reader.required_choice<BackwardKeep>(
      "backward_kv", {{"retain", BackwardKeep::retain}, {"refetch", BackwardKeep::refetch}});
  options.gradient_return = reader.required_choice<GradientReturn>(
      "gradient_return", {{"owner", GradientReturn::owner},
                          {"reverse_tree", GradientReturn::reverse_tree},
                          {"explicit", GradientReturn::explicit_steps}});
  for (const JsonValue item : reader.required("strategies", "a list of names").items()) {
    options.strategies.emplace_back(item.line());
  }
  options.seed = reader.required("seed", "an integer").unsigned_integer();
  reader.finish();
  return options;
}

/// Reads `inputs.<name>`: returns the content and stores the digest as stated.
JsonValue read_input(ObjectReader& inputs, std::string_view name, std::string& digest) {
  ObjectReader reader(inputs.required(name, "digest and content"));
  const JsonValue stated = reader.required("digest", "32 hexadecimal digits");
  digest = stated.string();
  if (digest.size() != 32 || digest.find_first_not_of("0123456789abcdef") != std::string::npos) {
    stated.fail("32 hexadecimal digits");
  }
  const JsonValue content = reader.required("content", "the input itself");
  reader.finish();
  return content;
}

void read_inputs(const JsonValue& value, Plan& plan) {
  ObjectReader reader(value);
  plan.batch = read_batch(read_input(reader, "batch", plan.digests.batch));
  plan.topology = read_topology(read_input(reader, "topology", plan.digests.topology));
  plan.model = read_model(read_input(reader, "model", plan.digests.model));
  plan.options = read_options(read_input(reader, "request", plan.digests.request));
  const JsonValue profile = read_input(reader, "profile", plan.profile.digest);
  if (!profile.is_null()) {
    profile.members();
    plan.profile.content = profile.canonical_text();
  }
  reader.finish();
}

std::optional<Bytes> read_optional_bytes(ObjectReader& reader, std::string_view name) {
  const JsonValue value = reader.required(name, "bytes or null");
  if (value.is_null()) return std::nullopt;
  return Bytes{value.integer(0, kMaxInt64)};
}

void read_memory(const JsonValue& value, Prediction& predicted) {
  ObjectReader reader(value);
  predicted.memory_rank = reader.required_int<std::int32_t>("rank", 0, kMaxInt32);
  MemoryTerms& memory = predicted.memory;
  memory.state.count = reader.required_int("state_bytes", 0, kMaxInt64);
  memory.activations.count = reader.required_int("activation_bytes", 0, kMaxInt64);
  memory.attention.count = reader.required_int("attention_bytes", 0, kMaxInt64);
  memory.logits = read_optional_bytes(reader, "logits_bytes");
  memory.communicators = read_optional_bytes(reader, "communicator_bytes");
  reader.finish();
}

Prediction read_prediction(const JsonValue& value) {
  Prediction predicted;
  ObjectReader reader(value);
  predicted.step_time.ns = reader.required_int("step_time_ns", 0, kMaxInt64);
  predicted.forward.ns = reader.required_int("forward_ns", 0, kMaxInt64);
  predicted.backward.ns = reader.required_int("backward_ns", 0, kMaxInt64);
  predicted.imbalance = reader.required_number("imbalance", 0);
  predicted.peak_memory.count = reader.required_int("peak_memory_bytes", 0, kMaxInt64);
  read_memory(reader.required("memory", "the terms of the peak memory"), predicted);
  predicted.arena.count = reader.required_int("arena_bytes", 0, kMaxInt64);
  predicted.kv_bytes.count = reader.required_int("kv_bytes", 0, kMaxInt64);
  ObjectReader levels(reader.required("bytes_by_level", "bytes per level"));
  predicted.bytes_by_level.device.count = levels.required_int("device", 0, kMaxInt64);
  predicted.bytes_by_level.node.count = levels.required_int("node", 0, kMaxInt64);
  predicted.bytes_by_level.network.count = levels.required_int("network", 0, kMaxInt64);
  levels.finish();
  predicted.extrapolated_share = reader.required_number("extrapolated_share", 0, 1);
  predicted.settled = reader.required_bool("settled");
  reader.finish();
  return predicted;
}

std::optional<Duration> read_optional_duration(ObjectReader& reader, std::string_view name) {
  const JsonValue value = reader.required(name, "nanoseconds or null");
  if (value.is_null()) return std::nullopt;
  return Duration{value.integer(0, kMaxInt64)};
}

Bounds read_bounds(const JsonValue& value) {
  Bounds bounds;
  ObjectReader reader(value);
  bounds.lower_bound.ns = reader.required_int("lower_bound_ns", 0, kMaxInt64);
  bounds.in_family = read_optional_duration(reader, "in_family_ns");
  bounds.gap = reader.required_number("gap");
  bounds.active = reader.required_choice<ActiveBound>(
      "active", {{"compute", ActiveBound::compute}, {"chain", ActiveBound::chain}});
  reader.finish();
  return bounds;
}

Candidate read_candidate(const JsonValue& value) {
  Candidate candidate;
  ObjectReader reader(value);
  candidate.strategy = reader.required_string("strategy");
  candidate.step_time = read_optional_duration(reader, "step_time_ns");
  const JsonValue rejected = reader.required("rejected", "a reason or null");
  if (!rejected.is_null()) candidate.rejected = std::string(rejected.line());
  candidate.settled = reader.required_bool("settled");
  if (const auto least = reader.find("slower_than_ns")) {
    candidate.slower_than = Duration{least->integer(0, kMaxInt64)};
  }
  reader.finish();
  return candidate;
}

void read_version(ObjectReader& reader) {
  const JsonValue version = reader.required("format_version", "2: is this a Strata plan?");
  const std::int64_t found = version.integer(0, kMaxInt32);
  if (found == 1) version.fail("format version 1", "format version 2: plan again");
  if (found != kPlanFormatVersion) {
    version.fail(
        fmt::format("{}, the only plan format that this version of Strata reads", kPlanFormatVersion));
  }
}

Plan read_plan(const JsonValue& root) {
  Plan plan;
  ObjectReader reader(root);
  read_version(reader);
  read_inputs(reader.required("inputs", "the inputs of the plan"), plan);
  plan.lowering_version = reader.required_int<std::int32_t>("lowering_version", 0, kMaxInt32);
  plan.strategy = reader.required_string("strategy");
  const JsonValue seed = reader.required("seed", "an integer");
  if (seed.unsigned_integer() != plan.options.seed) {
    seed.fail(fmt::format("{}, the seed of inputs.request.content", plan.options.seed));
  }
  const std::vector<std::int64_t> lengths = plan.batch.document_lengths();
  for (const JsonValue item : reader.required("waves", "a list of waves").items()) {
    plan.waves.push_back(read_wave(item, lengths, plan.topology.rank_count()));
  }
  for (const JsonValue wave : reader.required("program_digests", "one list per wave").items()) {
    auto& digests = plan.program_digests.emplace_back();
    for (const JsonValue digest : wave.items()) digests.emplace_back(digest.line());
  }
  plan.predicted = read_prediction(reader.required("predicted", "what the simulator says"));
  plan.bounds = read_bounds(reader.required("bounds", "the lower bounds"));
  for (const JsonValue item : reader.required("candidates", "a list of candidates").items()) {
    plan.candidates.push_back(read_candidate(item));
  }
  reader.finish();
  return plan;
}

}  // namespace

Plan read_plan(std::istream& in, const std::string& name) {
  return read_plan(JsonDocument::parse(in, name).root());
}

Plan read_plan(const std::string& path) { return read_plan(JsonDocument::read_file(path).root()); }

}  // namespace strata
