// SPDX-License-Identifier: Apache-2.0
#include "tools/batch_inputs.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "core/base/check.hpp"
#include "core/problem/batch_json.hpp"

namespace strata::tools {

namespace {

BatchReference place_of(const std::string& reference) {
  std::error_code ignored;
  if (std::filesystem::exists(reference, ignored)) return {reference, 0};
  return parse_batch_reference(reference);
}

}  // namespace

void BatchInputs::declare(Options& options) {
  options.add("--pack-tokens N", steps.pack_tokens, "Pack documents, whole and in order, up to N tokens");
  options.flag("--cut-documents", steps.cut_documents, "Fill packs and cut documents where a pack ends");
  options.add("--packs-per-step N", steps.packs_per_step, "Packs that form one training step");
  options.add("--tokens-per-step N", steps.tokens_per_step, "Form steps of at most N tokens");
  options.add("--documents-per-step N", steps.documents_per_step, "Form steps of at most N documents");
  options.add("--lengths-are KIND", lengths_are, "A list without names holds lengths, offsets or positions");
  options.add("--ignore-keys NAMES", ignored_keys, "Keys that are left out although they may carry meaning");
}

LoadedBatches BatchInputs::load(const std::string& reference, const std::string& option) const {
  if (reference.empty()) throw InputError(option, "nothing", "a file with lengths or packs, or FILE:LINE");
  validate(steps);
  const BatchReference place = place_of(reference);
  LengthOptions options;
  options.reading = parse_length_reading(lengths_are);
  options.ignored_keys = ignored_keys;
  options.line = place.line;
  LoadedBatches loaded;
  loaded.source = read_length_source(std::filesystem::path(place.path), options);
  Steps formed = form_steps(loaded.source, steps, reference);
  loaded.steps = std::move(formed.steps);
  loaded.read_as = read_as_batch(reference, loaded.source, loaded.steps);
  loaded.step_notes = std::move(formed.notes);
  std::vector<std::string>& notes = loaded.read_as.notes;
  notes.insert(notes.end(), loaded.step_notes.begin(), loaded.step_notes.end());
  return loaded;
}

std::string file_of_reference(const std::string& reference) { return place_of(reference).path; }

}  // namespace strata::tools
