// SPDX-License-Identifier: Apache-2.0
#include "core/problem/model_hugging_face.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/base/closest_name.hpp"
#include "core/problem/model_config_keys.hpp"
#include "core/problem/model_families.hpp"
#include "core/problem/model_family_rules.hpp"
#include "core/problem/model_refusals.hpp"

namespace strata {

namespace {

using detail::ConfigKeys;
using detail::ModelFamily;

constexpr std::array<std::string_view, 4> kOwnKeys = {"layers", "hidden", "query_heads", "kv_heads"};
/// Any of them says that a file is somebody else's.
constexpr std::array<std::string_view, 16> kForeignKeys = {"model_type",
                                                           "architectures",
                                                           "num_hidden_layers",
                                                           "hidden_size",
                                                           "num_attention_heads",
                                                           "n_embd",
                                                           "d_model",
                                                           "n_layer",
                                                           "n_layers",
                                                           "num_layers",
                                                           "text_config",
                                                           "language_config",
                                                           "llm_config",
                                                           "n_heads",
                                                           "thinker_config",
                                                           "transformers_version"};

/// The configuration from the outside to the text model: most files have one level.
struct Levels {
  std::vector<ConfigKeys> keys;
  std::vector<std::string> prefixes;  // "text_config." before the keys of a level
  std::string model_type;             // of the text model

  ConfigKeys& text() { return keys.back(); }
};

std::string type_of(ConfigKeys& keys) {
  static constexpr std::string_view kExpected =
      "the model_type of a Hugging Face configuration, or Strata's own keys: layers, hidden, ffn, "
      "query_heads, "
      "kv_heads, head_dim, element_type";
  return std::string(keys.required("model_type", kExpected).string());
}

/// Goes down to the text model of a wrapper.
void descend(Levels& levels, const detail::ModelWrapper& wrapper) {
  std::string_view way = wrapper.way;
  std::string prefix;
  while (!way.empty()) {
    const std::string_view name = way.substr(0, way.find('.'));
    way.remove_prefix(std::min(way.size(), name.size() + 1));
    prefix.append(name).append(".");
    levels.keys.emplace_back(levels.text().required(name, "the text model's own configuration"));
    levels.prefixes.push_back(prefix);
  }
  const auto stated = levels.text().find("model_type");
  if (!stated && wrapper.inner_type.empty()) type_of(levels.text());
  levels.model_type = stated ? std::string(stated->string()) : std::string(wrapper.inner_type);
}

Levels open_levels(const JsonValue& value) {
  Levels levels;
  levels.keys.emplace_back(value);
  levels.prefixes.emplace_back();
  detail::refuse_kinds_of_layers(levels.text());
  levels.model_type = type_of(levels.text());
  const detail::ModelWrapper* wrapper = detail::find_wrapper(levels.model_type);
  if (wrapper != nullptr) {
    const std::string_view first = wrapper->way.substr(0, wrapper->way.find('.'));
    // Some types were flat before they became wrappers.
    const bool flat = !levels.text().unused(first) && detail::find_family(levels.model_type) != nullptr;
    if (!flat) descend(levels, *wrapper);
    for (const ConfigKeys& level : levels.keys) detail::refuse_kinds_of_layers(level);
  }
  return levels;
}

[[noreturn]] void fail_type(Levels& levels, const std::string& found, const std::string& expected) {
  const auto stated = levels.text().find("model_type");
  if (stated) stated->fail(fmt::format("{}{}", stated->description(), found), expected);
  levels.text().value().fail(fmt::format("the type \"{}\"{}", levels.model_type, found), expected);
}

const ModelFamily& family_of(Levels& levels) {
  if (const auto* refused = detail::find_refused_type(levels.model_type)) {
    fail_type(levels, fmt::format(", which has {}", refused->reason),
              "a model whose layers are of one kind, all with causal attention inside one sequence");
  }
  const ModelFamily* family = detail::find_family(levels.model_type);
  if (family == nullptr) {
    const std::string known = detail::listed_model_types();
    const std::string meant = did_you_mean_listed(levels.model_type, known);
    fail_type(levels, ", a type whose keys are not known",
              meant.empty() ? "one of " + known + ", or a file with Strata's own keys"
                            : "one of the types in docs/plan-format.md, or Strata's own keys" + meant);
  }
  return *family;
}

/// Code beside the weights may mean something else by the same keys.
void note_own_code(ConfigKeys& keys, ModelReading& reading) {
  if (const auto names = keys.find("architectures"); names && names->kind() == JsonKind::array) {
    for (const JsonValue name : names->items()) {
      if (name.kind() == JsonKind::string && name.string().find("Bidirectional") != std::string_view::npos) {
        name.fail("an architecture with causal attention");
      }
    }
  }
  if (keys.find("auto_map")) {
    reading.notes.push_back(
        fmt::format("auto_map: code beside the weights defines this model; read as {}", reading.model_type));
  }
}

template <std::size_t Count>
bool has_any(const JsonValue& value, const std::array<std::string_view, Count>& names) {
  for (const JsonValue member : value.members()) {
    if (std::find(names.begin(), names.end(), member.key()) != names.end()) return true;
  }
  return false;
}

}  // namespace

bool is_hugging_face(const JsonValue& value) {
  return has_any(value, kForeignKeys) && !has_any(value, kOwnKeys);
}

ModelReading read_hugging_face(const JsonValue& value) {
  Levels levels = open_levels(value);
  const ModelFamily& family = family_of(levels);
  ModelReading reading;
  reading.model_type = levels.model_type;
  detail::apply_family(family, levels.keys, reading);
  for (ConfigKeys& level : levels.keys) {
    if (&level != &levels.text()) {
      level.mark_repeats_of(levels.text());
      if (!level.flag("use_sliding_window", true)) level.find("sliding_window");
    }
    note_own_code(level, reading);
    for (std::string& note : detail::notes_on(level)) reading.notes.push_back(std::move(note));
    detail::refuse_unused_meaning(level);
  }
  for (std::size_t i = 0; i < levels.keys.size(); ++i) {
    for (const std::string& key : levels.keys[i].unused_keys()) {
      reading.unused_keys.push_back(levels.prefixes[i] + key);
    }
  }
  return reading;
}

}  // namespace strata
