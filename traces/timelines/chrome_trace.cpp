// SPDX-License-Identifier: Apache-2.0
#include "traces/timelines/chrome_trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "core/base/atomic_file.hpp"
#include "core/base/check.hpp"
#include "core/json/json_writer.hpp"
#include "core/program/messages.hpp"

namespace strata {

namespace {

constexpr std::int64_t kPauseBetweenRepeats = 10'000;  // ns, so that repeats can be told apart

/// Exact, with three decimals. Measured clocks may put an end before a begin, so a sign is possible.
std::string microseconds(std::int64_t ns) {
  const std::int64_t size = ns < 0 ? -ns : ns;
  return fmt::format("{}{}.{:03}", ns < 0 ? "-" : "", size / 1000, size % 1000);
}

double three_decimals(double value) { return std::round(value * 1000) / 1000; }

struct AttentionShape {
  std::size_t blocks = 0;
  std::int64_t pairs = 0;
};

AttentionShape attention_shape(const Operation& op) {
  if (const auto* forward = std::get_if<Attention>(&op)) return {forward->blocks.size(), attention_pairs(op)};
  if (const auto* backward = std::get_if<AttentionBackward>(&op)) {
    return {backward->blocks.size(), attention_pairs(op)};
  }
  return {};
}

/// Bytes that the operation sends, or moves inside the rank.
std::int64_t moved_bytes(const RankProgram& program, const Operation& op) {
  const std::vector<RowCopy>* copies = nullptr;
  if (const auto* copy = std::get_if<CopyRows>(&op)) copies = &copy->copies;
  if (const auto* sum = std::get_if<AccumulateGradient>(&op)) copies = &sum->additions;
  if (copies == nullptr) return sent_bytes(program, op).count;
  std::int64_t bytes = 0;
  for (const RowCopy& copy : *copies) {
    bytes += copy.row_count * copy_bytes(program, copy).row_bytes;
  }
  return bytes;
}

/// One transfer between two exchanges that belong together.
struct Arrow {
  const TimelineEvent* send = nullptr;
  const TimelineEvent* receive = nullptr;
  BufferRole role = BufferRole::kv;
  std::int64_t bytes = 0;
};

/// Pairs the sends and receives of one repeat, wave, layer and pass. The k-th exchange of a step and lane in
/// which a source sends to a target belongs to the k-th in which the target receives from it.
class TransferMatcher {
 public:
  TransferMatcher(const Timeline& timeline, WavePrograms programs)
      : timeline_(timeline), programs_(programs) {}

  /// [first, last) share repeat, wave, layer and pass.
  std::vector<Arrow> match(const TimelineEvent* first, const TimelineEvent* last) {
    // Step, lane, source, target.
    using Way = std::tuple<std::int32_t, std::int32_t, std::int32_t, std::int32_t>;
    std::map<Way, std::deque<const TimelineEvent*>> receives;
    for (const TimelineEvent* event = first; event != last; ++event) {
      const Exchange* exchange = exchange_of(instruction_of(timeline_, *event, programs_).op);
      if (exchange == nullptr) continue;
      std::set<std::int32_t> sources;
      for (const ExchangePart& part : exchange->receives) sources.insert(part.peer);
      for (const std::int32_t source : sources) {
        receives[{exchange->step, exchange->lane, source, event->rank}].push_back(event);
      }
    }
    std::vector<Arrow> arrows;
    for (const TimelineEvent* event = first; event != last; ++event) {
      const Exchange* exchange = exchange_of(instruction_of(timeline_, *event, programs_).op);
      if (exchange == nullptr) continue;
      for (const auto& [target, arrow] : sends_by_target(*exchange, *event)) {
        const auto found = receives.find({exchange->step, exchange->lane, event->rank, target});
        if (found == receives.end() || found->second.empty()) {
          ++unmatched_;
          continue;
        }
        arrows.push_back(arrow);
        arrows.back().receive = found->second.front();
        found->second.pop_front();
      }
    }
    return arrows;
  }

  std::int64_t unmatched() const { return unmatched_; }

 private:
  std::map<std::int32_t, Arrow> sends_by_target(const Exchange& exchange, const TimelineEvent& event) const {
    const RankProgram& program = program_of(timeline_, event, programs_);
    std::map<std::int32_t, Arrow> arrows;
    for (const ExchangePart& part : exchange.sends) {
      const Buffer& buffer = program.buffers[static_cast<std::size_t>(part.buffer)];
      Arrow& arrow = arrows.try_emplace(part.peer, Arrow{&event, nullptr, buffer.role, 0}).first->second;
      arrow.bytes += part.row_count * buffer.row_bytes();
    }
    return arrows;
  }

