// SPDX-License-Identifier: Apache-2.0
#include "cost_models/cost/memory_cost.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "core/base/check.hpp"
#include "core/base/checked.hpp"
#include "core/base/overloaded.hpp"
#include "cost_models/profile/device_words.hpp"

namespace strata {

namespace {

/// An all-to-all among eight H100s was seen to add 3.28 GB a GPU: seven peers, 32 channels each, 14 MiB a
/// channel (NCCL issue 1685).
constexpr std::int64_t kPeerBuffers = std::int64_t{448} << 20;
/// The buffers that sends and receives over the network share (NCCL issue 2363).
constexpr std::int64_t kNetworkBuffers = std::int64_t{512} << 20;
constexpr std::int64_t kLogitBytes = 4;

/// Bytes of one token in one layer.
struct TokenBytes {
  std::int64_t input = 0;  ///< the layer's input
  std::int64_t rows = 0;   ///< q, k, v and o
  std::int64_t inner = 0;  ///< what else the linear layers keep
  std::int64_t lse = 0;
};

TokenBytes token_bytes(const ModelShape& model) {
  const std::int64_t element = element_bytes(model.element_type);
  const std::int64_t widths = std::int64_t{model.head_dim} + model.value_head_dim;
  TokenBytes bytes;
  bytes.input = element * model.hidden;
  bytes.rows = element * widths * (std::int64_t{model.query_heads} + model.kv_heads);
  // Each matrix of the network but the last has an output of the inner width, and a gate one more: their
  // product. So there are as many inner rows as matrices.
  bytes.inner = element * (3 * model.hidden + checked_ceil(model.ffn_matrices * active_ffn(model)));
  bytes.lse = std::int64_t{model.query_heads} * 4;
  return bytes;
}

std::int64_t activation_bytes(const ModelShape& model, const PlanOptions& options) {
  const TokenBytes token = token_bytes(model);
  const std::int64_t layers = model.layers;
  switch (options.recompute) {
    case Recompute::none:
      return checked_product(layers, token.input + token.rows + token.inner);
    case Recompute::selective:
      return checked_sum(checked_product(layers, token.input + token.rows), token.inner);
    case Recompute::full:
      return checked_sum(checked_product(options.offload_activations ? 1 : layers, token.input), token.inner);
  }
  STRATA_CHECK(false, "recompute {} keeps nothing known", static_cast<int>(options.recompute));
}

std::int64_t logit_bytes(const ModelShape& model, const PlanOptions& options) {
  return options.logits == Logits::full ? checked_product(model.vocabulary, kLogitBytes) : 0;
}

Bytes attention_memory(const RankProgram& program, std::int64_t tokens, const ModelShape& model,
                       const PlanOptions& options) {
  if (options.recompute == Recompute::full) return program.arena;
  const std::int64_t kept = checked_product(retained_bytes(program).count, model.layers - 1);
  const std::int64_t all = checked_sum(program.arena.count, kept);
  if (all == kUncountable) return {all};
  const std::int64_t counted = checked_product(tokens, model.layers, token_bytes(model).rows);
  STRATA_CHECK(counted <= all, "rank {} owns rows of {} bytes, but its program holds {}", program.rank,
               counted, all);
  return {all - counted};
}

/// Peers of both passes, inside the node and outside, that another device serves.
struct Peers {
  std::int64_t inside = 0;
  bool outside = false;
};

/// `seen`: scratch, [rank] -> the last rank that had it for a peer, -1 at first. So the time is linear in the
/// messages of a rank, whatever the number of ranks is.
Peers peers_of(const RankProgram& program, const Topology& topology, std::vector<std::int32_t>& seen) {
  const auto device_of = [&](std::int32_t rank) {
    return topology.rank_device[static_cast<std::size_t>(rank)];
  };
  const auto node_of = [&](std::int32_t device) {
    return topology.devices[static_cast<std::size_t>(device)].node;
  };
  const std::int32_t own = device_of(program.rank);
  Peers peers;
  const auto visit = [&](const std::vector<ExchangePart>& parts) {
    for (const ExchangePart& part : parts) {
      if (std::exchange(seen[static_cast<std::size_t>(part.peer)], program.rank) == program.rank) continue;
      const std::int32_t device = device_of(part.peer);
      if (device == own) continue;
      if (node_of(device) == node_of(own)) {
        ++peers.inside;
      } else {
        peers.outside = true;
      }
    }
  };
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    for (const Instruction& instruction : program.instructions(pass)) {
      const Exchange* exchange = exchange_of(instruction.op);
      if (exchange == nullptr) continue;
      visit(exchange->sends);
      visit(exchange->receives);
    }
  }
  return peers;
}

std::optional<Bytes> communicator_memory(const RankProgram& program, const Topology& topology,
                                         std::vector<std::int32_t>& seen) {
  if (is_cpu(topology, topology.rank_device[static_cast<std::size_t>(program.rank)])) return std::nullopt;
  const Peers peers = peers_of(program, topology, seen);
  return Bytes{peers.inside * kPeerBuffers + (peers.outside ? kNetworkBuffers : 0)};
}

/// Ranks of every device.
std::vector<std::int32_t> ranks_per_device(const Topology& topology) {
  std::vector<std::int32_t> ranks(topology.devices.size(), 0);
  for (const std::int32_t device : topology.rank_device) ++ranks[static_cast<std::size_t>(device)];
  return ranks;
}

bool exceeds_more(const MemoryExcess& a, const MemoryExcess& b) {
  return static_cast<double>(a.needed.count) / static_cast<double>(a.allowed.count) >
         static_cast<double>(b.needed.count) / static_cast<double>(b.allowed.count);
}

}  // namespace

