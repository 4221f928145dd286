// SPDX-License-Identifier: Apache-2.0
#include "core/program/timeline_json.hpp"

#include <fmt/format.h>

#include <limits>
#include <optional>
#include <ostream>

#include "core/base/atomic_file.hpp"
#include "core/base/check.hpp"
#include "core/json/json_reader.hpp"
#include "core/json/json_writer.hpp"
#include "core/problem/topology.hpp"

namespace strata {

namespace {

constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxInt64 = std::numeric_limits<std::int64_t>::max();

constexpr std::string_view kColumns[] = {"repeat",    "wave",       "layer",  "pass",  "rank", "instruction",
                                         "posted_ns", "matched_ns", "end_ns", "bytes", "flops"};

/// The numbers of one event, one after the other.
class EventCells {
 public:
  explicit EventCells(const JsonValue& row) : next_(row.items().first) {
    if (row.size() != std::size(kColumns)) {
      row.fail(fmt::format("{} numbers", row.size()),
               fmt::format("{}, as 'columns' says", std::size(kColumns)));
    }
  }
  std::int64_t integer(std::int64_t max) { return take().integer(0, max); }
  std::int32_t index() { return static_cast<std::int32_t>(integer(kMaxInt32)); }
  double number() { return take().number(0); }

 private:
  JsonValue take() {
    const JsonValue cell = *next_;
    ++next_;
    return cell;
  }
  JsonValue::Iterator next_;
};

TimelineEvent read_event(const JsonValue& row) {
  EventCells cells(row);
  TimelineEvent event;
  event.repeat = cells.index();
  event.wave = cells.index();
  event.layer = cells.index();
  event.pass = cells.integer(1) == 0 ? Pass::forward : Pass::backward;
  event.rank = cells.index();
  event.instruction = cells.index();
  event.posted_ns = cells.integer(kMaxInt64);
  event.matched_ns = cells.integer(kMaxInt64);
  event.end_ns = cells.integer(kMaxInt64);
  event.bytes = cells.integer(kMaxInt64);
  event.flops = cells.number();
  if (event.posted_ns > event.matched_ns || event.matched_ns > event.end_ns) {
    row.fail(fmt::format("times {}, {}, {}", event.posted_ns, event.matched_ns, event.end_ns),
             "posted <= matched <= end");
  }
  return event;
}

/// Where it is stated: of every rank a device.
std::vector<std::int32_t> read_rank_device(ObjectReader& reader, const Timeline& timeline) {
  std::vector<std::int32_t> devices;
  const std::optional<JsonValue> list = reader.find("rank_device");
  if (!list) return devices;
  for (const JsonValue item : list->items()) {
    devices.push_back(static_cast<std::int32_t>(item.integer(0, timeline.device_count - 1)));
  }
  if (std::ssize(devices) != timeline.rank_count) {
    list->fail(fmt::format("{} devices", devices.size()),
               fmt::format("{}, one per rank", timeline.rank_count));
  }
  return devices;
}

void check_columns(const JsonValue& list) {
  std::size_t column = 0;
  for (const JsonValue item : list.items()) {
    if (column >= std::size(kColumns) || item.string() != kColumns[column]) {
      item.fail(column < std::size(kColumns) ? fmt::format("\"{}\"", kColumns[column]) : "no more columns");
    }
    ++column;
  }
  if (column < std::size(kColumns))
    list.fail(fmt::format("{} columns", column), fmt::format("{}", std::size(kColumns)));
}

Timeline read_timeline(const JsonValue& root) {
  Timeline timeline;
  ObjectReader reader(root);
  const JsonValue version = reader.required("format_version", "2: is this a Strata timeline?");
  if (version.integer(0, kMaxInt32) != kTimelineFormatVersion) {
    version.fail(fmt::format("{}, the only timeline format that this version of Strata reads",
                             kTimelineFormatVersion));
  }
  timeline.source = reader.required_string("source");
  timeline.plan_digest = reader.required_string("plan_digest");
  timeline.device_count = reader.required_int<std::int32_t>("device_count", 1, kMaxInt32);
  timeline.cores_per_device = reader.required_int<std::int32_t>("cores_per_device", 1, kMostCores);
  timeline.rank_count = reader.required_int<std::int32_t>("rank_count", 0, kMaxInt32);
  timeline.rank_device = read_rank_device(reader, timeline);
  timeline.layers = reader.required_int<std::int32_t>("layers", 1, kMaxInt32);
  timeline.repeats = reader.required_int<std::int32_t>("repeats", 1, kMaxInt32);
  timeline.linear_included = reader.required_bool("linear_included");
  timeline.clock_error_ns = reader.required_int<std::int64_t>("clock_error_ns", 0, kMaxInt64);
  check_columns(reader.required("columns", "the names of the columns"));
  const JsonValue events = reader.required("events", "a list of events");
  const JsonValue::Children rows = events.items();
  timeline.events.reserve(events.size());
  for (const JsonValue row : rows) {
    timeline.events.push_back(read_event(row));
    const std::size_t count = timeline.events.size();
    if (count > 1 && !key_less(timeline.events[count - 2], timeline.events[count - 1])) {
      row.fail("an event that does not come after the one before it", "events sorted by key, each key once");
    }
  }
  reader.finish();
  return timeline;
}

void write_event(JsonWriter& out, const TimelineEvent& event) {
  out.open_array(JsonLayout::compact);
  out.value(event.repeat);
  out.value(event.wave);
  out.value(event.layer);
  out.value(event.pass == Pass::forward ? 0 : 1);
  out.value(event.rank);
  out.value(event.instruction);
  out.value(event.posted_ns);
  out.value(event.matched_ns);
  out.value(event.end_ns);
  out.value(event.bytes);
  out.value(event.flops);
  out.close();
}

}  // namespace

Timeline read_timeline(std::istream& in, const std::string& name) {
  return read_timeline(JsonDocument::parse(in, name).root());
}

Timeline read_timeline(const std::string& path) {
  return read_timeline(JsonDocument::read_file(path).root());
}

void write_timeline(const Timeline& timeline, std::ostream& stream) {
  JsonWriter out(stream);
  out.open_object(JsonLayout::lines);
  out.member("format_version", kTimelineFormatVersion);
  out.member("source", timeline.source);
  out.member("plan_digest", timeline.plan_digest);
  out.member("device_count", timeline.device_count);
  out.member("cores_per_device", timeline.cores_per_device);
  out.member("rank_count", timeline.rank_count);
  if (!timeline.rank_device.empty()) {
    out.key("rank_device");
    out.open_array(JsonLayout::compact);
    for (const std::int32_t device : timeline.rank_device) out.value(device);
    out.close();
  }
  out.member("layers", timeline.layers);
  out.member("repeats", timeline.repeats);
  out.member("linear_included", timeline.linear_included);
  out.member("clock_error_ns", timeline.clock_error_ns);
  out.key("columns");
  out.open_array(JsonLayout::compact);
  for (const std::string_view column : kColumns) out.value(column);
  out.close();
  out.key("events");
  out.open_array(JsonLayout::lines);
  for (const TimelineEvent& event : timeline.events) write_event(out, event);
  out.close();
  out.close();
  out.finish();
}

void write_timeline(const Timeline& timeline, const std::string& path) {
  write_file_atomically(path, [&](std::ostream& out) { write_timeline(timeline, out); });
}

}  // namespace strata
