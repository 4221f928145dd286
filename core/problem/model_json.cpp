// SPDX-License-Identifier: Apache-2.0
#include "core/problem/model_json.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <limits>
#include <sstream>
#include <system_error>

#include "core/base/check.hpp"
#include "core/base/closest_name.hpp"
#include "core/json/json_reader.hpp"
#include "core/json/json_writer.hpp"
#include "core/problem/document_kind.hpp"
#include "core/problem/model_hugging_face.hpp"

namespace strata {

namespace {

constexpr std::int64_t kMaxTokens = std::numeric_limits<std::int32_t>::max();

AttentionKind read_attention(ObjectReader& reader) {
  const auto value = reader.find("attention");
  if (!value || value->string() == "dense") return AttentionKind::dense;
  if (value->string() == "window") return AttentionKind::window;
  if (value->string() == "nsa") {
    value->fail("\"nsa\", which is not available in this version", "\"dense\" or \"window\"");
  }
  value->fail("\"dense\" or \"window\"");
}

/// Experts need nothing of `ffn` where every layer has them.
ExpertShape read_experts(const JsonValue& value) {
  ExpertShape experts;
  ObjectReader reader(value);
  experts.routed = reader.required_int<std::int32_t>("routed", 1, kMaxExperts);
  experts.per_token = reader.required_int<std::int32_t>("per_token", 1, experts.routed);
  experts.ffn = reader.required_int("ffn", 1, kMaxTokens);
  experts.shared_ffn = reader.optional_int<std::int64_t>("shared_ffn", 0, kMaxTokens, 0);
  experts.dense_layers = reader.optional_int<std::int32_t>("dense_layers", 0, kMaxModelSize, 0);
  reader.finish();
  return experts;
}

LatentShape read_latent(const JsonValue& value) {
  LatentShape latent;
  ObjectReader reader(value);
  latent.kv_rank = reader.required_int("kv_rank", 1, kMaxTokens);
  latent.query_rank = reader.optional_int<std::int64_t>("query_rank", 1, kMaxTokens, 0);
  latent.rope_head_dim = reader.optional_int<std::int64_t>("rope_head_dim", 0, kMaxModelSize, 0);
  reader.finish();
  return latent;
}

void read_feed_forward(ObjectReader& reader, ModelShape& model) {
  const auto experts = reader.find("experts");
  if (experts) model.experts = read_experts(*experts);
  const bool needs_ffn = !experts || model.experts.dense_layers > 0;
  if (needs_ffn) model.ffn = reader.required_int("ffn", 1, kMaxTokens);
  model.ffn_matrices = reader.optional_int<std::int32_t>("ffn_matrices", 2, 3, 3);
  if (needs_ffn) return;
  if (const auto ffn = reader.find("ffn")) {
    ffn->fail(ffn->description() + " and experts in every layer", "no ffn, or experts.dense_layers");
  }
}

ModelShape read_own(const JsonValue& value) {
  ModelShape model;
  ObjectReader reader(value);
  model.layers = reader.required_int<std::int32_t>("layers", 1, kMaxModelSize);
  model.hidden = reader.required_int("hidden", 1, kMaxTokens);
  read_feed_forward(reader, model);
  model.vocabulary = reader.optional_int<std::int64_t>("vocabulary", 1, kMaxTokens, 0);
  if (const auto tied = reader.find("tied_embeddings")) model.tied_embeddings = tied->boolean();
  model.query_heads = reader.required_int<std::int32_t>("query_heads", 1, kMaxQueryHeads);
  model.kv_heads = reader.required_int<std::int32_t>("kv_heads", 1, kMaxQueryHeads);
  model.head_dim = reader.required_int<std::int32_t>("head_dim", 1, kMaxModelSize);
  model.value_head_dim = reader.optional_int("value_head_dim", 1, kMaxModelSize, model.head_dim);
  if (const auto latent = reader.find("latent")) model.latent = read_latent(*latent);
  model.element_type = reader.required_choice<ElementType>("element_type", {{"f32", ElementType::f32},
                                                                            {"bf16", ElementType::bf16},
                                                                            {"f16", ElementType::f16},
                                                                            {"fp32", ElementType::f32},
                                                                            {"fp16", ElementType::f16}});
  model.attention = read_attention(reader);
  if (model.attention == AttentionKind::window) {
    model.window = reader.required_int("window", 1, kMaxTokens);
  }
  model.mask_kind = reader.optional_choice<MaskKind>(
      "mask", {{"document_causal", MaskKind::document_causal}, {"full_causal", MaskKind::full_causal}},
      MaskKind::document_causal);
  reader.finish();
  return model;
}

void write_experts(JsonWriter& out, const ExpertShape& experts) {
  out.key("experts");
  out.open_object(JsonLayout::compact);
  out.member("routed", experts.routed);
  out.member("per_token", experts.per_token);
  out.member("ffn", experts.ffn);
  if (experts.shared_ffn > 0) out.member("shared_ffn", experts.shared_ffn);
  if (experts.dense_layers > 0) out.member("dense_layers", experts.dense_layers);
  out.close();
}

void write_latent(JsonWriter& out, const LatentShape& latent) {
  out.key("latent");
  out.open_object(JsonLayout::compact);
  out.member("kv_rank", latent.kv_rank);
  if (latent.query_rank > 0) out.member("query_rank", latent.query_rank);
  if (latent.rope_head_dim > 0) out.member("rope_head_dim", latent.rope_head_dim);
  out.close();
}

/// Hugging Face's names of published models: OWNER/MODEL.
bool is_hub_name(const std::string& name) {
  const auto slash = name.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == name.size()) return false;
  return name.find('/', slash + 1) == std::string::npos && name.front() != '.' && !name.ends_with(".json");
}

}  // namespace

