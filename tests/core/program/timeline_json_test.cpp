// SPDX-License-Identifier: Apache-2.0
// Timeline files: round trip, order, and bad events by their whole message.
#include "core/program/timeline_json.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "tests/core/json/bad_input.hpp"

namespace strata {
namespace {

Timeline sample() {
  Timeline timeline{"simulator", "abcd", 2, 4, 8, 3, 2, true, 1500, {}};
  for (std::int32_t repeat = 0; repeat < 2; ++repeat) {
    for (std::int32_t rank = 0; rank < 8; ++rank) {
      for (const Pass pass : {Pass::forward, Pass::backward}) {
        for (std::int32_t i = 0; i < 3; ++i) {
          const std::int64_t start = 1'000'000'000'000LL * repeat + 100 * i + rank;
          timeline.events.push_back(
              {repeat, 0, 1, pass, rank, i, start, start + 5, start + 50, 4096 * i, 1.5e18 * i});
        }
      }
    }
  }
  std::sort(timeline.events.begin(), timeline.events.end(), key_less);
  return timeline;
}

std::string text_of(const Timeline& timeline) {
  std::ostringstream out;
  write_timeline(timeline, out);
  return out.str();
}

Timeline read(const std::string& text) {
  std::istringstream in(text);
  return read_timeline(in, "t.json");
}

std::string error_of(const std::string& from, const std::string& to) {
  return test::input_error([&] { read(test::edited(text_of(sample()), from, to)); });
}

TEST(TimelineJson, ReadsBackWhatItWrote) {
  EXPECT_EQ(read(text_of(sample())), sample());
  EXPECT_EQ(text_of(read(text_of(sample()))), text_of(sample()));
  EXPECT_EQ(read(text_of(Timeline{})), Timeline{});
}

TEST(TimelineJson, StatesTheDevicesOfRanksThatWereNotSplitEvenly) {
  EXPECT_EQ(text_of(sample()).find("rank_device"), std::string::npos);
  EXPECT_EQ(sample().device(3), 0);
  EXPECT_EQ(sample().device(4), 1);
  Timeline uneven = sample();
  uneven.rank_device = {0, 0, 0, 0, 0, 0, 1, 1};
  EXPECT_EQ(uneven.device(4), 0);
  EXPECT_EQ(read(text_of(uneven)), uneven);
  const auto error = [&](const std::string& to) {
    return test::input_error([&] { read(test::edited(text_of(uneven), "[0,0,0,0,0,0,1,1]", to)); });
  };
  EXPECT_EQ(error("[0,0,0,0,0,0,1]"), "t.json: rank_device: found 7 devices, expected 8, one per rank");
  EXPECT_EQ(error("[0,0,0,0,0,0,1,2]"), "t.json: rank_device[7]: found 2, expected an integer from 0 to 1");
}

TEST(TimelineJson, PutsOneEventOnALine) {
  EXPECT_NE(text_of(sample()).find("\n    [0,0,1,0,0,1,100,105,150,4096,1.5e+18],\n"), std::string::npos);
}

TEST(TimelineJson, NamesWhatIsWrong) {
  EXPECT_EQ(error_of("[0,0,1,0,0,1,100,105,150,4096,1.5e+18]", "[0,0,1,0,0,1,100,105,150,4096]"),
            "t.json: events[1]: found 10 numbers, expected 11, as 'columns' says");
  EXPECT_EQ(error_of("[0,0,1,0,0,1,100,105,150,4096", "[0,0,1,0,0,1,100,99,150,4096"),
            "t.json: events[1]: found times 100, 99, 150, expected posted <= matched <= end");
  EXPECT_EQ(error_of("[0,0,1,0,0,1,100", "[0,0,1,0,0,0,100"),
            "t.json: events[1]: found an event that does not come after the one before it, expected events "
            "sorted by "
            "key, each key once");
  EXPECT_EQ(error_of("[0,0,1,0,0,1,100", "[0,0,1,2,0,1,100"),
            "t.json: events[1][3]: found 2, expected an integer from 0 to 1");
  EXPECT_EQ(error_of("\"matched_ns\"", "\"met_ns\""),
            "t.json: columns[7]: found \"met_ns\", expected \"matched_ns\"");
  EXPECT_EQ(error_of("\"format_version\": 2", "\"format_version\": 3"),
            "t.json: format_version: found 3, expected 2, the only timeline format that this version of "
            "Strata reads");
  EXPECT_EQ(error_of("\"clock_error_ns\": 1500", "\"clock_error_ns\": -1"),
            "t.json: clock_error_ns: found -1, expected an integer of at least 0");
  EXPECT_EQ(error_of("true", "1"), "t.json: linear_included: found 1, expected true or false");
}

TEST(Timeline, EndsWithItsLastEvent) {
  EXPECT_EQ(sample().makespan(0), Duration{257});
  EXPECT_EQ(sample().makespan(1), Duration{1'000'000'000'257});
  EXPECT_EQ(sample().makespan(2), Duration{0});
}

}  // namespace
}  // namespace strata
