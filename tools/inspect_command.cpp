// SPDX-License-Identifier: Apache-2.0
// strata inspect: what lengths a source holds and where the attention work sits.
#include <fmt/format.h>

#include <memory>

#include "core/base/counts.hpp"
#include "core/json/json_writer.hpp"
#include "tools/batch_inputs.hpp"
#include "tools/command.hpp"
#include "tools/read_as.hpp"
#include "traces/lengths/length_source.hpp"
#include "traces/lengths/length_statistics.hpp"

namespace strata::tools {

namespace {

/// How documents are packed for the preview when no option says it.
constexpr std::int64_t kPreviewTokens = 131072;

struct InspectOptions {
  std::string path;
  BatchInputs batches;
};

void write_document(JsonWriter& json, const LoadedBatches& loaded, const LengthStatistics& statistics) {
  const LengthSource& source = loaded.source;
  json.open_object(JsonLayout::lines);
  write_read_as(json, {loaded.read_as, {}, {}});
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

/// Whether documents are free, so that packing them is only a preview.
bool is_preview(const LoadedBatches& loaded) {
  return loaded.source.batches.empty() && !loaded.steps.front().fixed_packs;
}

std::string packing_text(const LoadedBatches& loaded) {
  if (!is_preview(loaded)) return to_text(packing_of(loaded.steps));
  if (cut_pack_count(loaded.source.lengths, kPreviewTokens) > kMostPacks) {
    return fmt::format("no packing preview: more than {} of {} tokens\n", counted(kMostPacks, "pack"),
                       kPreviewTokens);
  }
  return fmt::format("with --pack-tokens {} --cut-documents there would be\n", kPreviewTokens) +
         to_text(preview_packing(loaded.source.lengths, kPreviewTokens));
}

}  // namespace

Command inspect_command() {
  auto options = std::make_shared<InspectOptions>();
  Command command;
  command.name = "inspect";
  command.summary = "Lengths of a data set: percentiles, work shares, packing, histogram";
  command.declare = [options](Options& declared) {
    declared.required("DATA", options->path, "Lengths: text, CSV, JSON, JSON lines, .npy or Megatron .idx");
    options->batches.declare(declared);
  };
  command.run = [options](Output& output) {
    const LoadedBatches loaded = options->batches.load(options->path, "DATA");
    const LengthStatistics statistics = length_statistics(loaded.source.lengths);
    for (const std::string& line : lines(loaded.read_as)) output.line(line);
    for (const std::string& text : {to_text(statistics), packing_text(loaded), histogram_text(statistics)}) {
      output.line("");
      output.line(text);
    }
    output.document([&](JsonWriter& json) { write_document(json, loaded, statistics); });
    return 0;
  };
  return command;
}

}  // namespace strata::tools
