// SPDX-License-Identifier: Apache-2.0
#include "tools/read_as_model.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/base/counts.hpp"
#include "core/json/json_writer.hpp"
#include "tools/output.hpp"

namespace strata::tools {

namespace {

/// "8.03 billion", "134 million", "1.05 million".
std::string human_parameters(double count) {
  const auto scaled = [&](double unit, std::string_view name) {
    const double value = count / unit;
    const int decimals = value < 10 ? 2 : value < 100 ? 1 : 0;
    return fmt::format("{:.{}f} {}", value, decimals, name);
  };
  if (count >= 0.9995e12) return scaled(1e12, "trillion");
  return count >= 0.9995e9 ? scaled(1e9, "billion") : scaled(1e6, "million");
}

std::string attention(const ModelShape& shape) {
  std::string text = fmt::format("{} query and {} of {}", shape.query_heads,
                                 counted(shape.kv_heads, "KV head"), shape.head_dim);
  if (shape.value_head_dim != shape.head_dim) {
    text += fmt::format(", values and outputs of {}", shape.value_head_dim);
  }
  text += shape.attention == AttentionKind::window
              ? fmt::format("; each token sees {}", counted(shape.window, "token"))
              : "; each token sees all earlier ones";
  text += shape.mask_kind == MaskKind::full_causal ? " of its pack" : " of its document";
  text += ", in every layer";
  return text;
}

std::string latent(const LatentShape& latent) {
  const std::string queries =
      latent.query_rank > 0 ? fmt::format("queries from rows of {}", latent.query_rank) : "queries directly";
  return fmt::format(
      "latent attention, expanded: keys and values from rows of {}, {}; {} of a key with positions",
      latent.kv_rank, queries, latent.rope_head_dim);
}

std::vector<std::string> feed_forward(const ModelShape& shape) {
  const std::string matrices = shape.ffn_matrices == 3 ? "gated, three matrices" : "two matrices";
  const ExpertShape& experts = shape.experts;
  if (experts.routed == 0) return {fmt::format("ffn {}, {}", shape.ffn, matrices)};
  std::string text =
      fmt::format("{} of {} of width {} a token in {}", experts.per_token, counted(experts.routed, "expert"),
                  experts.ffn, counted(expert_layers(shape), "layer"));
  if (experts.shared_ffn > 0) text += fmt::format(", and shared ones of {} together", experts.shared_ffn);
  text += fmt::format("; {}", matrices);
  std::vector<std::string> lines = {text};
  if (experts.dense_layers > 0) {
    lines.push_back(
        fmt::format("ffn {} in {} without experts", shape.ffn, counted(experts.dense_layers, "layer")));
  }
  lines.push_back(fmt::format("width that a token passes in a layer, on average: {:.0f}", active_ffn(shape)));
  return lines;
}

std::string parameters(const ModelShape& shape) {
  std::string text = human_parameters(parameter_count(shape)) + " parameters";
  if (shape.experts.routed > 0) {
    text += fmt::format(", {} of them for a token", human_parameters(active_parameter_count(shape)));
  }
  if (shape.vocabulary == 0)
    return text + "; embedding and output layer left out, since no vocabulary is stated";
  return text + fmt::format(", with a vocabulary of {}{}", human_count(shape.vocabulary),
                            shape.tied_embeddings ? ", embedding and output layer tied" : "");
}

std::vector<std::string> shape_lines(const ModelShape& shape, const std::string& heading) {
  std::vector<std::string> lines = {fmt::format("{}{}, hidden {}, {}", heading,
                                                counted(shape.layers, "layer"), shape.hidden,
                                                to_string(shape.element_type))};
  const auto add = [&](const std::string& line) { lines.push_back(wrapped("  " + line, 4)); };
  add(attention(shape));
  if (shape.latent.kv_rank > 0) add(latent(shape.latent));
  for (const std::string& line : feed_forward(shape)) add(line);
  add(parameters(shape));
  return lines;
}

std::vector<std::string> all_notes(const ModelReading& reading) {
  std::vector<std::string> notes = reading.notes;
  if (!reading.element_type_note.empty()) notes.push_back(reading.element_type_note);
  return notes;
}

void write_strings(JsonWriter& json, std::string_view name, const std::vector<std::string>& texts) {
  json.key(name);
  json.open_array(JsonLayout::compact);
  for (const std::string& text : texts) json.value(std::string_view(text));
  json.close();
}

}  // namespace

std::vector<std::string> lines_of(const ModelReading& reading) {
  std::vector<std::string> lines = shape_lines(reading.shape, "model: ");
  std::string source = reading.source;
  if (!reading.model_type.empty()) source += fmt::format(", a Hugging Face {}", reading.model_type);
  lines.front() += fmt::format("; from {}", source);
  lines.front() = wrapped(lines.front(), 4);
  for (const std::string& note : all_notes(reading)) lines.push_back(wrapped("  note: " + note, 4));
  if (!reading.unused_keys.empty()) {
    lines.push_back(
        wrapped(fmt::format("  keys that were not used: {}", fmt::join(reading.unused_keys, ", ")), 4));
  }
  return lines;
}

void write_read_as(JsonWriter& json, const ModelReading& reading) {
  json.open_object(JsonLayout::lines);
  json.member("source", std::string_view(reading.source));
  json.key("model_type");
  if (reading.model_type.empty()) {
    json.null();
  } else {
    json.value(std::string_view(reading.model_type));
  }
  json.key("shape");
  json.raw(to_json(reading.shape));
  json.member("parameters", parameter_count(reading.shape));
  json.member("active_parameters", active_parameter_count(reading.shape));
  json.member("active_ffn", active_ffn(reading.shape));
  write_strings(json, "notes", all_notes(reading));
  write_strings(json, "unused_keys", reading.unused_keys);
  json.close();
}

}  // namespace strata::tools
