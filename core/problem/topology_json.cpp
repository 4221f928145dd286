// SPDX-License-Identifier: Apache-2.0
#include "core/problem/topology_json.hpp"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <sstream>
#include <system_error>

#include "core/base/check.hpp"
#include "core/json/json_reader.hpp"
#include "core/json/json_writer.hpp"
#include "core/problem/document_kind.hpp"

namespace strata {

namespace {

constexpr std::int64_t kMaxIndex = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxInt64 = std::numeric_limits<std::int64_t>::max();
constexpr double kBytesPerGbyte = 1e9;

std::vector<std::string> read_names(const JsonValue& list) {
  std::vector<std::string> names;
  for (const JsonValue item : list.items()) names.emplace_back(item.line());
  return names;
}

Device read_device(const JsonValue& value) {
  Device device;
  ObjectReader reader(value);
  device.name = reader.required_string("name");
  device.node = reader.required_int<std::int32_t>("node", 0, kMaxIndex);
  device.cores = reader.optional_int<std::int32_t>("cores", 1, kMaxIndex, 1);
  if (const auto speed = reader.find("relative_speed")) device.relative_speed = speed->number();
  device.memory.count = reader.optional_int<std::int64_t>("memory_bytes", 0, kMaxInt64, 0);
  reader.finish();
  return device;
}

Link read_link(const JsonValue& value) {
  Link link;
  ObjectReader reader(value);
  link.from = reader.required_int<std::int32_t>("from", 0, kMaxIndex);
  link.to = reader.required_int<std::int32_t>("to", 0, kMaxIndex);
  link.level = reader.required_choice<LinkLevel>(
      "level", {{"node", LinkLevel::node}, {"network", LinkLevel::network}});
  link.latency.ns = reader.required_int("latency_ns", 0, kMaxInt64);
  link.bandwidth.value = reader.required_number("bandwidth_gbytes_per_s", 0) * kBytesPerGbyte;
  reader.finish();
  return link;
}

/// Several devices per rank are a later version's (tensor parallelism); the list is there so that files stay
/// valid.
std::int32_t read_rank(const JsonValue& value) {
  ObjectReader reader(value);
  const JsonValue devices = reader.required("devices", "a list with one device index");
  const JsonValue::Children items = devices.items();
  if (devices.size() != 1) devices.fail(fmt::format("{} devices", devices.size()), "one device per rank");
  const auto device = static_cast<std::int32_t>((*items.begin()).integer(0, kMaxIndex));
  reader.finish();
  return device;
}

/// The number x, among the neighbours of the quotient, that reads back as exactly `rate`.
double gbytes_per_second(BytesPerSecond rate) {
  const double quotient = rate.value / kBytesPerGbyte;
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double candidate :
       {quotient, std::nextafter(quotient, 0.0), std::nextafter(quotient, infinity)}) {
    if (candidate * kBytesPerGbyte == rate.value) return candidate;
  }
  return quotient;
}

void write_devices(JsonWriter& out, const Topology& topology) {
  out.key("devices");
  out.open_array(JsonLayout::compact);
  for (const Device& device : topology.devices) {
    out.open_object(JsonLayout::compact);
    out.member("name", device.name);
    out.member("node", device.node);
    out.member("cores", device.cores);
    out.member("relative_speed", device.relative_speed);
    out.member("memory_bytes", device.memory.count);
    out.close();
  }
  out.close();
}

void write_links(JsonWriter& out, const Topology& topology) {
  out.key("links");
  out.open_array(JsonLayout::compact);
  for (const Link& link : topology.links) {
    out.open_object(JsonLayout::compact);
    out.member("from", link.from);
    out.member("to", link.to);
    out.member("level", to_string(link.level));
    out.member("latency_ns", link.latency.ns);
    out.member("bandwidth_gbytes_per_s", gbytes_per_second(link.bandwidth));
    out.close();
  }
  out.close();
}

void write_names(JsonWriter& out, std::string_view key, const std::vector<std::string>& names) {
  out.key(key);
  out.open_array(JsonLayout::compact);
  for (const std::string& name : names) out.value(name);
  out.close();
}

}  // namespace

Topology read_topology(const JsonValue& value) {
  expect_kind(value, DocumentKind::topology);
  Topology topology;
  ObjectReader reader(value);
  topology.name = reader.required_string("name");
  topology.nodes = read_names(reader.required("nodes", "a list of node names"));
  for (const JsonValue item : reader.required("devices", "a list of devices").items()) {
    topology.devices.push_back(read_device(item));
  }
  if (const auto switches = reader.find("switches")) topology.switches = read_names(*switches);
  if (const auto links = reader.find("links")) {
    for (const JsonValue item : links->items()) topology.links.push_back(read_link(item));
  }
  for (const JsonValue item : reader.required("ranks", "a list of ranks").items()) {
    topology.rank_device.push_back(read_rank(item));
  }
  reader.finish();
  validate(topology, value.path());
  return topology;
}

Topology read_topology(std::istream& in, const std::string& name) {
  return read_topology(JsonDocument::parse(in, name).root());
}

Topology read_topology(const std::string& path) {
  return read_topology(JsonDocument::read_file(path).root());
}

Topology load_topology(const std::string& name_or_path) {
  if (is_named_topology(name_or_path)) return named_topology(name_or_path);
  std::error_code error;
  if (!std::filesystem::exists(name_or_path, error) && !error) {
    throw InputError("topology", fmt::format("'{}', which is no file", name_or_path),
                     topology_names() + ", or a JSON file");
  }
  return read_topology(name_or_path);
}

std::string to_json(const Topology& topology) {
  std::ostringstream text;
  JsonWriter out(text);
  out.open_object(JsonLayout::compact);
  out.member("name", topology.name);
  write_names(out, "nodes", topology.nodes);
  write_devices(out, topology);
  write_names(out, "switches", topology.switches);
  write_links(out, topology);
  out.key("ranks");
  out.open_array(JsonLayout::compact);
  for (const std::int32_t device : topology.rank_device) {
    out.open_object(JsonLayout::compact);
    out.key("devices");
    out.open_array(JsonLayout::compact);
    out.value(device);
    out.close();
    out.close();
  }
  out.close();
  out.close();
  out.finish(false);
  return text.str();
}

}  // namespace strata