Bytes retained_bytes(const RankProgram& program) {
  Bytes total;
  for (const Buffer& buffer : program.buffers) {
    const bool kept = buffer.role == BufferRole::q || buffer.role == BufferRole::kv ||
                      buffer.role == BufferRole::o || buffer.role == BufferRole::lse;
    if (!buffer.persistent || !kept) continue;
    total.count += arena_aligned(buffer.bytes().count);
  }
  return total;
}

Bytes state_memory(const ModelShape& model, const PlanOptions& options, std::int32_t rank_count) {
  const double shards = options.state_shards > 0 ? options.state_shards : rank_count;
  return {checked_ceil(parameter_count(model) * options.state_bytes_per_parameter / shards)};
}

std::int64_t owned_tokens(const RankProgram& program) {
  const std::int32_t own = program.local.q;
  return own < 0 ? 0 : program.buffers[static_cast<std::size_t>(own)].rows;
}

namespace {

/// `seen` as in peers_of.
MemoryTerms rank_memory(const RankProgram& program, const ModelShape& model, const PlanOptions& options,
                        const Topology& topology, Bytes state, std::vector<std::int32_t>& seen) {
  const std::int64_t tokens = owned_tokens(program);
  MemoryTerms terms;
  terms.state = state;
  terms.activations = {checked_product(tokens, activation_bytes(model, options))};
  terms.attention = attention_memory(program, tokens, model, options);
  if (model.vocabulary > 0 && options.logits == Logits::full) {
    terms.logits = Bytes{checked_product(tokens, logit_bytes(model, options))};
  }
  terms.communicators = communicator_memory(program, topology, seen);
  return terms;
}

}  // namespace

MemoryTerms rank_memory(const RankProgram& program, const ModelShape& model, const PlanOptions& options,
                        const Topology& topology) {
  std::vector<std::int32_t> seen(topology.rank_device.size(), -1);
  return rank_memory(program, model, options, topology, state_memory(model, options, topology.rank_count()),
                     seen);
}

void MemoryPrediction::add(std::int32_t wave_index, const RankProgram& program, const MemoryTerms& terms) {
  const auto rank = static_cast<std::size_t>(program.rank);
  if (ranks.size() <= rank) {
    ranks.resize(rank + 1);
    wave.resize(rank + 1, -1);
  }
  arena = std::max(arena, program.arena);
  if (wave[rank] >= 0 && terms.total() <= ranks[rank].total()) return;
  ranks[rank] = terms;
  wave[rank] = wave_index;
}

std::int32_t MemoryPrediction::largest_rank() const {
  STRATA_CHECK(!ranks.empty(), "the memory of no rank was predicted for {} waves", wave.size());
  const auto largest =
      std::max_element(ranks.begin(), ranks.end(),
                       [](const MemoryTerms& a, const MemoryTerms& b) { return a.total() < b.total(); });
  return static_cast<std::int32_t>(largest - ranks.begin());
}

