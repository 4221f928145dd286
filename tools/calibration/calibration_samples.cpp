// SPDX-License-Identifier: Apache-2.0
#include "tools/calibration/calibration_samples.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "core/base/human_units.hpp"
#include "core/base/version.hpp"
#include "core/json/json_writer.hpp"
#include "core/problem/model_json.hpp"

namespace strata::tools {

namespace {

class EventFinder {
 public:
  explicit EventFinder(const Timeline& timeline) : timeline_(timeline) {}

  /// `number` counts the passes of a direction in the order in which they run: backward, the last layer
  /// first.
  const TimelineEvent& find(const CalibrationCase& what, std::int32_t repeat, std::int32_t number,
                            std::int32_t rank) const {
    TimelineEvent key;
    key.repeat = repeat;
    key.wave = what.wave;
    key.layer = what.pass == Pass::forward ? number : timeline_.layers - 1 - number;
    key.pass = what.pass;
    key.rank = rank;
    key.instruction = what.instruction;
    const auto found = std::lower_bound(timeline_.events.begin(), timeline_.events.end(), key, key_less);
    STRATA_CHECK(found != timeline_.events.end() && !key_less(key, *found),
                 "no event of repeat {}, wave {}, layer {}, {}, rank {}, instruction {}", repeat, what.wave,
                 key.layer, to_string(what.pass), rank, what.instruction);
    return *found;
  }

