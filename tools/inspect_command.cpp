// SPDX-License-Identifier: Apache-2.0
// strata inspect: what lengths a source holds and where the attention work sits.
#include <fmt/format.h>

#include <memory>

#include "core/check.hpp"
#include "core/json_writer.hpp"
#include "tools/command.hpp"
#include "traces/length_source.hpp"
#include "traces/length_statistics.hpp"

namespace strata::tools {

namespace {

struct InspectOptions {
  std::string path;
  std::int64_t pack_tokens = 131072;
};

void write_document(JsonWriter& json, const LengthSource& source, const LengthStatistics& statistics) {
  json.open_object(JsonLayout::lines);
  json.member("source", std::string_view(source.description));
  json.member("documents", statistics.documents);
  json.member("tokens", statistics.tokens);
  json.member("shortest", statistics.shortest);
  json.member("longest", statistics.longest);
  json.member("mean", statistics.mean());
  json.member("p50", statistics.p50);
  json.member("p90", statistics.p90);
  json.member("p99", statistics.p99);
  json.member("p999", statistics.p999);
  json.member("work_share_top_1_percent", statistics.top_work_share());
  json.member("recorded_batches", static_cast<std::int64_t>(source.batches.size()));
  json.close();
}

}  // namespace

Command inspect_command() {
  auto options = std::make_shared<InspectOptions>();
  Command command;
  command.name = "inspect";
  command.summary = "Lengths of a data set: percentiles, work shares, packing, histogram";
  command.declare = [options](Options& declared) {
    declared.required("DATA", options->path, "Lengths: text, CSV, JSON, JSON lines, .npy or Megatron .idx");
    declared.add("--pack-tokens N", options->pack_tokens, "Tokens of a pack in the packing preview");
  };
  command.run = [options](Output& output) {
    if (options->pack_tokens < 1) {
      throw InputError("--pack-tokens", std::to_string(options->pack_tokens), "at least 1");
    }
    const LengthSource source = read_length_source(options->path);
    const LengthStatistics statistics = length_statistics(source.lengths);
    output.line(fmt::format("{}: {}", options->path, source.description));
    const PackingPreview packing = source.batches.empty()
                                       ? preview_packing(source.lengths, options->pack_tokens)
                                       : packing_of(source.batches);
    for (const std::string& text : {to_text(statistics), to_text(packing), histogram_text(statistics)}) {
      output.line("");
      output.line(text);
    }
    output.document([&](JsonWriter& json) { write_document(json, source, statistics); });
    return 0;
  };
  return command;
}

}  // namespace strata::tools
