// SPDX-License-Identifier: Apache-2.0
// What the transformers library means by a configuration, by its `model_type`: which rules turn its keys into
// a shape, which wrappers hold the text model in a nested object, and which types Strata cannot represent.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace strata::detail {

enum class KvRule : std::uint8_t {
  stated,       ///< num_key_value_heads and its other names; else as many as query heads
  multi_query,  ///< one KV head where multi_query is true (the default), else as `stated`
  falcon,       ///< `stated` with new_decoder_architecture, else one or all by multi_query
  chatglm,      ///< multi_query_group_num where multi_query_attention is true
  attn_config,  ///< kv_n_heads of the nested attn_config
};
enum class FfnRule : std::uint8_t {
  stated,      ///< intermediate_size and its other names
  four_times,  ///< the same, or four times the hidden size where it is not stated
  halved,      ///< intermediate_size counts gate and value together
  expansion,   ///< expansion_ratio times the hidden size
};
enum class ExpertRule : std::uint8_t {
  none,
  own_width,   ///< moe_intermediate_size; intermediate_size is that of dense layers
  ffn_width,   ///< intermediate_size is an expert's; every layer has experts
  ffn_config,  ///< of the nested ffn_config; every layer has experts
};
enum class LatentRule : std::uint8_t {
  none,
  stated,             ///< multi-head latent attention, every size stated
  value_from_hidden,  ///< the same; values are as wide as the hidden size divided by the heads
};
enum class WindowRule : std::uint8_t {
  none,                ///< layer_types alone can bring a window
  every_layer,         ///< sliding_window holds in every layer unless use_sliding_window is false
  switched,            ///< off unless use_sliding_window; then in layers from max_window_layers on
  off,                 ///< sliding_window must be null, or use_sliding_window false
  alternating,         ///< layers of two kinds unless layer_types says otherwise
  alternating_if_set,  ///< the same where sliding_window is stated
};

struct ModelFamily {
  std::string_view model_type;
  WindowRule window = WindowRule::none;
  /// The library has a window where sliding_window is left out, and none where it is null.
  bool default_window = false;
  ExpertRule experts = ExpertRule::none;
  KvRule kv = KvRule::stated;
  FfnRule ffn = FfnRule::stated;
  std::int32_t ffn_matrices = 3;
  LatentRule latent = LatentRule::none;
  bool tied = false;  ///< what tie_word_embeddings is where it is not stated
  /// Keys without which the shape would be another one, although the library has a default for them.
  std::array<std::string_view, 2> needs = {};
};

/// A configuration whose text model stands in an object of its own, such as text_config.
struct ModelWrapper {
  std::string_view model_type;
  std::string_view way;         ///< keys to the text model, separated by dots
  std::string_view inner_type;  ///< of the text model where it does not state its own; empty: it must
};

/// A type that cannot be read, with what stands in the way as "which has ...".
struct RefusedType {
  std::string_view model_type;
  std::string_view reason;
};

/// The row of a type, or nullptr.
const ModelFamily* find_family(std::string_view model_type);
const ModelWrapper* find_wrapper(std::string_view model_type);
const RefusedType* find_refused_type(std::string_view model_type);

/// All types that a file may have and that are read, wrappers included, separated by commas.
std::string listed_model_types();

}  // namespace strata::detail
