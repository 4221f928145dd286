// SPDX-License-Identifier: Apache-2.0
// What strata calibrate measures and how it reads it: the cases cover every operation and level and are
// proved programs, bytes and FLOPs are those counted by hand, samples are the right events of the timeline,
// and both a run on CPU ranks and one on a device (made of queues) give every case its raw durations.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <tuple>

#include "core/base/check.hpp"
#include "core/json/json_document.hpp"
#include "core/verify/verify_programs.hpp"
#include "executor/cpu/cpu_executor.hpp"
#include "executor/job/agreement.hpp"
#include "executor/kernel_arguments.hpp"
#include "tests/support/host_accelerator.hpp"
#include "tools/calibration/calibration_runs.hpp"
#include "tools/calibration/profile_quality.hpp"

namespace strata::tools {
namespace {

ModelShape small_model() {
  ModelShape model = named_model("tiny");
  model.query_heads = 4;
  model.kv_heads = 2;
  model.head_dim = model.value_head_dim = 16;
  return model;
}

/// Two machines of two devices, each of which two ranks share.
RankPlaces two_machines() { return {{0, 0, 0, 0, 1, 1, 1, 1}, {0, 0, 1, 1, 2, 2, 3, 3}}; }

CalibrationGrid small_grid() { return {4, 64, {1e9}, {8192}, {8192}}; }

template <typename Matches>
const CalibrationCase& only(const CalibrationPart& part, Matches matches) {
  const auto is = [&](const CalibrationCase& each) { return matches(each); };
  EXPECT_EQ(std::count_if(part.cases.begin(), part.cases.end(), is), 1);
  return *std::find_if(part.cases.begin(), part.cases.end(), is);
}

TEST(CalibrationQuality, IsTheWorsePassAndUnknownWhereOneHeldNothingOut) {
  const auto fit = [](const std::string& operation, std::int64_t count, double p95) {
    FitReport report{operation, {}};
    report.held_out.count = count;
    report.held_out.p95 = p95;
    return report;
  };
  const FitReport rows = fit("CopyRows", 9, 0.9);
  const FitReport forward = fit("Attention", 5, 0.1), backward = fit("AttentionBackward", 5, 0.2);
  EXPECT_EQ(quality_of({rows, forward, backward}, 0.5), (ProfileQuality{0.2, 0.5}));
  EXPECT_EQ(quality_of({backward, forward}, std::nullopt), (ProfileQuality{0.2, std::nullopt}));
  const ProfileQuality unknown{std::nullopt, 0.5};
  EXPECT_EQ(quality_of({}, 0.5), unknown);
  EXPECT_EQ(quality_of({rows, forward}, 0.5), unknown);
  EXPECT_EQ(quality_of({fit("Attention", 0, 0), backward}, 0.5), unknown);
}

TEST(CalibrationCases, CoverEveryOperationAndEveryLevelThatTheRanksHave) {
  const CalibrationPart part = whole_part(small_model(), two_machines(), small_grid());
  using Exchanged = std::tuple<CaseOperation, LinkLevel, bool, std::vector<std::int32_t>>;
  std::map<Exchanged, int> exchanges;
  std::map<CaseOperation, int> rows;
  std::set<std::tuple<Pass, bool, std::int64_t, std::int64_t>> attention;
  for (const CalibrationCase& each : part.cases) {
    if (each.operation == CaseOperation::attention) {
      EXPECT_EQ(each.ranks, (std::vector<std::int32_t>{0, 2, 4, 6})) << "one rank of every device";
      EXPECT_LE(each.query_length, each.key_length);
      attention.emplace(each.pass, each.causal, each.query_length, each.key_length);
    } else if (is_exchange(each.operation)) {
      ++exchanges[{each.operation, each.level, each.both_ways, each.ranks}];
    } else {
      ++rows[each.operation];
    }
  }
  EXPECT_EQ(attention.size(), 2U * 2U * 3U) << "directions, bands, 16 and 64 tokens of either";
  // 256 to 4,096 bytes by 4; what a rank sends to three or seven others must fit as well.
  const auto point = CaseOperation::point_to_point, all = CaseOperation::all_to_all;
  const std::vector<std::int32_t> everybody{0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(exchanges, (std::map<Exchanged, int>{{{point, LinkLevel::device, false, {0, 1}}, 3},
                                                 {{point, LinkLevel::device, true, {0, 1}}, 3},
                                                 {{point, LinkLevel::node, false, {0, 2}}, 3},
                                                 {{point, LinkLevel::node, true, {0, 2}}, 3},
                                                 {{point, LinkLevel::network, false, {0, 4}}, 3},
                                                 {{point, LinkLevel::network, true, {0, 4}}, 3},
                                                 {{all, LinkLevel::device, false, {0, 1}}, 3},
                                                 {{all, LinkLevel::node, false, {0, 1, 2, 3}}, 2},
                                                 {{all, LinkLevel::network, false, everybody}, 2}}));
  // 256 bytes a row in f32: 1, 4 and 16 rows.
  EXPECT_EQ(rows, (std::map<CaseOperation, int>{{CaseOperation::copy, 3},
                                                {CaseOperation::merge, 3},
                                                {CaseOperation::add, 3},
                                                {CaseOperation::cast, 3},
                                                {CaseOperation::zero, 3},
                                                {CaseOperation::delta, 3}}));
}

TEST(CalibrationCases, AreProvedProgramsThatFillTheirArenas) {
  for (const RankPlaces& places :
       {RankPlaces::on_one_device(1), RankPlaces::on_one_device(4), two_machines()}) {
    const CalibrationPart part = whole_part(small_model(), places, small_grid());
    for (std::size_t w = 0; w < part.execution.waves.size(); ++w) {
      const ExecutableWave& wave = part.execution.waves[w];
      ASSERT_EQ(std::ssize(wave.programs), places.count());
      for (const Violation& violation : verify_programs(wave.programs, "wave")) {
        ADD_FAILURE() << "wave " << w << ": " << violation.place << ": " << violation.message;
      }
      for (const RankProgram& program : wave.programs) EXPECT_NO_THROW(check_arena(program));
    }
  }
}

TEST(CalibrationCases, BytesAndFlopsAreThoseCountedByHand) {
  const ModelShape tiny = named_model("tiny");  // 4:2 heads of 64, f32
  const CalibrationPart part = whole_part(tiny, two_machines(), {16, 256, {1e9}, {1 << 16}, {1 << 16}});
  const auto attention = [&](Pass pass, bool causal) {
    return only(part,
                [&](const CalibrationCase& each) {
                  return each.operation == CaseOperation::attention && each.pass == pass &&
                         each.causal == causal && each.query_length == 16 && each.key_length == 256;
                })
        .flops.count;
  };
  // Query i of 16 sees 240 + i + 1 of 256 keys, so that the last one sees all.
  const double full = 16.0 * 256, causal = 16.0 * 240 + 136;
  EXPECT_EQ(attention(Pass::forward, false), full * 4 * 2 * (64 + 64));
  EXPECT_EQ(attention(Pass::forward, true), causal * 4 * 2 * (64 + 64));
  EXPECT_EQ(attention(Pass::backward, true), causal * 4 * (8 * 64 + 6 * 64));
  const auto rows = [&](CaseOperation operation) {
    return only(part,
                [&](const CalibrationCase& each) { return each.operation == operation && each.rows == 16; })
        .bytes.count;
  };
  EXPECT_EQ(rows(CaseOperation::zero), 16 * 4 * 64 * 4);
  EXPECT_EQ(rows(CaseOperation::copy), 16 * 2 * (2 * 128 * 4));
  EXPECT_EQ(rows(CaseOperation::cast), 16 * 2 * (2 * 128 * 4));
  EXPECT_EQ(rows(CaseOperation::add), 16 * 3 * (2 * 128 * 4)) << "two are read, one is written";
  EXPECT_EQ(rows(CaseOperation::merge), 16 * 3 * (4 * 64 * 4 + 4 * 4)) << "two parts and the result";
  EXPECT_EQ(rows(CaseOperation::delta), 16 * (2 * 4 * 64 * 4 + 4 * 4));
  const auto exchange = [&](CaseOperation operation, LinkLevel level) {
    return only(part, [&](const CalibrationCase& each) {
      return each.operation == operation && each.level == level && each.message.count == 4096 &&
             !each.both_ways;
    });
  };
  EXPECT_EQ(exchange(CaseOperation::point_to_point, LinkLevel::network).bytes.count, 4096);
  EXPECT_EQ(exchange(CaseOperation::all_to_all, LinkLevel::node).bytes.count, 3 * 4096);
  EXPECT_EQ(exchange(CaseOperation::all_to_all, LinkLevel::network).bytes.count, 7 * 4096);
}

TEST(CalibrationCases, AreTheSameInEveryProcessAndOthersForOtherRanks) {
  const auto identity = [](const RankPlaces& places) {
    return identify_run(whole_part(small_model(), places, small_grid()).execution, {}).items;
  };
  const RankPlaces hosts = RankPlaces::on_hosts({"b", "a", "b", "a"});
  EXPECT_EQ(hosts.node, (std::vector<std::int32_t>{0, 1, 0, 1}));
  EXPECT_EQ(hosts.level(0, 2), LinkLevel::node);
  EXPECT_EQ(hosts.level(0, 3), LinkLevel::network);
  EXPECT_EQ(identity(hosts), identity(RankPlaces::on_hosts({"x", "y", "x", "y"})));
  EXPECT_NE(identity(hosts), identity(RankPlaces::on_hosts({"x", "x", "y", "y"})));
}

TEST(CalibrationCases, ThoroughOnesHaveFewerHeadsAndOtherDimensionsToo) {
  const ModelShape model = named_model("llama3_8b");
  EXPECT_EQ(calibrated_models(model, Fineness::normal), std::vector<ModelShape>{model});
  EXPECT_EQ(calibrated_models(model, Fineness::quick).size(), 2U);
  std::vector<std::tuple<int, int, int>> shapes;
  for (const ModelShape& each : calibrated_models(model, Fineness::thorough)) {
    shapes.emplace_back(each.query_heads, each.kv_heads, each.head_dim);
  }
  EXPECT_EQ(
      shapes,
      (std::vector<std::tuple<int, int, int>>{
          {32, 8, 128}, {16, 4, 128}, {8, 2, 128}, {4, 1, 128}, {32, 8, 64}, {32, 8, 192}, {32, 8, 256}}));
}

TEST(CalibrationCases, OfAGpuFitItsMemoryWhateverTheModel) {
  ModelShape many_keys = named_model("llama3_8b");
  many_keys.kv_heads = many_keys.query_heads;
  many_keys.element_type = ElementType::f32;
  for (const ModelShape& model : {named_model("tiny"), named_model("llama3_70b"), many_keys}) {
    for (const std::int64_t gibibytes : {4, 24}) {
      const Bytes free{gibibytes << 30};
      const RankPlaces places = RankPlaces::on_one_device(kRanksOfOneDevice);
      const CalibrationGrid grid = gpu_grid(Fineness::normal, model, free, "tensor_core");
      const CalibrationPart part = whole_part(model, places, grid);
      std::int64_t arenas = 0;
      for (std::size_t rank = 0; rank < kRanksOfOneDevice; ++rank) {
        Bytes largest;
        for (const ExecutableWave& wave : part.execution.waves) {
          largest = std::max(largest, wave.programs[rank].arena);
        }
        arenas += largest.count;
      }
      EXPECT_LT(arenas, free.count);
      EXPECT_GT(arenas, std::int64_t{1} << 30) << "sizes that a GPU has something to do with";
    }
  }
}

/// Two repeats of three layers in which every event has a time of its own.
Timeline numbered_timeline(const Execution& execution) {
  Timeline timeline;
  timeline.layers = 3;
  timeline.repeats = 2;
  timeline.rank_count = static_cast<std::int32_t>(execution.waves.front().programs.size());
  for (std::int32_t repeat = 0; repeat < 2; ++repeat) {
    for (std::int32_t wave = 0; wave < std::ssize(execution.waves); ++wave) {
      for (std::int32_t layer = 0; layer < 3; ++layer) {
        for (const RankProgram& program : execution.waves[static_cast<std::size_t>(wave)].programs) {
          for (const Pass pass : {Pass::forward, Pass::backward}) {
            for (std::int32_t i = 0; i < std::ssize(program.instructions(pass)); ++i) {
              TimelineEvent event{repeat, wave, layer, pass, program.rank, i};
              event.posted_ns = 1000 + 7 * program.rank;
              event.end_ns = event.posted_ns + 100 * repeat + 10 * layer + program.rank + 1;
              timeline.events.push_back(event);
            }
          }
        }
      }
    }
  }
  std::sort(timeline.events.begin(), timeline.events.end(), key_less);
  return timeline;
}

TEST(CalibrationSamples, LeaveOutTheFirstPassAndCountExchangesFromTheLastRank) {
  const CalibrationPart part =
      whole_part(small_model(), RankPlaces::on_hosts({"a", "a"}), {16, 16, {1e9}, {256}, {256}});
  const Timeline timeline = numbered_timeline(part.execution);
  using Durations = std::vector<std::int64_t>;
  for (const Sample& sample : read_samples(part, timeline)) {
    const bool backward = sample.what.pass == Pass::backward;
    // Backward runs from the last layer to the first, so that layer 2 is its warm-up.
    const Durations first = backward ? Durations{11, 1, 111, 101} : Durations{11, 21, 111, 121};
    if (is_exchange(sample.what.operation)) {
      // Rank 1 posts 7 ns after rank 0 and takes 1 ns longer: it begins and ends the exchange.
      ASSERT_EQ(sample.series.size(), 1U);
      EXPECT_EQ(sample.series[0].rank, -1);
      EXPECT_EQ(sample.series[0].durations_ns,
                (backward ? Durations{12, 2, 112, 102} : Durations{12, 22, 112, 122}));
      EXPECT_EQ(sample.rate(), 256.0 / (backward ? 12 : 22) * 1e9);
    } else {
      ASSERT_EQ(sample.series.size(), 2U);
      EXPECT_EQ(sample.series[0].rank, 0);
      EXPECT_EQ(sample.series[0].durations_ns, first);
      EXPECT_EQ(sample.series[1].durations_ns[0], first[0] + 1);
      EXPECT_EQ(sample.min_ns, first[backward ? 1 : 0]);
      EXPECT_EQ(sample.max_ns, first[backward ? 2 : 3] + 1);
    }
  }
}

TEST(CalibrationSamples, AMissingEventIsAnInternalError) {
  const CalibrationPart part =
      whole_part(small_model(), RankPlaces::on_one_device(1), {16, 16, {1e9}, {256}, {256}});
  Timeline timeline = numbered_timeline(part.execution);
  std::erase_if(timeline.events, [](const TimelineEvent& event) { return event.repeat == 1; });
  EXPECT_THROW(read_samples(part, timeline), InternalError);
}

void expect_durations(const std::vector<Sample>& samples, std::size_t count) {
  for (const Sample& sample : samples) {
    EXPECT_EQ(sample.series.size(), is_exchange(sample.what.operation) ? 1U : sample.what.ranks.size());
    for (const SampleSeries& series : sample.series) {
      EXPECT_EQ(series.durations_ns.size(), count) << to_string(sample.what.operation);
      for (const std::int64_t ns : series.durations_ns) {
        EXPECT_GT(ns, 0) << to_string(sample.what.operation);
        EXPECT_TRUE(sample.min_ns <= ns && ns <= sample.max_ns);
      }
    }
    EXPECT_TRUE(sample.min_ns <= sample.median_ns && sample.median_ns <= sample.max_ns);
  }
}

TEST(CalibrationSamples, ARunOnCpuRanksGivesEveryCaseItsDurations) {
  for (const ElementType type : {ElementType::f32, ElementType::bf16, ElementType::f16}) {
    ModelShape model = small_model();
    model.element_type = type;
    const CalibrationPart part =
        whole_part(model, RankPlaces::on_hosts({"a", "b", "a"}), cpu_grid(Fineness::quick));
    CpuOptions options;
    options.threads = 2;
    options.layers = 3;
    options.repeats = 2;
    options.keep_results = false;
    options.poison = true;
    const RunResult result = run_on_cpu(part.execution, options);
    const std::vector<Sample> samples = read_samples(part, result.timeline);
    ASSERT_EQ(samples.size(), part.cases.size());
    expect_durations(samples, 4);
  }
}

TEST(CalibrationSamples, ARunOnADeviceGivesEveryCaseItsDurationsAndAFileOfThem) {
  SamplesRequest request;
  request.model = small_model();
  request.fineness = Fineness::quick;
  int opened = 0;
  Output output;
  output.quiet = true;
  const SamplesFile file = measure_on_device(
      request,
      [&]() -> std::unique_ptr<Accelerator> {
        ++opened;
        return std::make_unique<testing::HostAccelerator>(testing::HostAcceleratorOptions{});
      },
      output);
  EXPECT_EQ(opened, 2);
  ASSERT_EQ(file.models.size(), 2U) << "with half the heads too";
  EXPECT_EQ(file.models[1].model.query_heads, 2);
  EXPECT_EQ(file.models[0].kernel, "plain");
  std::int64_t samples = 0;
  for (const MeasuredModel& measured : file.models) {
    expect_durations(measured.samples, 4);
    samples += std::ssize(measured.samples);
  }
  const std::string text = samples_text(file);
  const JsonDocument document = JsonDocument::parse_text(text, "samples");
  EXPECT_NE(
      text.find(R"("operation":"all_to_all","direction":"both_ways","level":"device","ranks":[0,1,2,3],)"
                R"("message_bytes":256,"sent_bytes_per_rank":768,)"),
      std::string::npos);
  const std::string table = samples_table(file);
  for (const char* part : {"attention ", "rows of ", "exchange "}) {
    EXPECT_NE(table.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n') + 1, samples + 5)
      << "three headers, two empty lines, a line for every sample";
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    std::string rate = line.substr(line.rfind(' ') + 1);
    if (rate.empty() || rate.find_first_not_of("0123456789.") != std::string::npos) continue;
    std::erase(rate, '.');
    EXPECT_GE(rate.size() - std::min(rate.size(), rate.find_first_not_of('0')), 3U) << line;
  }
}

}  // namespace
}  // namespace strata::tools
