// SPDX-License-Identifier: Apache-2.0
// Damaged input files through the command line: each kind of damage to each kind of file gives its one line,
// exit code 2, nothing on stdout (with --json too), and neither a partial output nor a temporary file.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

struct Damage {
  std::string from, to, message;
};

/// One kind of file: a good one, and a command that reads it as x.json.
class BadFile : public testing::Test {
 protected:
  void SetUp() override {
    work_.write("b.jsonl", "{\"step\": 0, \"packs\": [[40, 24], [33]]}\n");
    work_.expect(0, "plan --batch b.jsonl --topology cpu:1x4:2 --model tiny --strategy ring -o plan.json");
    work_.expect(0, "simulate plan.json --attention-only --timeline t.json");
  }

  /// Each damage to `good` alone. The command must also leave alone the output that exists already.
  void expect_refused(const std::string& good, const std::string& command,
                      const std::vector<Damage>& damages) {
    work_.write("x.json", good);
    ASSERT_EQ(work_.strata(command).code, 0) << command << ": the good file must be accepted";
    work_.write("o.json", "what was there before");
    const std::vector<std::string> files = work_.files();
    for (const Damage& damage : damages) {
      std::string text = good;
      const auto at = text.find(damage.from);
      ASSERT_NE(at, std::string::npos) << damage.from;
      work_.write("x.json", text.replace(at, damage.from.size(), damage.to));
      expect_line(command, damage.message);
      expect_line(command + " --json", damage.message);
      EXPECT_EQ(work_.read("o.json"), "what was there before") << damage.to;
      EXPECT_EQ(work_.files(), files) << damage.to;
    }
    expect_no_json(good, command);
  }

  void expect_line(const std::string& command, const std::string& message) {
    const Finished finished = work_.expect(2, command);
    EXPECT_EQ(finished.err, "strata: x.json" + message + "\n") << command;
    EXPECT_EQ(finished.out, "") << command;
  }