std::string_view to_string(AttentionKind kind) { return kind == AttentionKind::dense ? "dense" : "window"; }
std::string_view to_string(MaskKind kind) {
  return kind == MaskKind::document_causal ? "document_causal" : "full_causal";
}

ModelReading read_model_and_notes(const JsonValue& value) {
  ModelReading reading;
  if (is_hugging_face(value)) {
    reading = read_hugging_face(value);
  } else {
    expect_kind(value, DocumentKind::model);
    reading.shape = read_own(value);
  }
  validate(reading.shape, value.path());
  return reading;
}

ModelShape read_model(const JsonValue& value) { return read_model_and_notes(value).shape; }

ModelShape read_model(std::istream& in, const std::string& name) {
  return read_model(JsonDocument::parse(in, name).root());
}

ModelShape read_model(const std::string& path) { return read_model(JsonDocument::read_file(path).root()); }

std::string model_file(const std::string& name_or_path) {
  std::error_code error;
  const std::filesystem::path path(name_or_path);
  return std::filesystem::is_directory(path, error) ? (path / "config.json").string() : name_or_path;
}

ModelReading load_model_and_notes(const std::string& name_or_path) {
  if (is_named_model(name_or_path)) {
    ModelReading reading;
    reading.shape = named_model(name_or_path);
    reading.source = name_or_path + ", shipped";
    return reading;
  }
  const std::string file = model_file(name_or_path);
  std::error_code error;
  if (!std::filesystem::exists(file, error)) {
    if (file != name_or_path) {
      throw InputError("model", fmt::format("folder '{}' without a config.json", name_or_path),
                       "a folder with a config.json, or the file itself");
    }
    throw InputError(
        "model", fmt::format("'{}', which is no file", name_or_path),
        fmt::format("{}, a JSON file or a folder with a config.json{}", model_names(),
                    is_hub_name(name_or_path) ? "; nothing is downloaded, so fetch its config.json first"
                                              : did_you_mean_listed(name_or_path, model_names())));
  }
  ModelReading reading = read_model_and_notes(JsonDocument::read_file(file).root());
  reading.source = file;
  return reading;
}

ModelShape load_model(const std::string& name_or_path) { return load_model_and_notes(name_or_path).shape; }

std::string to_json(const ModelShape& model) {
  std::ostringstream text;
  JsonWriter out(text);
  out.open_object(JsonLayout::compact);
  out.member("layers", model.layers);
  out.member("hidden", model.hidden);
  if (model.ffn > 0) out.member("ffn", model.ffn);
  if (model.ffn_matrices != 3) out.member("ffn_matrices", model.ffn_matrices);
  if (model.experts.routed > 0) write_experts(out, model.experts);
  if (model.vocabulary > 0) out.member("vocabulary", model.vocabulary);
  if (model.tied_embeddings) out.member("tied_embeddings", true);
  out.member("query_heads", model.query_heads);
  out.member("kv_heads", model.kv_heads);
  out.member("head_dim", model.head_dim);
  out.member("value_head_dim", model.value_head_dim);
  if (model.latent.kv_rank > 0) write_latent(out, model.latent);
  out.member("element_type", to_string(model.element_type));
  out.member("attention", to_string(model.attention));
  if (model.attention == AttentionKind::window) out.member("window", model.window);
  out.member("mask", to_string(model.mask_kind));
  out.close();
  out.finish(false);
  return text.str();
}

}  // namespace strata
