// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>
#include <limits>

#include "core/base/check.hpp"
#include "core/json/json_reader.hpp"
#include "core/plan/plan_json.hpp"
#include "core/plan/plan_records_json.hpp"
#include "core/problem/batch_json.hpp"
#include "core/problem/model_json.hpp"
#include "core/problem/topology_json.hpp"

namespace strata {

using detail::ReadRecords;

namespace {

constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxInt64 = std::numeric_limits<std::int64_t>::max();
constexpr double kMostStateBytes = 1024;

std::vector<std::int32_t> read_indices(const JsonValue& list) {
  std::vector<std::int32_t> indices;
  const JsonValue::Children items = list.items();
  indices.reserve(list.size());
  for (const JsonValue item : items) indices.push_back(static_cast<std::int32_t>(item.integer(0, kMaxInt32)));
  return indices;
}

template <typename Movement>
void fill_in_ready(std::vector<Movement>& movements, std::int32_t step) {
  for (Movement& movement : movements) {
    if (movement.ready < 0) movement.ready = step + 1;
  }
}

ScheduleStep read_step(const JsonValue& value, std::int32_t index, bool backward, ReadRecords& records) {
  ScheduleStep step;
  ObjectReader reader(value);
  step.collective =
      reader.required_choice<CollectiveKind>("collective", {{"none", CollectiveKind::none},
                                                            {"all_gather", CollectiveKind::all_gather},
                                                            {"all_to_all", CollectiveKind::all_to_all}});
  step.transfers = records.transfers(reader.required("transfers", "a list of transfers"));
  fill_in_ready(step.transfers, index);
  step.tasks = records.tasks(reader.required("tasks", "a list of attention tasks"));
  if (const auto reductions = backward ? reader.find("reductions") : std::nullopt) {
    step.reductions = records.reductions(*reductions);
    fill_in_ready(step.reductions, index);
  }
  reader.finish();
  return step;
}

std::vector<ScheduleStep> read_steps(const JsonValue& list, bool backward, ReadRecords& records) {
  std::vector<ScheduleStep> steps;
  for (const JsonValue item : list.items()) {
    steps.push_back(read_step(item, static_cast<std::int32_t>(steps.size()), backward, records));
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

SequenceLayout read_placement(const JsonValue& list, std::int32_t rank_count, ReadRecords& records) {
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
    owned = records.spans(spans);
    if (owned.empty()) spans.fail("an empty list", "at least one span; ranks without tokens are left out");
    reader.finish();
  }
  return placement;
}

BackwardPolicy read_backward(const JsonValue& value, ReadRecords& records) {
  BackwardPolicy policy;
  ObjectReader reader(value);
  policy.kv = reader.required_choice<BackwardKeep>(
      "kv", {{"retain", BackwardKeep::retain}, {"refetch", BackwardKeep::refetch}});
  policy.gradient_return =
      reader.required_choice<GradientReturn>("return", {{"owner", GradientReturn::owner},
                                                        {"reverse_tree", GradientReturn::reverse_tree},
                                                        {"explicit", GradientReturn::explicit_steps}});
  if (policy.gradient_return == GradientReturn::explicit_steps) {
    policy.steps = read_steps(reader.required("steps", "a list of steps"), /*backward=*/true, records);
  }
  reader.finish();
  return policy;
}

/// `lengths`: of every document of the batch.
Wave read_wave(const JsonValue& value, const std::vector<std::int64_t>& lengths, std::int32_t rank_count,
               ReadRecords& records) {
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
  wave.placement =
      read_placement(reader.required("placement", "the spans of every rank"), rank_count, records);
  wave.schedule.exchange = reader.required_choice<ExchangeMode>(
      "exchange", {{"needed", ExchangeMode::needed}, {"full", ExchangeMode::full}});
  wave.schedule.steps = read_steps(reader.required("steps", "a list of steps"), /*backward=*/false, records);
  wave.backward = read_backward(reader.required("backward", "the backward policy"), records);
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

Plan read_plan(const JsonValue& root, ReadRecords records = {}) {
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
    plan.waves.push_back(read_wave(item, lengths, plan.topology.rank_count(), records));
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

Plan read_plan(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored)) {  // so that it can be read again
    try {
      ReadRecords records;
      const JsonDocument document = JsonDocument::read_file(path, {}, records.fold());
      return read_plan(document.root(), std::move(records));
    } catch (const InputError&) {
      // The long way says what is wrong, and where.
    }
  }
  return read_plan(JsonDocument::read_file(path).root());
}

}  // namespace strata