 private:
  const Timeline& timeline_;
};

/// From the last rank's start to the last rank's end; at least 0, for clocks may differ by their error.
std::int64_t exchange_ns(const EventFinder& events, const CalibrationCase& what, std::int32_t repeat,
                         std::int32_t number) {
  std::int64_t ready = 0, end = 0;
  for (const std::int32_t rank : what.ranks) {
    const TimelineEvent& event = events.find(what, repeat, number, rank);
    ready = std::max(ready, event.posted_ns);
    end = std::max(end, event.end_ns);
  }
  return std::max<std::int64_t>(0, end - ready);
}

Sample read_sample(const CalibrationCase& what, const EventFinder& events, const Timeline& timeline) {
  Sample sample;
  sample.what = what;
  if (is_exchange(what.operation)) {
    sample.series.emplace_back();
  } else {
    for (const std::int32_t rank : what.ranks) sample.series.push_back({rank, {}});
  }
  std::vector<std::int64_t> all;
  for (SampleSeries& series : sample.series) {
    for (std::int32_t repeat = 0; repeat < timeline.repeats; ++repeat) {
      for (std::int32_t number = 1; number < timeline.layers; ++number) {
        if (series.rank < 0) {
          series.durations_ns.push_back(exchange_ns(events, what, repeat, number));
        } else {
          const TimelineEvent& event = events.find(what, repeat, number, series.rank);
          series.durations_ns.push_back(event.end_ns - event.posted_ns);
        }
      }
    }
    all.insert(all.end(), series.durations_ns.begin(), series.durations_ns.end());
  }
  std::sort(all.begin(), all.end());
  sample.min_ns = all.front();
  sample.median_ns = all[(all.size() - 1) / 2];
  sample.max_ns = all.back();
  return sample;
}

void write_durations(JsonWriter& json, const std::vector<std::int64_t>& durations_ns) {
  json.key("durations_ns");
  json.open_array(JsonLayout::compact);
  for (const std::int64_t ns : durations_ns) json.value(ns);
  json.close();
}

void write_statistics(JsonWriter& json, const Sample& sample) {
  json.member("median_ns", sample.median_ns);
  json.member("min_ns", sample.min_ns);
  json.member("max_ns", sample.max_ns);
}

void write_series(JsonWriter& json, const Sample& sample) {
  json.key("series");
  json.open_array(JsonLayout::compact);
  for (const SampleSeries& series : sample.series) {
    json.open_object(JsonLayout::compact);
    json.member("rank", series.rank);
    write_durations(json, series.durations_ns);
    json.close();
  }
  json.close();
}

void write_shape(JsonWriter& json, const ModelShape& model) {
  json.member("query_heads", model.query_heads);
  json.member("kv_heads", model.kv_heads);
  json.member("head_dim", model.head_dim);
  json.member("value_head_dim", model.value_head_dim);
  json.member("element_type", to_string(model.element_type));
}

void write_attention(JsonWriter& json, const MeasuredModel& measured, const Sample& sample) {
  json.member("direction", to_string(sample.what.pass));
  json.member("band", sample.what.causal ? "causal" : "full");
  json.member("query_length", sample.what.query_length);
  json.member("key_length", sample.what.key_length);
  write_shape(json, measured.model);
  json.member("kernel", std::string_view(measured.kernel));
  json.member("flops", sample.what.flops.count);
  write_statistics(json, sample);
  json.member("flops_per_second", sample.rate());
  write_series(json, sample);
}

void write_rows(JsonWriter& json, const MeasuredModel& measured, const Sample& sample) {
  json.member("operation", to_string(sample.what.operation));
  json.member("rows", sample.what.rows);
  write_shape(json, measured.model);
  json.member("moved_bytes", sample.what.bytes.count);
  write_statistics(json, sample);
  json.member("bytes_per_second", sample.rate());
  write_series(json, sample);
}

const char* exchange_direction(const CalibrationCase& what) {
  return what.operation == CaseOperation::all_to_all || what.both_ways ? "both_ways" : "one_way";
}

void write_exchange(JsonWriter& json, const MeasuredModel&, const Sample& sample) {
  json.member("operation", to_string(sample.what.operation));
  json.member("direction", exchange_direction(sample.what));
  json.member("level", to_string(sample.what.level));
  json.key("ranks");
  json.open_array(JsonLayout::compact);
  for (const std::int32_t rank : sample.what.ranks) json.value(rank);
  json.close();
  json.member("message_bytes", sample.what.message.count);
  json.member("sent_bytes_per_rank", sample.what.bytes.count);
  write_statistics(json, sample);
  json.member("bytes_per_second", sample.rate());
  write_durations(json, sample.series.front().durations_ns);
}

enum class Group : std::uint8_t { attention, rows, exchanges };
Group group_of(CaseOperation operation) {
  if (operation == CaseOperation::attention) return Group::attention;
  return is_exchange(operation) ? Group::exchanges : Group::rows;
}

/// Calls `visit(model, sample)` for the samples of a group.
template <typename Visit>
void for_each_sample(const SamplesFile& file, Group group, Visit visit) {
  for (const MeasuredModel& measured : file.models) {
    for (const Sample& sample : measured.samples) {
      if (group_of(sample.what.operation) == group) visit(measured, sample);
    }
  }
}

template <typename Write>
void write_group(JsonWriter& json, const char* name, const SamplesFile& file, Group group, Write write) {
  json.key(name);
  json.open_array(JsonLayout::lines);
  for_each_sample(file, group, [&](const MeasuredModel& measured, const Sample& sample) {
    json.open_object(JsonLayout::compact);
    write(json, measured, sample);
    json.close();
  });
  json.close();
}

void write_provenance(JsonWriter& json, const SamplesFile& file) {
  json.key("provenance");
  json.open_object(JsonLayout::lines);
  json.member("executor", std::string_view(file.executor));
  json.member("device", std::string_view(file.device));
  json.member("instruction_set", std::string_view(file.instruction_set));
  json.member("date", std::string_view(file.date));
  json.member("tool_version", kVersion);
  json.member("threads_per_process", file.threads);
  json.member("repeats", file.repeats);
  json.member("layers", file.layers);
  json.member("clock_error_ns", file.clock_error_ns);
  json.close();
}

/// Three digits that mean something, like every time and size beside it: 97.0, not 97.
std::string three_digits(double value) {
  if (value < 1) return fmt::format("{:#.3g}", value);
  return fmt::format("{:.{}f}", value, value < 10 ? 2 : value < 100 ? 1 : 0);
}

/// Median, its distance to the extremes, rate in 10^9 per second.
std::vector<std::string> measured_columns(const Sample& sample) {
  const auto spread = static_cast<double>(sample.max_ns - sample.min_ns) /
                      static_cast<double>(std::max<std::int64_t>(1, sample.median_ns));
  return {human(Duration{sample.median_ns}), percent(spread), three_digits(sample.rate() * 1e-9)};
}

std::string shape_text(const ModelShape& model) {
  const std::string dims = model.head_dim == model.value_head_dim
                               ? std::to_string(model.head_dim)
                               : fmt::format("{}/{}", model.head_dim, model.value_head_dim);
  return fmt::format("{}:{} x {} {}", model.query_heads, model.kv_heads, dims, to_string(model.element_type));
}

class GroupTable {
 public:
  explicit GroupTable(std::vector<std::string> header) : table_(std::move(header)) {}
  void add(std::vector<std::string> row, const Sample& sample) {
    for (std::string& column : measured_columns(sample)) row.push_back(std::move(column));
    table_.add(std::move(row));
    empty_ = false;
  }
  void append_to(std::string& text) const {
    if (empty_) return;
    text += (text.empty() ? "" : "\n\n") + table_.text();
  }

