// SPDX-License-Identifier: Apache-2.0
// The published JSON Schemas and the writers agree: samples of every kind of file satisfy their schema, and
// the same samples with a field removed or added do not. Skipped where Python's jsonschema is not installed.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/plan/plan_json.hpp"
#include "core/problem/batch_json.hpp"
#include "core/problem/model_json.hpp"
#include "core/problem/topology_json.hpp"
#include "cost_models/profile/cost_profile.hpp"
#include "tests/core/json/bad_input.hpp"
#include "tests/core/plan/random_plan.hpp"
#include "tools/calibration/calibration_samples.hpp"

namespace strata {
namespace {

namespace fs = std::filesystem;

/// A folder of sample documents and the list of what they should be.
class Samples {
 public:
  Samples() : folder_(fs::temp_directory_path() / fmt::format("strata_schemas_{}", ::getpid())) {
    fs::create_directory(folder_);
  }
  Samples(const Samples&) = delete;
  Samples& operator=(const Samples&) = delete;
  ~Samples() { fs::remove_all(folder_); }

  void add(const std::string& kind, bool valid, const std::string& text) {
    const fs::path path = folder_ / fmt::format("{}.json", count_++);
    std::ofstream(path) << text;
    list_ << kind << (valid ? " valid " : " invalid ") << path.string() << "\n";
  }
  /// `text` is valid; with `field` renamed or with another field added it is not.
  void add_with_mutants(const std::string& kind, const std::string& text, const std::string& field) {
    add(kind, true, text);
    add(kind, false, test::edited(text, "\"" + field + "\"", "\"" + field + "x\""));
    add(kind, false, test::edited(text, "{", "{\"colour\": 1, "));
  }

  /// The checker's exit status; what it prints goes to `output`.
  int check(std::string& output) const {
    std::ofstream(folder_ / "list") << list_.str();
    const fs::path printed = folder_ / "printed";
    const std::string source = STRATA_SOURCE_DIR;
    const std::string command =
        fmt::format("python3 '{0}/tests/core/plan/check_schemas.py' '{0}/docs/schemas' '{1}' > '{2}' 2>&1",
                    source, (folder_ / "list").string(), printed.string());
    const int status = std::system(command.c_str());
    std::ostringstream text;
    text << std::ifstream(printed).rdbuf();
    output = text.str();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  fs::path folder_;
  std::ostringstream list_;
  int count_ = 0;
};

/// One sample of every case; every event takes as long as its place in the timeline is late.
std::string calibration_samples() {
  tools::SamplesFile file;
  file.executor = "mpi";
  file.date = "2026-01-31";
  file.places = tools::RankPlaces::on_hosts({"a", "b", "a"});
  const ModelShape model = named_model("tiny");
  const tools::CalibrationPart part = tools::whole_part(model, file.places, {16, 16, {1e9}, {4096}, {4096}});
  Timeline timeline;
  timeline.layers = 2;
  for (std::int32_t wave = 0; wave < std::ssize(part.execution.waves); ++wave) {
    for (std::int32_t layer = 0; layer < 2; ++layer) {
      for (const Pass pass : {Pass::forward, Pass::backward}) {
        for (const RankProgram& program : part.execution.waves[static_cast<std::size_t>(wave)].programs) {
          for (std::int32_t i = 0; i < std::ssize(program.instructions(pass)); ++i) {
            TimelineEvent& event = timeline.events.emplace_back();
            event = {0, wave, layer, pass, program.rank, i};
            event.end_ns = std::ssize(timeline.events);
          }
        }
      }
    }
  }
  file.models.push_back({model, "cpu", read_samples(part, timeline)});
  return samples_text(file);
}

TEST(Schemas, DescribeWhatTheWritersWrite) {
  Samples samples;
  for (std::uint64_t seed = 0; seed < 25; ++seed) samples.add("plan", true, to_json(test::random_plan(seed)));
  samples.add_with_mutants("plan", to_json(test::small_plan()), "tensor");
  samples.add_with_mutants("plan", to_json(test::small_plan()), "head_end");
  samples.add_with_mutants("topology", to_json(named_topology("dgx_h100:2")), "latency_ns");
  samples.add_with_mutants("topology", to_json(named_topology("cpu:1x2")), "ranks");
  samples.add_with_mutants("model", to_json(named_model("llama3_8b")), "kv_heads");
  ModelShape window = named_model("tiny");
  window.attention = AttentionKind::window;
  window.window = 64;
  samples.add_with_mutants("model", to_json(window), "window");
  ModelShape latent = named_model("tiny");
  latent.kv_heads = latent.query_heads;
  latent.value_head_dim = 32;
  latent.latent = {16, 24, 8};
  latent.ffn_matrices = 2;
  latent.vocabulary = 1000;
  latent.tied_embeddings = true;
  samples.add_with_mutants("model", to_json(latent), "kv_rank");
  ModelShape experts = latent;
  experts.experts = {8, 2, 64, 128, 1};
  samples.add_with_mutants("model", to_json(experts), "per_token");
  experts.experts.dense_layers = 0;
  experts.ffn = 0;
  samples.add_with_mutants("model", to_json(experts), "routed");
  samples.add("model", false, test::edited(to_json(experts), "\"experts\"", "\"ffn\":64,\"experts\""));
  samples.add_with_mutants("batch", to_json(Batch{1, true, {{1, 2}, {3}}}), "packs");
  samples.add_with_mutants("batch", to_json(Batch{0, false, {{1, 2}}}), "documents");
  samples.add_with_mutants("batch", R"({"batch":0,"sample":74,"seqlens":[25710],"doc_ids":[3400]})",
                           "seqlens");
  samples.add_with_mutants("profile", profile_text(default_profile("cpu")), "copy_units");
  samples.add_with_mutants("profile", profile_text(default_profile("h100")), "provenance");
  samples.add_with_mutants("samples", calibration_samples(), "clock_error_ns");
  samples.add_with_mutants("samples", calibration_samples(), "durations_ns");
  samples.add_with_mutants("samples", calibration_samples(), "message_bytes");

  std::string output;
  const int status = samples.check(output);
  if (status == 77 || status == 127) GTEST_SKIP() << "not checked: " << output;
  EXPECT_EQ(status, 0) << output;
}

}  // namespace
}  // namespace strata
