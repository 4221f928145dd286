// SPDX-License-Identifier: Apache-2.0
// A trace is read back with the strict JSON reader and must say what the timeline says: every event a slice
// on its rank and stream, every transfer one arrow that begins in the sender's slice and ends in the
// receiver's.
#include "traces/timelines/chrome_trace.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <sstream>

#include "core/json/json_document.hpp"
#include "tests/core/json/bad_input.hpp"
#include "tests/traces/lengths/made_files.hpp"
#include "tests/traces/timelines/small_run.hpp"

namespace strata {
namespace {

std::string trace_of(const Timeline& timeline) {
  std::ostringstream out;
  write_chrome_trace(timeline, test::small_programs(), out);
  return out.str();
}

std::optional<JsonValue> find(const JsonValue& object, std::string_view key) {
  for (const JsonValue member : object.members()) {
    if (member.key() == key) return member;
  }
  return std::nullopt;
}
JsonValue at(const JsonValue& object, std::string_view key) {
  const auto value = find(object, key);
  if (!value) throw std::runtime_error("no " + std::string(key) + " in " + object.canonical_text());
  return *value;
}
std::int64_t nanoseconds(const JsonValue& microseconds) { return std::llround(microseconds.number() * 1000); }

struct Slice {
  std::int64_t begin_ns, end_ns;
  std::int64_t rank, stream;
  std::string name;
};

struct ParsedTrace {
  JsonDocument document;
  std::vector<Slice> slices;
  std::map<std::int64_t, std::vector<JsonValue>> arrows;  ///< by id, in file order
  std::vector<JsonValue> metadata;

  explicit ParsedTrace(const std::string& text) : document(JsonDocument::parse_text(text, "trace.json")) {
    for (const JsonValue event : at(document.root(), "traceEvents").items()) {
      const std::string_view phase = at(event, "ph").string();
      const std::int64_t rank = at(event, "pid").integer(0, 1), stream = at(event, "tid").integer(0, 1);
      if (phase == "M") {
        metadata.push_back(event);
      } else if (phase == "X") {
        const std::int64_t begin = nanoseconds(at(event, "ts"));
        slices.push_back({begin, begin + nanoseconds(at(event, "dur")), rank, stream,
                          std::string(at(event, "name").string())});
      } else {
        arrows[at(event, "id").integer(1, 1'000'000)].push_back(event);
      }
    }
  }

