// SPDX-License-Identifier: Apache-2.0
#include "tools/read_as_batch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "core/base/counts.hpp"
#include "core/base/visible_text.hpp"
#include "core/json/json_writer.hpp"
#include "tools/output.hpp"

namespace strata::tools {

namespace {

std::string named(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 12, kLongestName = 40;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i)
    text += (i == 0 ? "" : ", ") + visible_excerpt(names[i], kLongestName);
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

void write_names(JsonWriter& json, std::string_view key, const std::vector<std::string>& names) {
  json.key(key);
  json.open_array(JsonLayout::compact);
  for (const std::string& name : names) json.value(std::string_view(name));
  json.close();
}

/// Keys that say no more than the counts do.
bool is_own_form(const std::vector<std::string>& keys) {
  return std::all_of(keys.begin(), keys.end(), [](const std::string& key) {
    return key == "step" || key == "packs" || key == "documents";
  });
}

void count_steps(ReadAsBatch& read_as, std::span<const Batch> steps) {
  read_as.steps = std::ssize(steps);
  for (const Batch& step : steps) {
    read_as.documents += step.document_count();
    read_as.tokens += step.token_count();
    if (step.fixed_packs) read_as.packs += std::ssize(step.packs);
  }
}

}  // namespace

ReadAsBatch read_as_batch(const std::string& name, const LengthSource& source, std::span<const Batch> steps) {
  ReadAsBatch read_as;
  read_as.source = name;
  read_as.description = source.description;
  read_as.padding_tokens = source.padding_tokens;
  read_as.used_keys = source.used_keys;
  read_as.unused_keys = source.unused_keys;
  read_as.notes = source.notes;
  count_steps(read_as, steps);
  return read_as;
}

ReadAsBatch read_as_batch(const Batch& batch) {
  ReadAsBatch read_as;
  count_steps(read_as, std::span(&batch, 1));
  return read_as;
}

std::vector<std::string> lines(const ReadAsBatch& read_as) {
  std::vector<std::string> text;
  if (!read_as.source.empty()) text.push_back(fmt::format("{}: {}", read_as.source, read_as.description));
  std::string counts = fmt::format("{}read as {} of {}", read_as.source.empty() ? "batch " : "  ",
                                   counted(read_as.documents, "document"), counted(read_as.tokens, "token"));
  counts +=
      read_as.packs > 0 ? fmt::format(" in {}", counted(read_as.packs, "fixed pack")) : ", free to be packed";
  counts += fmt::format(", {}", counted(read_as.steps, "step"));
  if (read_as.padding_tokens > 0)
    counts += fmt::format("; {} of padding left out", counted(read_as.padding_tokens, "token"));
  text.push_back(wrapped(counts, 4));
  if (!is_own_form(read_as.used_keys)) text.push_back(wrapped("  keys used: " + named(read_as.used_keys), 4));
  if (!read_as.unused_keys.empty())
    text.push_back(wrapped("  keys not used: " + named(read_as.unused_keys), 4));
  for (const std::string& note : read_as.notes) text.push_back(wrapped("  note: " + note, 4));
  return text;
}

void write_read_as(JsonWriter& json, const ReadAsBatch& read_as) {
  json.open_object(JsonLayout::compact);
  json.member("source", std::string_view(read_as.source));
  json.member("description", std::string_view(read_as.description));
  json.member("documents", read_as.documents);
  json.member("tokens", read_as.tokens);
  json.member("packs", read_as.packs);
  json.member("steps", read_as.steps);
  json.member("padding_tokens", read_as.padding_tokens);
  write_names(json, "used_keys", read_as.used_keys);
  write_names(json, "unused_keys", read_as.unused_keys);
  write_names(json, "notes", read_as.notes);
  json.close();
}

}  // namespace strata::tools