  const Timeline& timeline_;
  WavePrograms programs_;
  std::int64_t unmatched_ = 0;
};

class TraceWriter {
 public:
  TraceWriter(const Timeline& timeline, WavePrograms programs, std::ostream& out)
      : timeline_(timeline), programs_(programs), json_(out), matcher_(timeline, programs) {}

  void write() {
    json_.open_object(JsonLayout::lines);
    json_.member("displayTimeUnit", "ns");
    json_.key("traceEvents");
    json_.open_array(JsonLayout::lines);
    name_threads();
    const TimelineEvent* const end = timeline_.events.data() + timeline_.events.size();
    std::int32_t repeat = timeline_.events.empty() ? 0 : timeline_.events.front().repeat;
    for (const TimelineEvent* first = timeline_.events.data(); first != end;) {
      const auto same_pass = [&](const TimelineEvent& event) {
        return std::tie(event.repeat, event.wave, event.layer, event.pass) ==
               std::tie(first->repeat, first->wave, first->layer, first->pass);
      };
      if (first->repeat != repeat) {
        origin_ns_ = latest_ns_ + kPauseBetweenRepeats;
        repeat = first->repeat;
      }
      const TimelineEvent* const last = std::find_if_not(first, end, same_pass);
      for (const TimelineEvent* event = first; event != last; ++event) write_slice(*event);
      for (const Arrow& arrow : matcher_.match(first, last)) write_arrow(arrow);
      first = last;
    }
    json_.close();
    write_source();
    json_.close();
    json_.finish();
  }

 private:
  void open_event(std::string_view name, std::string_view phase, std::int32_t rank, std::int32_t stream) {
    json_.open_object(JsonLayout::compact);
    json_.member("name", name);
    json_.member("ph", phase);
    json_.member("pid", rank);
    json_.member("tid", stream);
  }

  void write_metadata(std::string_view what, std::int32_t rank, std::int32_t stream, std::string_view key,
                      const std::string& text, std::int32_t order) {
    open_event(what, "M", rank, stream);
    json_.key("args");
    json_.open_object(JsonLayout::compact);
    if (text.empty()) {
      json_.member(key, order);
    } else {
      json_.member(key, text);
    }
    json_.close();
    json_.close();
  }

  void name_threads() {
    std::set<std::pair<std::int32_t, std::int32_t>> streams;
    for (const TimelineEvent& event : timeline_.events) {
      streams.emplace(event.rank, instruction_of(timeline_, event, programs_).stream);
    }
    std::int32_t named_rank = -1;
    for (const auto& [rank, stream] : streams) {
      if (rank != named_rank) {
        write_metadata("process_name", rank, 0, "name", fmt::format("rank {}{}", rank, device_text(rank)), 0);
        write_metadata("process_sort_index", rank, 0, "sort_index", "", rank);
        named_rank = rank;
      }
      write_metadata("thread_name", rank, stream, "name",
                     stream == kComputeStream ? "compute" : fmt::format("lane {}", stream - lane_stream(0)),
                     0);
      write_metadata("thread_sort_index", rank, stream, "sort_index", "", stream);
    }
  }

  std::string device_text(std::int32_t rank) const {
    if (timeline_.rank_count <= 0 || timeline_.device_count <= 0) return "";
    return fmt::format(" on device {}", timeline_.device(rank));
  }

  void write_slice(const TimelineEvent& event) {
    const Instruction& instruction = instruction_of(timeline_, event, programs_);
    const Exchange* exchange = exchange_of(instruction.op);
    const std::string kind(kind_name(instruction.op));
    open_event(exchange == nullptr ? kind : fmt::format("{} step {}", kind, exchange->step), "X", event.rank,
               instruction.stream);
    json_.member("cat", to_string(event.pass));
    json_.key("ts");
    json_.raw(microseconds(origin_ns_ + event.posted_ns));
    json_.key("dur");
    json_.raw(microseconds(event.end_ns - event.posted_ns));
    write_arguments(event, instruction, kind);
    json_.close();
    latest_ns_ = std::max(latest_ns_, origin_ns_ + event.end_ns);
  }