  bool some_slice_holds(const JsonValue& arrow_end) const {
    const std::int64_t when = nanoseconds(at(arrow_end, "ts"));
    for (const Slice& slice : slices) {
      if (slice.rank == at(arrow_end, "pid").integer(0, 1) &&
          slice.stream == at(arrow_end, "tid").integer(0, 1) && slice.begin_ns <= when &&
          when <= slice.end_ns) {
        return true;
      }
    }
    return false;
  }
};

TEST(ChromeTrace, EveryEventIsASliceOnItsRankAndStream) {
  const ParsedTrace trace(trace_of(test::small_timeline()));
  ASSERT_EQ(trace.slices.size(), 8U);
  EXPECT_EQ(trace.slices[0].name, "Exchange step 0");
  EXPECT_EQ(trace.slices[0].stream, lane_stream(0));
  EXPECT_EQ(trace.slices[0].begin_ns, 0);
  EXPECT_EQ(trace.slices[0].end_ns, 13'000);
  EXPECT_EQ(trace.slices[2].name, "Attention");
  EXPECT_EQ(trace.slices[2].stream, kComputeStream);
  EXPECT_EQ(trace.slices[2].begin_ns, 13'000);
  EXPECT_EQ(trace.slices[7].name, "AttentionBackward");
  EXPECT_EQ(trace.slices[7].rank, 1);
}

TEST(ChromeTrace, LinesSayWorkAndRates) {
  const std::string text = trace_of(test::small_timeline());
  EXPECT_NE(
      text.find(
          R"({"name":"Exchange step 0","ph":"X","pid":0,"tid":1,"cat":"forward","ts":0.000,"dur":13.000,)"
          R"("args":{"kind":"Exchange","instruction":0,"repeat":0,"wave":0,"layer":0,"pass":"forward",)"
          R"("step":0,"lane":0,"waited_us":3.000,"bytes":256,"gbytes_per_s":0.026}})"),
      std::string::npos)
      << text;
  EXPECT_NE(
      text.find(
          R"({"name":"Attention","ph":"X","pid":0,"tid":0,"cat":"forward","ts":0.000,"dur":8.000,)"
          R"("args":{"kind":"Attention","instruction":1,"repeat":0,"wave":0,"layer":0,"pass":"forward",)"
          R"("blocks":1,"pairs":20,"flops":64000,"gflop_per_s":8}})"),
      std::string::npos)
      << text;
}

TEST(ChromeTrace, EveryTransferIsOneArrowFromSendToReceive) {
  const ParsedTrace trace(trace_of(test::small_timeline()));
  ASSERT_EQ(trace.arrows.size(), 2U) << "one each way, though each has two parts";
  for (const auto& [id, ends] : trace.arrows) {
    ASSERT_EQ(ends.size(), 2U) << "arrow " << id;
    EXPECT_EQ(at(ends[0], "ph").string(), "s");
    EXPECT_EQ(at(ends[1], "ph").string(), "f");
    EXPECT_EQ(at(ends[1], "bp").string(), "e");
    EXPECT_EQ(at(ends[0], "name").string(), at(ends[1], "name").string());
    EXPECT_NE(at(ends[0], "pid").integer(0, 1), at(ends[1], "pid").integer(0, 1));
    EXPECT_LE(nanoseconds(at(ends[0], "ts")), nanoseconds(at(ends[1], "ts")));
    EXPECT_EQ(at(at(ends[0], "args"), "bytes").integer(0, 1000), 256);
    EXPECT_TRUE(trace.some_slice_holds(ends[0]));
    EXPECT_TRUE(trace.some_slice_holds(ends[1]));
  }
  const JsonValue other = at(trace.document.root(), "otherData");
  EXPECT_EQ(at(other, "transfers").integer(0, 10), 2);
  EXPECT_EQ(at(other, "transfers_without_receive").integer(0, 10), 0);
  EXPECT_EQ(at(other, "plan_digest").string(), "0123abcd");
  EXPECT_EQ(at(other, "source").string(), "simulator");
}

TEST(ChromeTrace, ASendWhoseReceiveIsMissingIsCountedAndHasNoArrow) {
  Timeline timeline = test::small_timeline();
  timeline.events.erase(timeline.events.begin() + 3);  // rank 1's exchange
  const ParsedTrace trace(trace_of(timeline));
  EXPECT_TRUE(trace.arrows.empty());
  EXPECT_EQ(at(at(trace.document.root(), "otherData"), "transfers_without_receive").integer(0, 10), 1);
}

TEST(ChromeTrace, RanksAndStreamsAreNamed) {
  const ParsedTrace trace(trace_of(test::small_timeline()));
  std::map<std::pair<std::int64_t, std::int64_t>, std::string> threads;
  std::map<std::int64_t, std::string> processes;
  for (const JsonValue event : trace.metadata) {
    const std::int64_t rank = at(event, "pid").integer(0, 1);
    if (at(event, "name").string() == "process_name")
      processes[rank] = at(at(event, "args"), "name").string();
    if (at(event, "name").string() == "thread_name") {
      threads[{rank, at(event, "tid").integer(0, 1)}] = at(at(event, "args"), "name").string();
    }
  }
  EXPECT_EQ(processes,
            (std::map<std::int64_t, std::string>{{0, "rank 0 on device 0"}, {1, "rank 1 on device 1"}}));
  EXPECT_EQ(threads, (std::map<std::pair<std::int64_t, std::int64_t>, std::string>{
                         {{0, 0}, "compute"}, {{0, 1}, "lane 0"}, {{1, 0}, "compute"}, {{1, 1}, "lane 0"}}));
}

TEST(ChromeTrace, RepeatsFollowOneAnother) {
  Timeline timeline = test::small_timeline();
  const std::vector<TimelineEvent> first = timeline.events;
  for (TimelineEvent event : first) {
    event.repeat = 1;
    timeline.events.push_back(event);
  }
  const ParsedTrace trace(trace_of(timeline));
  ASSERT_EQ(trace.slices.size(), 16U);
  EXPECT_EQ(trace.slices[8].begin_ns, 44'000 + 10'000);
  EXPECT_EQ(trace.arrows.size(), 4U);
}

TEST(ChromeTrace, EqualInputsGiveEqualBytesAndTheFileIsWhole) {
  const std::string path =
      (std::filesystem::path(::testing::TempDir()) / "strata_chrome_trace.json").string();
  write_chrome_trace(test::small_timeline(), test::small_programs(), path);
  EXPECT_EQ(test::file_bytes(path), trace_of(test::small_timeline()));
  EXPECT_EQ(trace_of(test::small_timeline()), trace_of(test::small_timeline()));
  std::filesystem::remove(path);
}

TEST(ChromeTrace, EventsOfAnotherPlanAreRefused) {
  Timeline timeline = test::small_timeline();
  timeline.events.back().instruction = 1;
  EXPECT_EQ(
      test::input_error([&] { trace_of(timeline); }),
      "timeline \"simulator\": found instruction 1 of wave 0, backward, rank 1, expected the program's 1 "
      "instruction");
  timeline = test::small_timeline();
  timeline.events.back().rank = 2;
  EXPECT_EQ(test::input_error([&] { trace_of(timeline); }),
            "timeline \"simulator\": found an event of rank 2, expected the plan's 2 ranks");
  timeline.events.back().wave = 1;
  EXPECT_NE(test::input_error([&] { trace_of(timeline); }).find("wave 1"), std::string::npos);
}

}  // namespace
}  // namespace strata
