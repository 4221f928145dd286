// SPDX-License-Identifier: Apache-2.0
// The weights of a model and the work of its linear layers. Every weight of a matrix is one multiply-add a
// token, so both are the same sums: one over all experts, one over those that a token passes.
#include "core/problem/model_shape.hpp"

namespace strata {

namespace {

/// Query, key, value and output projections of one layer.
double attention_weights(const ModelShape& model) {
  const auto hidden = static_cast<double>(model.hidden);
  const double q = static_cast<double>(model.query_heads) * model.head_dim;
  const double k = static_cast<double>(model.kv_heads) * model.head_dim;
  const double v = static_cast<double>(model.kv_heads) * model.value_head_dim;
  const double o = static_cast<double>(model.query_heads) * model.value_head_dim;
  const LatentShape& latent = model.latent;
  if (latent.kv_rank == 0) return hidden * (q + k + v + o);
  const auto kv_rank = static_cast<double>(latent.kv_rank);
  const auto query_rank = static_cast<double>(latent.query_rank);
  const auto rope = static_cast<double>(latent.rope_head_dim);
  const double queries = latent.query_rank == 0 ? hidden * q : hidden * query_rank + query_rank * q;
  // The key part with positions comes from the hidden row directly, once for all heads.
  const double down = hidden * (kv_rank + rope);
  const double up = kv_rank * (k - model.kv_heads * rope + v);
  return queries + down + up + hidden * o;
}

/// Router and `experts` routed experts of one layer, and what every token passes.
double expert_weights(const ModelShape& model, double experts) {
  const auto hidden = static_cast<double>(model.hidden);
  const double width =
      experts * static_cast<double>(model.experts.ffn) + static_cast<double>(model.experts.shared_ffn);
  return hidden * (model.experts.routed + model.ffn_matrices * width);
}

/// All layers, with `experts` routed experts in each that has any.
double layer_weights(const ModelShape& model, double experts) {
  const double dense =
      static_cast<double>(model.hidden) * model.ffn_matrices * static_cast<double>(model.ffn);
  const std::int32_t with_experts = expert_layers(model);
  return model.layers * attention_weights(model) + (model.layers - with_experts) * dense +
         with_experts * expert_weights(model, experts);
}

double embedding_weights(const ModelShape& model) {
  const double matrices = model.tied_embeddings ? 1 : 2;
  return matrices * static_cast<double>(model.vocabulary) * static_cast<double>(model.hidden);
}

}  // namespace

double active_ffn(const ModelShape& model) {
  const ExpertShape& experts = model.experts;
  const double with_experts = expert_layers(model);
  const double passed = static_cast<double>(experts.per_token) * static_cast<double>(experts.ffn) +
                        static_cast<double>(experts.shared_ffn);
  return ((model.layers - with_experts) * static_cast<double>(model.ffn) + with_experts * passed) /
         model.layers;
}

double linear_flops_per_token(const ModelShape& model) {
  return 2.0 * layer_weights(model, model.experts.per_token) / model.layers;
}

double parameter_count(const ModelShape& model) {
  return layer_weights(model, model.experts.routed) + embedding_weights(model);
}

double active_parameter_count(const ModelShape& model) {
  return layer_weights(model, model.experts.per_token) + embedding_weights(model);
}

}  // namespace strata