  void write_arguments(const TimelineEvent& event, const Instruction& instruction, const std::string& kind) {
    const Exchange* exchange = exchange_of(instruction.op);
    json_.key("args");
    json_.open_object(JsonLayout::compact);
    json_.member("kind", kind);
    json_.member("instruction", event.instruction);
    json_.member("repeat", event.repeat);
    json_.member("wave", event.wave);
    json_.member("layer", event.layer);
    json_.member("pass", to_string(event.pass));
    if (exchange != nullptr) {
      json_.member("step", exchange->step);
      json_.member("lane", exchange->lane);
      json_.key("waited_us");
      json_.raw(microseconds(event.matched_ns - event.posted_ns));
    }
    if (const AttentionShape shape = attention_shape(instruction.op); shape.blocks > 0) {
      json_.member("blocks", static_cast<std::int64_t>(shape.blocks));
      json_.member("pairs", shape.pairs);
    }
    const std::int64_t busy_ns = event.end_ns - (exchange == nullptr ? event.posted_ns : event.matched_ns);
    if (event.flops > 0) {
      json_.member("flops", event.flops);
      // FLOPs per nanosecond are GFLOP/s, bytes per nanosecond are GB/s.
      if (busy_ns > 0)
        json_.member("gflop_per_s", three_decimals(event.flops / static_cast<double>(busy_ns)));
    }
    const std::int64_t bytes = moved_bytes(program_of(timeline_, event, programs_), instruction.op);
    if (bytes > 0) {
      json_.member("bytes", bytes);
      if (busy_ns > 0) {
        json_.member("gbytes_per_s",
                     three_decimals(static_cast<double>(bytes) / static_cast<double>(busy_ns)));
      }
    }
    json_.close();
  }

  void write_arrow(const Arrow& arrow) {
    const std::int64_t id = ++arrows_;
    const std::int64_t begin = arrow.send->posted_ns;
    // Inside the receiver's slice, so that the viewer binds the arrow to it and not to the slice that
    // follows.
    const std::int64_t end = std::max({begin, arrow.receive->posted_ns, arrow.receive->end_ns - 1});
    const std::string name(to_string(arrow.role));
    write_arrow_end(name, "s", *arrow.send, id, begin, arrow.bytes);
    write_arrow_end(name, "f", *arrow.receive, id, end, arrow.bytes);
  }

  void write_arrow_end(const std::string& name, std::string_view phase, const TimelineEvent& event,
                       std::int64_t id, std::int64_t at_ns, std::int64_t bytes) {
    open_event(name, phase, event.rank, instruction_of(timeline_, event, programs_).stream);
    json_.member("cat", "transfer");
    json_.member("id", id);
    if (phase == "f") json_.member("bp", "e");
    json_.key("ts");
    json_.raw(microseconds(origin_ns_ + at_ns));
    json_.key("args");
    json_.open_object(JsonLayout::compact);
    json_.member("bytes", bytes);
    json_.close();
    json_.close();
  }

  void write_source() {
    json_.key("otherData");
    json_.open_object(JsonLayout::lines);
    json_.member("tool", "strata");
    json_.member("source", timeline_.source);
    json_.member("plan_digest", timeline_.plan_digest);
    json_.member("rank_count", timeline_.rank_count);
    json_.member("device_count", timeline_.device_count);
    json_.member("cores_per_device", timeline_.cores_per_device);
    json_.member("layers", timeline_.layers);
    json_.member("repeats", timeline_.repeats);
    json_.member("linear_included", timeline_.linear_included);
    json_.member("clock_error_ns", timeline_.clock_error_ns);
    json_.member("transfers", arrows_);
    json_.member("transfers_without_receive", matcher_.unmatched());
    json_.close();
  }

  const Timeline& timeline_;
  WavePrograms programs_;
  JsonWriter json_;
  TransferMatcher matcher_;
  std::int64_t origin_ns_ = 0;  ///< where the current repeat begins
  std::int64_t latest_ns_ = 0;
  std::int64_t arrows_ = 0;
};

}  // namespace

void write_chrome_trace(const Timeline& timeline, WavePrograms programs, std::ostream& out) {
  STRATA_CHECK(std::is_sorted(timeline.events.begin(), timeline.events.end(), key_less),
               "the events of timeline \"{}\" are sorted by key", timeline.source);
  TraceWriter(timeline, programs, out).write();
}

void write_chrome_trace(const Timeline& timeline, WavePrograms programs, const std::string& path) {
  write_file_atomically(path, [&](std::ostream& out) { write_chrome_trace(timeline, programs, out); });
}

}  // namespace strata