  /// Cut at any of ten places, nested without end, empty, foreign: refused whatever the words.
  void expect_no_json(const std::string& good, const std::string& command) {
    std::vector<std::string> texts = {"", std::string(100'000, '['), std::string(1'000'000, '{'),
                                      "\x7f"
                                      "ELF\x02\x01"};
    for (std::size_t part = 1; part < 10; ++part) texts.push_back(good.substr(0, good.size() * part / 10));
    for (const std::string& text : texts) {
      work_.write("x.json", text);
      const Finished finished = work_.expect(2, command);
      EXPECT_EQ(finished.err.rfind("strata: x.json", 0), 0U) << finished.err;
      EXPECT_EQ(finished.err.find('\n'), finished.err.size() - 1) << "one line: " << finished.err;
      EXPECT_LT(finished.err.size(), 400U) << "a line to read: " << finished.err;
      EXPECT_EQ(work_.read("o.json"), "what was there before");
    }
  }

  static std::string compact(const std::string& json, const std::string& way) {
    const JsonDocument document = parsed(json);
    return way.empty() ? document.root().canonical_text() : member(document, way).canonical_text();
  }

  Workspace work_;
};

const std::string kTooLong(std::size_t{2} << 20, 'a');

TEST_F(BadFile, ATopologyIsRefusedWithTheFieldAndWhatItHolds) {
  const std::string good = work_.expect(0, "topo cpu:2x2 --json").out;
  expect_refused(
      good, "topo x.json",
      {
          {R"("relative_speed":1,)", R"("relative_speed":1,"colour":"red",)",
           ": devices[0].colour: found an unknown field, expected one of name, node, cores, relative_speed, "
           "memory_bytes"},
          {R"("nodes":["host0","host1"],)", "", ": found no field 'nodes', expected a list of node names"},
          {R"("cores":2,)", R"("cores":2,"cores":2,)",
           ": devices[0].cores: found field 'cores' twice, expected every field once"},
          {R"("cores":2,)", R"("cores":"2",)",
           ": devices[0].cores: found \"2\", expected an integer from 1 to 2147483647"},
          {R"("cores":2,)", R"("cores":-2,)",
           ": devices[0].cores: found -2, expected an integer from 1 to 2147483647"},
          {R"("cores":2,)", R"("cores":2.5,)",
           ": devices[0].cores: found 2.5, expected an integer from 1 to 2147483647"},
          {R"("cores":2,)", R"("cores":99999999999999999999999,)",
           ": devices[0].cores: found 99999999999999999999999, expected an integer of at most 64 bits"},
          {R"("relative_speed":1,)", R"("relative_speed":NaN,)",
           ": line 1, column 112: found syntax error while parsing value - invalid literal; last read: "
           "'\"relative_speed\":N', expected JSON"},
          {R"("bandwidth_gbytes_per_s":10)", R"("bandwidth_gbytes_per_s":1e999)",
           ": links[0].bandwidth_gbytes_per_s: found number overflow parsing '1e999', expected a finite "
           "number"},
          {R"("bandwidth_gbytes_per_s":10)", R"("bandwidth_gbytes_per_s":0)",
           ": found links[0].bandwidth = 0 bytes/s, expected above 0"},
          {R"("bandwidth_gbytes_per_s":10)", R"("bandwidth_gbytes_per_s":2147483647)",
           ": found links[0].bandwidth = 2.147483647e+18 bytes/s, expected 1000 to 1000000000000000"},
          {R"("relative_speed":1,)", R"("relative_speed":1e-300,)",
           ": found devices[0].relative_speed = 1e-300, expected 0.001 to 1000"},
          {R"("cores":2,)", R"("cores":2147483647,)",
           ": found devices[0].cores = 2147483647, expected 1 to 65536"},
          {R"("to":2)", R"("to":77)", ": found links[0].to = 77, expected 0 to 2"},
          {R"("devices":[0])", R"("devices":[9])", ": found ranks[0].devices[0] = 9, expected 0 to 1"},
          {R"("name":"cpu:2x2")", "\"name\":\"" + kTooLong + "\"",
           ": name: found a string of 2097152 bytes, expected at most 1048576"},
      });
}

TEST_F(BadFile, RanksWithoutARouteAreRefused) {
  std::string text = work_.expect(0, "topo cpu:2x2 --json").out;
  const auto links = text.find("\"links\":[") + 9;
  text.erase(links, text.find("],\"ranks\"") - links);
  work_.write("x.json", text);
  const std::string message =
      ": found no route from rank 0 to rank 2, expected links between the devices of all ranks, in both "
      "directions";
  expect_line("topo x.json", message);
  expect_line("plan --batch b.jsonl --topology x.json --model tiny -o o.json", message);
  EXPECT_FALSE(work_.has("o.json"));
}

TEST_F(BadFile, AModelIsRefusedWithTheFieldAndWhatItHolds) {
  expect_refused(
      compact(work_.read("plan.json"), "inputs.model.content"),
      "plan --batch b.jsonl --topology cpu:1x2 --model x.json -o o.json",
      {
          {R"("layers":2)", R"("colour":1,"layers":2)",
           ": colour: found an unknown field, expected one of layers, hidden, experts, ffn, ffn_matrices, "
           "vocabulary, tied_embeddings, query_heads, kv_heads, head_dim, value_head_dim, latent, "
           "element_type, "
           "attention, mask"},
          {R"("layers":2,)", "", ": found no field 'layers', expected an integer"},
          {R"("layers":2)", R"("layers":2,"layers":2)",
           ": layers: found field 'layers' twice, expected every field once"},
          {R"("layers":2)", R"("layers":"2")",
           ": layers: found \"2\", expected an integer from 1 to 1048576"},
          {R"("layers":2)", R"("layers":-2)", ": layers: found -2, expected an integer from 1 to 1048576"},
          {R"("layers":2)", R"("layers":9223372036854775808)",
           ": layers: found 9223372036854775808, expected an integer from 1 to 1048576"},
          {R"("layers":2)", R"("layers":NaN)",
           ": line 1, column 103: found syntax error while parsing value - invalid literal; last read: "
           "'\"layers\":N', expected JSON"},
          {R"("kv_heads":2)", R"("kv_heads":3)",
           ": found 4 query heads and 3 KV heads, expected query heads that are a multiple of the KV heads"},
          {R"("element_type":"f32")", R"("element_type":"f8")",
           ": element_type: found \"f8\", expected \"f32\" or \"bf16\" or \"f16\" or \"fp32\" or \"fp16\""},
          {R"("attention":"dense")", R"("attention":"dence")",
           ": attention: found \"dence\", expected \"dense\" or \"window\""},
      });
}

TEST_F(BadFile, ABatchIsRefusedWithTheLineTheFieldAndWhatItHolds) {
  expect_refused(
      work_.read("b.jsonl"), "plan --batch x.json --topology cpu:1x2 --model tiny -o o.json",
      {
          {R"("step")", R"("stepp")", ": line 1: stepp: found an unknown field, expected 'step'"},
          {R"("packs": [[40, 24], [33]])", R"("pieces": 3)",
           ": line 1: found the keys \"step\", \"pieces\", expected one of length, seq_len, seqlen, "
           "num_tokens, "
           "n_tokens, token_count, total_lengths, seq_lengths, input_length + output_length, ContextTokens + "
           "GeneratedTokens, num_prefill_tokens + num_decode_tokens, input_ids, or borders such as "
           "cu_seqlens"},
          {R"("step": 0)", R"("step": 0, "step": 0)",
           ": line 1: step: found field 'step' twice, expected every field once"},
          {R"("step": 0)", R"("step": "0")",
           ": line 1: step: found \"0\", expected an integer of at least 0"},
          {"40", "-40", ": line 1: packs[0][0]: found -40, expected an integer from 1 to 2147483647"},
          {"40", "0", ": line 1: packs[0][0]: found 0, expected an integer from 1 to 2147483647"},
          {"40", "40.5", ": line 1: packs[0][0]: found 40.5, expected an integer from 1 to 2147483647"},
          {"40", "99999999999999999999",
           ": line 1: packs[0][0]: found 99999999999999999999, expected an integer of at most 64 bits"},
          {"40", "NaN",
           ": line 1, column 24: found syntax error while parsing value - invalid literal; last read: "
           "'\"packs\": "
           "[[N', expected JSON"},
          {"[[40, 24], [33]]", "[]", ": found no lengths, expected at least one"},
          {"[[40, 24], [33]]", "[[]]", ": found no lengths, expected at least one"},
          {"]}", "], \"documents\": [3]}",
           ": line 1: found both 'packs' and 'documents', expected one of them"},
      });
}

TEST_F(BadFile, AProfileIsRefusedWithTheFieldAndWhatItHolds) {
  expect_refused(
      compact(work_.read("plan.json"), "inputs.profile.content"),
      "plan --batch b.jsonl --topology cpu:1x2 --model tiny --profile x.json -o o.json",
      {
          {R"("samples")", R"("colour":1,"samples")",
           ": provenance.colour: found an unknown field, expected one of device, date, tool_version, "
           "instruction_set, threads, measured, fit_error, held_out_error, samples, quality, notes"},
          {R"("measured":false,)", "", ": provenance: found no field 'measured', expected true or false"},
          {R"("measured":false)", R"("measured":0)",
           ": provenance.measured: found 0, expected true or false"},
          {R"("threads")", R"("threads":1,"threads")",
           ": provenance.threads: found field 'threads' twice, expected every field once"},
          {R"("launch_ns":2000)", R"("launch_ns":-2000)",
           ": attention[0].launch_ns: found -2000, expected a number from 0 to 1e+30"},
          {R"("launch_ns":2000)", R"("launch_ns":1e400)",
           ": attention[0].launch_ns: found number overflow parsing '1e400', expected a finite number"},
          {R"("head_dim":64)", R"("head_dim":64000000000)",
           ": attention[0].head_dim: found 64000000000, expected an integer from 1 to 65536"},
      });
}

TEST_F(BadFile, APlanIsRefusedWithTheFieldAndWhatItHolds) {
  const std::vector<Damage> damages = {
      {R"("format_version": 2)", R"("format_version": 3)",
       ": format_version: found 3, expected 2, the only plan format that this version of Strata reads"},
      {R"("lowering_version")", R"("lowering_versions")",
       ": found no field 'lowering_version', expected an integer"},
      {R"("seed": 0,)", R"("seed": 0, "seed": 0,)",
       ": seed: found field 'seed' twice, expected every field once"},
      {R"("seed": 0)", R"("seed": -1)", ": seed: found -1, expected an integer from 0 to 2^64 - 1"},
      {R"("source":0)", R"("source":"0")",
       ": waves[0].steps[0].transfers[0].source: found \"0\", expected an integer from 0 to 2147483647"},
      {R"("source":0)", R"("source":-1)",
       ": waves[0].steps[0].transfers[0].source: found -1, expected an integer from 0 to 2147483647"},
      {R"("source":0)", R"("source":9999999999)",
       ": waves[0].steps[0].transfers[0].source: found 9999999999, expected an integer from 0 to 2147483647"},
      {R"("tensor":"kv")", R"("tensor":"kw")",
       ": waves[0].steps[0].transfers[0].tensor: found \"kw\", expected \"kv\" or \"q\" or \"o\" or "
       "\"o_part\" or "
       "\"do\" or \"dq\" or \"dkv\""},
      {R"("begin":0,)", "", ": waves[0].placement[0].spans[0]: found no field 'begin', expected an integer"},
  };
  std::vector<std::string> commands = {"run x.json --timeline o.json", "lint x.json", "explain x.json",
                                       "simulate x.json --timeline o.json", "validate x.json t.json"};
  commands.resize(static_cast<std::size_t>(scaled(5, 1)));
  for (const std::string& command : commands) {
    expect_refused(work_.read("plan.json"), command, damages);
  }
}

TEST_F(BadFile, ATimelineIsRefusedWithTheFieldAndWhatItHolds) {
  expect_refused(
      work_.read("t.json"), "validate plan.json x.json",
      {
          {R"("repeats": 1,)", R"("repeats": 1, "colour": 1,)",
           ": colour: found an unknown field, expected one of format_version, source, plan_digest, "
           "device_count, "
           "cores_per_device, rank_count, rank_device, layers, repeats, linear_included, clock_error_ns, "
           "columns, events"},
          {R"("repeats": 1,)", "", ": found no field 'repeats', expected an integer"},
          {R"("repeats": 1)", R"("repeats": 1, "repeats": 1)",
           ": repeats: found field 'repeats' twice, expected every field once"},
          {R"("repeats": 1)", R"("repeats": "1")",
           ": repeats: found \"1\", expected an integer from 1 to 2147483647"},
          {R"("repeats": 1)", R"("repeats": -1)",
           ": repeats: found -1, expected an integer from 1 to 2147483647"},
          {R"("repeats": 1)", R"("repeats": 1e99)",
           ": repeats: found 1e+99, expected an integer from 1 to 2147483647"},
          {R"("rank_count": 4)", R"("rank_count": 0)", ": found 0 ranks, expected 4, the ranks of the plan"},
          {R"("cores_per_device": 2)", R"("cores_per_device": 2147483647)",
           ": cores_per_device: found 2147483647, expected an integer from 1 to 65536"},
          {R"("cores_per_device": 2)", R"("cores_per_device": 0)",
           ": cores_per_device: found 0, expected an integer from 1 to 65536"},
          {R"("device_count": 1)", R"("device_count": 2)",
           ": found 4 ranks on 2 devices, expected all on one, or the layout of the plan's topology "
           "cpu:1x4:2: "
           "4 ranks on 1 device of 1 node"},
          {R"("device_count": 1)", R"("device_count": 5)",
           ": found 4 ranks on 5 devices of 2 cores, expected at least one rank per device and one core per "
           "device"},
          {R"("rank_count": 4)", R"("rank_count": 3)", ": found 3 ranks, expected 4, the ranks of the plan"},
          {R"("rank_count": 4)", R"("rank_count": 2000000000)",
           ": found 2,000,000,000 ranks, expected 4, the ranks of the plan"},
          {R"("layers": 2)", R"("layers": 1)",
           ": found events of 2 layers and 1 repeat, expected 1 layer and 1 repeat, as the file states"},
          {R"("layers": 2)", R"("layers": 2000000000)",
           ": found events of 2 layers and 1 repeat, expected 2,000,000,000 layers and 1 repeat, as the file "
           "states"},
          {"[0,0,0,0,0,0,", "[0,0,0,0,9,0,",
           ": events[1]: found an event that does not come after the one before it, expected events sorted "
           "by key, "
           "each key once"},
          {"[0,0,0,0,0,0,", "[0,0,0,0,0,0,0,",
           ": events[0]: found 12 numbers, expected 11, as 'columns' says"},
          {"[0,0,0,0,0,0,", "[0,0,0,0,0,-1,",
           ": events[0][5]: found -1, expected an integer from 0 to 2147483647"},
          {"0]\n  ]", "0],[0,9,1,1,3,0,0,0,0,0,0]\n  ]",
           ": events[316]: found instruction 0 of wave 9, rank 3, expected an instruction of the plan's "
           "programs"},
          {"0]\n  ]", "0],[0,1,1,1,3,999,0,0,0,0,0]\n  ]",
           ": events[316]: found instruction 999 of wave 1, rank 3, expected an instruction of the plan's "
           "programs"},
      });
}

}  // namespace
}  // namespace strata::test