MemoryPrediction predict_memory(const std::vector<std::vector<RankProgram>>& programs,
                                const ModelShape& model, const PlanOptions& options,
                                const Topology& topology) {
  MemoryPrediction memory;
  const Bytes state = state_memory(model, options, topology.rank_count());
  std::vector<std::int32_t> seen(topology.rank_device.size());
  for (std::size_t w = 0; w < programs.size(); ++w) {
    std::fill(seen.begin(), seen.end(), -1);  // the ranks come again
    for (const RankProgram& program : programs[w]) {
      memory.add(static_cast<std::int32_t>(w), program,
                 rank_memory(program, model, options, topology, state, seen));
    }
  }
  return memory;
}

void set_memory(const MemoryPrediction& memory, Prediction& predicted) {
  predicted.memory_rank = memory.largest_rank();
  predicted.memory = memory.ranks[static_cast<std::size_t>(predicted.memory_rank)];
  predicted.peak_memory = predicted.memory.total();
  predicted.arena = memory.arena;
}

std::optional<MemoryExcess> memory_excess(const MemoryPrediction& memory, const PlanOptions& options,
                                          const Topology& topology) {
  std::optional<MemoryExcess> worst;
  const auto consider = [&](const MemoryExcess& excess) {
    if (excess.needed > excess.allowed && (!worst || exceeds_more(excess, *worst))) worst = excess;
  };
  if (options.memory_cap.count > 0) {
    const std::int32_t rank = memory.largest_rank();
    consider({rank, 1, memory.ranks[static_cast<std::size_t>(rank)].total(), options.memory_cap,
              "the memory cap"});
    return worst;
  }
  if (!options.device_cap) return worst;
  std::vector<MemoryExcess> devices(topology.devices.size());
  std::vector<Bytes> largest(topology.devices.size());
  for (std::size_t rank = 0; rank < memory.ranks.size(); ++rank) {
    const auto device = static_cast<std::size_t>(topology.rank_device[rank]);
    const Bytes needed = memory.ranks[rank].total();
    MemoryExcess& sum = devices[device];
    sum.needed = {checked_sum(sum.needed.count, needed.count)};
    if (needed <= largest[device]) continue;
    largest[device] = needed;
    sum.rank = static_cast<std::int32_t>(rank);
  }
  const std::vector<std::int32_t> ranks = ranks_per_device(topology);
  for (std::size_t device = 0; device < devices.size(); ++device) {
    if (topology.devices[device].memory.count == 0) continue;
    devices[device].ranks = ranks[device];
    devices[device].allowed = topology.devices[device].memory;
    devices[device].cap = fmt::format("the memory of device {}", topology.devices[device].name);
    consider(devices[device]);
  }
  return worst;
}

Bytes least_token_memory(const ModelShape& model, const PlanOptions& options, std::int64_t tokens) {
  const TokenBytes token = token_bytes(model);
  const bool one_layer = options.recompute == Recompute::full;
  const std::int64_t attention =
      one_layer ? token.rows + token.lse : checked_product(token.lse, model.layers);
  return {checked_product(
      tokens, checked_sum(activation_bytes(model, options), attention, logit_bytes(model, options)))};
}

std::int64_t most_tokens(const ModelShape& model, const PlanOptions& options, const Topology& topology) {
  const std::int64_t state = state_memory(model, options, topology.rank_count()).count;
  const std::int64_t token = least_token_memory(model, options, 1).count;
  const auto room = [&](Bytes cap, std::int64_t ranks) {
    const std::int64_t left = std::max<std::int64_t>(0, cap.count - checked_product(state, ranks));
    return left / std::max<std::int64_t>(1, token);
  };
  if (options.memory_cap.count > 0) {
    return checked_product(topology.rank_count(), room(options.memory_cap, 1));
  }
  std::int64_t tokens = 0;
  const std::vector<std::int32_t> ranks = ranks_per_device(topology);
  for (std::size_t device = 0; device < ranks.size(); ++device) {
    if (ranks[device] == 0) continue;
    const Bytes memory = topology.devices[device].memory;
    if (!options.device_cap || memory.count == 0) return std::numeric_limits<std::int64_t>::max();
    tokens = checked_sum(tokens, room(memory, ranks[device]));
  }
  return tokens;
}

}  // namespace strata
