// SPDX-License-Identifier: Apache-2.0
#include "core/model_json.hpp"

#include <fmt/format.h>

#include <limits>
#include <sstream>

#include "core/check.hpp"
#include "core/json_reader.hpp"
#include "core/json_writer.hpp"

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

ModelShape read_own(const JsonValue& value) {
  ModelShape model;
  ObjectReader reader(value);
  model.layers = reader.required_int<std::int32_t>("layers", 1, kMaxModelSize);
  model.hidden = reader.required_int("hidden", 1, kMaxTokens);
  model.ffn = reader.required_int("ffn", 1, kMaxTokens);
  model.query_heads = reader.required_int<std::int32_t>("query_heads", 1, kMaxQueryHeads);
  model.kv_heads = reader.required_int<std::int32_t>("kv_heads", 1, kMaxQueryHeads);
  model.head_dim = reader.required_int<std::int32_t>("head_dim", 1, kMaxModelSize);
  model.value_head_dim = reader.optional_int("value_head_dim", 1, kMaxModelSize, model.head_dim);
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

/// config.json of the transformers library: sliding windows only where every layer has the same.
void read_sliding_window(ObjectReader& reader, ModelShape& model) {
  const auto window = reader.find("sliding_window");
  const auto use = reader.find("use_sliding_window");
  if (!window || window->is_null() || (use && !use->boolean())) return;
  if (const auto kinds = reader.find("layer_types"); kinds && !kinds->is_null()) {
    bool full = false;
    bool sliding = false;
    for (const JsonValue kind : kinds->items()) {
      (kind.string() == "sliding_attention" ? sliding : full) = true;
    }
    if (full && sliding) kinds->fail("layers of several kinds", "one kind of attention in all layers");
    if (full) return;
  }
  model.attention = AttentionKind::window;
  model.window = window->integer(1, kMaxTokens);
}

ModelShape read_hugging_face(const JsonValue& value) {
  ModelShape model;
  ObjectReader reader(value);
  model.layers = reader.required_int<std::int32_t>("num_hidden_layers", 1, kMaxModelSize);
  model.hidden = reader.required_int("hidden_size", 1, kMaxTokens);
  model.ffn = reader.required_int("intermediate_size", 1, kMaxTokens);
  model.query_heads = reader.required_int<std::int32_t>("num_attention_heads", 1, kMaxQueryHeads);
  model.kv_heads = reader.optional_int("num_key_value_heads", 1, kMaxQueryHeads, model.query_heads);
  const auto head_dim = reader.find("head_dim");
  if (head_dim && !head_dim->is_null()) {
    model.head_dim = static_cast<std::int32_t>(head_dim->integer(1, kMaxModelSize));
  } else if (model.hidden % model.query_heads == 0) {
    model.head_dim = static_cast<std::int32_t>(model.hidden / model.query_heads);
  } else {
    value.fail(fmt::format("no field 'head_dim' and {} heads for a hidden size of {}", model.query_heads,
                           model.hidden),
               "heads that divide the hidden size");
  }
  model.value_head_dim = model.head_dim;
  if (!reader.find("torch_dtype")) reader.required("dtype", "'torch_dtype' or 'dtype'");
  model.element_type = reader.required_choice<ElementType>(
      reader.find("torch_dtype") ? "torch_dtype" : "dtype",
      {{"bfloat16", ElementType::bf16}, {"float16", ElementType::f16}, {"float32", ElementType::f32}});
  read_sliding_window(reader, model);
  return model;
}

}  // namespace

std::string_view to_string(AttentionKind kind) { return kind == AttentionKind::dense ? "dense" : "window"; }
std::string_view to_string(MaskKind kind) {
  return kind == MaskKind::document_causal ? "document_causal" : "full_causal";
}

ModelShape read_model(const JsonValue& value) {
  bool hugging_face = false;
  for (const JsonValue member : value.members()) hugging_face |= member.key() == "num_attention_heads";
  const ModelShape model = hugging_face ? read_hugging_face(value) : read_own(value);
  validate(model, value.path());
  return model;
}

ModelShape read_model(std::istream& in, const std::string& name) {
  return read_model(JsonDocument::parse(in, name).root());
}

ModelShape read_model(const std::string& path) { return read_model(JsonDocument::read_file(path).root()); }

ModelShape load_model(const std::string& name_or_path) {
  return is_named_model(name_or_path) ? named_model(name_or_path) : read_model(name_or_path);
}

std::string to_json(const ModelShape& model) {
  std::ostringstream text;
  JsonWriter out(text);
  out.open_object(JsonLayout::compact);
  out.member("layers", model.layers);
  out.member("hidden", model.hidden);
  out.member("ffn", model.ffn);
  out.member("query_heads", model.query_heads);
  out.member("kv_heads", model.kv_heads);
  out.member("head_dim", model.head_dim);
  out.member("value_head_dim", model.value_head_dim);
  out.member("element_type", to_string(model.element_type));
  out.member("attention", to_string(model.attention));
  if (model.attention == AttentionKind::window) out.member("window", model.window);
  out.member("mask", to_string(model.mask_kind));
  out.close();
  out.finish(false);
  return text.str();
}

}  // namespace strata
