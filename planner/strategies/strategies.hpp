// SPDX-License-Identifier: Apache-2.0
// The strategies, one small file each. planner/strategies/strategy_table.hpp lists them; nothing else calls
// these.
#pragma once

#include "planner/strategies/strategy.hpp"

namespace strata {

/// All-to-all from token shards to head shards and back (DeepSpeed-Ulysses, arXiv 2309.14509).
Strategy ulysses_strategy();
/// Contiguous shards, KV passed from neighbour to neighbour (ring attention, arXiv 2310.01889).
Strategy ring_strategy();
/// The ring over zigzag chunks of the packed row, which balances one long causal document.
Strategy zigzag_ring_strategy();
/// Every document cut over all ranks (WLB-LLM, arXiv 2503.17924), KV in one exchange.
Strategy per_document_strategy();
/// Zigzag chunks of the packed row, KV in one exchange (Llama 3, arXiv 2407.21783, section 3.3.2).
Strategy allgather_strategy();
/// Every document on one rank; nothing moves.
Strategy whole_document_strategy();

}  // namespace strata
