// SPDX-License-Identifier: Apache-2.0
// The file form of a cost profile; cost_profile.hpp lists the fields.
#include <fmt/format.h>

#include <limits>
#include <sstream>

#include "core/json/json_document.hpp"
#include "core/json/json_reader.hpp"
#include "core/json/json_writer.hpp"
#include "cost_models/profile/cost_profile.hpp"

namespace strata {
namespace {

constexpr std::int64_t kMostLengths = 4096;
constexpr std::int64_t kLongestLength = std::int64_t{1} << 40;
/// Profiles hold rates and times; nothing physical is outside.
constexpr double kLargestNumber = 1e30;

std::optional<ProfileQuality> read_quality(JsonValue value) {
  if (value.is_null()) return std::nullopt;
  ObjectReader reader(value);
  ProfileQuality quality;
  const auto number_or_null = [&](const char* key) -> std::optional<double> {
    const JsonValue number = reader.required(key, "a number or null");
    if (number.is_null()) return std::nullopt;
    return number.number(0, kLargestNumber);
  };
  quality.held_out_p95 = number_or_null("held_out_p95");
  quality.load = number_or_null("load");
  reader.finish();
  return quality;
}

ProfileProvenance read_provenance(JsonValue value) {
  ObjectReader reader(value);
  ProfileProvenance provenance;
  provenance.device = reader.required_string("device");
  provenance.date = reader.required_string("date");
  provenance.tool_version = reader.required_string("tool_version");
  provenance.instruction_set = reader.required_string("instruction_set");
  provenance.threads = reader.required_int<std::int32_t>("threads", 1, 1 << 20);
  provenance.measured = reader.required_bool("measured");
  provenance.fit_error = reader.required_number("fit_error", -1, kLargestNumber);
  provenance.held_out_error = reader.required_number("held_out_error", -1, kLargestNumber);
  ObjectReader samples(reader.required("samples", "count and digest of the measurements"));
  provenance.samples = samples.required_int("count", 0, std::numeric_limits<std::int64_t>::max());
  provenance.samples_digest = samples.required_string("digest");
  samples.finish();
  provenance.quality = read_quality(reader.required("quality", "held_out_p95 and load, or null"));
  provenance.notes = reader.required_string("notes");
  reader.finish();
  return provenance;
}

std::vector<std::int64_t> read_lengths(JsonValue value) {
  if (value.kind() != JsonKind::array || value.size() > static_cast<std::size_t>(kMostLengths)) {
    value.fail("a list of at most 4096 lengths");
  }
  std::vector<std::int64_t> lengths;
  for (const JsonValue item : value.items()) lengths.push_back(item.integer(1, kLongestLength));
  return lengths;
}

std::vector<double> read_times(JsonValue value) {
  std::vector<double> times;
  for (const JsonValue item : value.items()) times.push_back(item.number(0, kLargestNumber));
  return times;
}

ElementType element_type_of(JsonValue value) {
  for (const ElementType type : {ElementType::f32, ElementType::bf16, ElementType::f16}) {
    if (value.string() == to_string(type)) return type;
  }
  value.fail("\"f32\" or \"bf16\" or \"f16\"");
}

ProfileCoverage read_coverage(JsonValue value) {
  ObjectReader reader(value);
  ProfileCoverage coverage;
  for (const JsonValue item : reader.required("devices", "a list of patterns").items()) {
    coverage.devices.emplace_back(item.string());
  }
  for (const JsonValue item : reader.required("element_types", "a list of types").items()) {
    coverage.element_types.push_back(element_type_of(item));
  }
  for (const JsonValue item : reader.required("head_dims", "a list of dimensions").items()) {
    coverage.head_dims.push_back(static_cast<std::int32_t>(item.integer(1, 1 << 16)));
  }
  reader.finish();
  return coverage;
}

AttentionTable read_table(JsonValue value) {
  ObjectReader reader(value);
  AttentionTable table;
  table.pass =
      reader.required_choice<Pass>("pass", {{"forward", Pass::forward}, {"backward", Pass::backward}});
  table.element_type = element_type_of(reader.required("element_type", "f32, bf16 or f16"));
  table.head_dim = reader.required_int<std::int32_t>("head_dim", 1, 1 << 16);
  table.value_head_dim = reader.required_int<std::int32_t>("value_head_dim", 1, 1 << 16);
  table.tile_rows = reader.required_int<std::int32_t>("tile_rows", 1, 1 << 20);
  table.launch_ns = reader.required_number("launch_ns", 0, kLargestNumber);
  table.tile_ns = reader.required_number("tile_ns", 0, kLargestNumber);
  ObjectReader full(reader.required("full", "an object with the grid of unmasked blocks"));
  table.full.query_lengths = read_lengths(full.required("query_lengths", "a list of lengths"));
  table.full.key_lengths = read_lengths(full.required("key_lengths", "a list of lengths"));
  table.full.ns_per_pair = read_times(full.required("ns_per_pair", "a list of times"));
  full.finish();
  ObjectReader diagonal(reader.required("diagonal", "an object with the causal triangles"));
  table.diagonal_lengths = read_lengths(diagonal.required("lengths", "a list of lengths"));
  table.diagonal_ns_per_pair = read_times(diagonal.required("ns_per_pair", "a list of times"));
  diagonal.finish();
  reader.finish();
  return table;
}

RowRate read_rows(JsonValue value) {
  ObjectReader reader(value);
  RowRate rate;
  rate.launch_ns = reader.required_number("launch_ns", 0, kLargestNumber);
  rate.range_ns = reader.required_number("range_ns", 0, kLargestNumber);
  rate.bytes_per_second = reader.required_number("bytes_per_second", 0, kLargestNumber);
  reader.finish();
  return rate;
}

ExchangeRates read_exchange(JsonValue value) {
  ObjectReader reader(value);
  ExchangeRates rates;
  rates.launch_ns = reader.required_number("launch_ns", 0, kLargestNumber);
  rates.part_ns = reader.required_number("part_ns", 0, kLargestNumber);
  rates.peer_bytes_per_second = reader.required_number("peer_bytes_per_second", 0, kLargestNumber);
  rates.copy_units = reader.required_number("copy_units", 0, kLargestNumber);
  rates.communication_units = reader.required_number("communication_units", 0, kLargestNumber);
  reader.finish();
  return rates;
}

template <typename Value>
void write_list(JsonWriter& out, std::string_view name, const std::vector<Value>& values) {
  out.key(name);
  out.open_array(JsonLayout::compact);
  for (const Value& value : values) out.value(value);
  out.close();
}

void write_coverage(JsonWriter& out, const ProfileCoverage& coverage) {
  out.key("covers");
  out.open_object(JsonLayout::lines);
  write_list(out, "devices", coverage.devices);
  out.key("element_types");
  out.open_array(JsonLayout::compact);
  for (const ElementType type : coverage.element_types) out.value(to_string(type));
  out.close();
  write_list(out, "head_dims", coverage.head_dims);
  out.close();
}

void write_provenance(JsonWriter& out, const ProfileProvenance& provenance) {
  out.key("provenance");
  out.open_object(JsonLayout::lines);
  out.member("device", provenance.device);
  out.member("date", provenance.date);
  out.member("tool_version", provenance.tool_version);
  out.member("instruction_set", provenance.instruction_set);
  out.member("threads", provenance.threads);
  out.member("measured", provenance.measured);
  out.member("fit_error", provenance.fit_error);
  out.member("held_out_error", provenance.held_out_error);
  out.key("samples");
  out.open_object(JsonLayout::compact);
  out.member("count", provenance.samples);
  out.member("digest", provenance.samples_digest);
  out.close();
  out.key("quality");
  if (provenance.quality) {
    out.open_object(JsonLayout::compact);
    const auto number_or_null = [&](const char* key, std::optional<double> value) {
      out.key(key);
      if (value) {
        out.value(*value);
      } else {
        out.null();
      }
    };
    number_or_null("held_out_p95", provenance.quality->held_out_p95);
    number_or_null("load", provenance.quality->load);
    out.close();
  } else {
    out.null();
  }
  out.member("notes", provenance.notes);
  out.close();
}

void write_table(JsonWriter& out, const AttentionTable& table) {
  out.open_object(JsonLayout::lines);
  out.member("pass", to_string(table.pass));
  out.member("element_type", to_string(table.element_type));
  out.member("head_dim", table.head_dim);
  out.member("value_head_dim", table.value_head_dim);
  out.member("tile_rows", table.tile_rows);
  out.member("launch_ns", table.launch_ns);
  out.member("tile_ns", table.tile_ns);
  out.key("full");
  out.open_object(JsonLayout::lines);
  write_list(out, "query_lengths", table.full.query_lengths);
  write_list(out, "key_lengths", table.full.key_lengths);
  write_list(out, "ns_per_pair", table.full.ns_per_pair);
  out.close();
  out.key("diagonal");
  out.open_object(JsonLayout::lines);
  write_list(out, "lengths", table.diagonal_lengths);
  write_list(out, "ns_per_pair", table.diagonal_ns_per_pair);
  out.close();
  out.close();
}

void write_rows(JsonWriter& out, std::string_view name, const RowRate& rate) {
  out.key(name);
  out.open_object(JsonLayout::compact);
  out.member("launch_ns", rate.launch_ns);
  out.member("range_ns", rate.range_ns);
  out.member("bytes_per_second", rate.bytes_per_second);
  out.close();
}

}  // namespace

namespace {

CostProfile read_root(JsonValue root, std::string_view where) {
  ObjectReader reader(root);
  if (reader.find("exchanges")) {
    root.fail("samples, as strata calibrate --executor mpi, cuda or nccl writes them",
              "a cost profile: nothing is fitted to samples yet");
  }
  CostProfile profile;
  const JsonValue version = reader.required("format_version", "2: is this a cost profile?");
  const std::int64_t found = version.integer(0, std::numeric_limits<std::int32_t>::max());
  if (found == 1) version.fail("format version 1", "format version 2: calibrate again");
  if (found != kProfileFormatVersion) {
    version.fail(
        fmt::format("{}, the only profile format that this version of Strata reads", kProfileFormatVersion));
  }
  profile.name = reader.required_string("name");
  profile.covers = read_coverage(reader.required("covers", "the devices, types and heads of the profile"));
  profile.provenance = read_provenance(reader.required("provenance", "where the numbers come from"));
  for (const JsonValue item : reader.required("attention", "a list of tables").items()) {
    profile.attention.push_back(read_table(item));
  }
  ObjectReader rows(reader.required("rows", "the rates of row operations"));
  profile.copy = read_rows(rows.required("copy", "a rate"));
  profile.merge = read_rows(rows.required("merge", "a rate"));
  profile.add = read_rows(rows.required("add", "a rate"));
  profile.cast = read_rows(rows.required("cast", "a rate"));
  profile.delta = read_rows(rows.required("delta", "a rate"));
  profile.zero = read_rows(rows.required("zero", "a rate"));
  profile.row_chunk_bytes = rows.required_int("chunk_bytes", 0, kLongestLength);
  rows.finish();
  profile.linear_flops_per_second = reader.required_number("linear_flops_per_second", 0, kLargestNumber);
  profile.memory_bytes_per_second = reader.required_number("memory_bytes_per_second", 0, kLargestNumber);
  profile.exchange = read_exchange(reader.required("exchange", "the costs of an exchange"));
  reader.finish();
  validate(profile, where);
  return profile;
}

}  // namespace

CostProfile read_profile(std::string_view text, std::string_view where) {
  return read_root(JsonDocument::parse_text(text, std::string(where)).root(), where);
}

CostProfile read_profile_file(const std::string& path) {
  return read_root(JsonDocument::read_file(path).root(), path);
}

std::string profile_text(const CostProfile& profile) {
  std::ostringstream stream;
  JsonWriter out(stream);
  out.open_object(JsonLayout::lines);
  out.member("format_version", kProfileFormatVersion);
  out.member("name", profile.name);
  write_coverage(out, profile.covers);
  write_provenance(out, profile.provenance);
  out.key("attention");
  out.open_array(JsonLayout::lines);
  for (const AttentionTable& table : profile.attention) write_table(out, table);
  out.close();
  out.key("rows");
  out.open_object(JsonLayout::lines);
  write_rows(out, "copy", profile.copy);
  write_rows(out, "merge", profile.merge);
  write_rows(out, "add", profile.add);
  write_rows(out, "cast", profile.cast);
  write_rows(out, "delta", profile.delta);
  write_rows(out, "zero", profile.zero);
  out.member("chunk_bytes", profile.row_chunk_bytes);
  out.close();
  out.member("linear_flops_per_second", profile.linear_flops_per_second);
  out.member("memory_bytes_per_second", profile.memory_bytes_per_second);
  out.key("exchange");
  out.open_object(JsonLayout::lines);
  out.member("launch_ns", profile.exchange.launch_ns);
  out.member("part_ns", profile.exchange.part_ns);
  out.member("peer_bytes_per_second", profile.exchange.peer_bytes_per_second);
  out.member("copy_units", profile.exchange.copy_units);
  out.member("communication_units", profile.exchange.communication_units);
  out.close();
  out.close();
  out.finish();
  return stream.str();
}

}  // namespace strata