 private:
  Table table_;
  bool empty_ = true;
};

}  // namespace

double Sample::rate() const {
  const double amount =
      what.operation == CaseOperation::attention ? what.flops.count : static_cast<double>(what.bytes.count);
  return amount / static_cast<double>(std::max<std::int64_t>(1, median_ns)) * 1e9;
}

std::vector<Sample> read_samples(const CalibrationPart& part, const Timeline& timeline) {
  STRATA_CHECK(timeline.layers >= 2, "a timeline of {} layer", timeline.layers);
  const EventFinder events(timeline);
  std::vector<Sample> samples;
  for (const CalibrationCase& what : part.cases) samples.push_back(read_sample(what, events, timeline));
  return samples;
}

std::string samples_text(const SamplesFile& file) {
  std::ostringstream stream;
  JsonWriter json(stream);
  json.open_object(JsonLayout::lines);
  json.member("format_version", kSamplesFormatVersion);
  write_provenance(json, file);
  json.key("ranks");
  json.open_array(JsonLayout::lines);
  for (std::int32_t rank = 0; rank < file.places.count(); ++rank) {
    json.open_object(JsonLayout::compact);
    json.member("node", file.places.node[static_cast<std::size_t>(rank)]);
    json.member("device", file.places.device[static_cast<std::size_t>(rank)]);
    json.close();
  }
  json.close();
  write_group(json, "attention", file, Group::attention, write_attention);
  write_group(json, "rows", file, Group::rows, write_rows);
  write_group(json, "exchanges", file, Group::exchanges, write_exchange);
  json.close();
  json.finish();
  return stream.str();
}

std::string samples_table(const SamplesFile& file) {
  GroupTable attention({"attention", "direction", "band", "queries", "keys", "median", "spread", "GFLOP/s"});
  for_each_sample(file, Group::attention, [&](const MeasuredModel& measured, const Sample& sample) {
    attention.add({shape_text(measured.model), std::string(to_string(sample.what.pass)),
                   sample.what.causal ? "causal" : "full", human_count(sample.what.query_length),
                   human_count(sample.what.key_length)},
                  sample);
  });
  GroupTable rows({"rows of", "operation", "rows", "moved", "median", "spread", "GB/s"});
  for_each_sample(file, Group::rows, [&](const MeasuredModel& measured, const Sample& sample) {
    rows.add({shape_text(measured.model), std::string(to_string(sample.what.operation)),
              human_count(sample.what.rows), human(sample.what.bytes)},
             sample);
  });
  GroupTable exchanges({"exchange", "direction", "level", "ranks", "message", "median", "spread", "GB/s"});
  for_each_sample(file, Group::exchanges, [&](const MeasuredModel&, const Sample& sample) {
    exchanges.add({std::string(to_string(sample.what.operation)), exchange_direction(sample.what),
                   std::string(to_string(sample.what.level)), human_count(std::ssize(sample.what.ranks)),
                   human(sample.what.message)},
                  sample);
  });
  std::string text;
  attention.append_to(text);
  rows.append_to(text);
  exchanges.append_to(text);
  return text;
}

}  // namespace strata::tools
