// SPDX-License-Identifier: Apache-2.0
// Good waves small enough to follow by hand, one for each way in which data moves. Model: 4 query heads, 2 KV
// heads.
#pragma once

#include "core/plan/plan.hpp"

namespace strata::test {

/// 4 query heads, 2 KV heads, dense causal attention.
ModelShape hand_built_model();

/// Document 0 of 12 tokens on 3 ranks, 4 each. Step 0: KV of ranks 0 and 1 goes to the ranks behind as
/// multicasts, and everybody computes with its own keys. Step 1: everybody computes with the keys received.
Wave multicast_wave();
/// The same, but rank 1 passes the rows of rank 0 on to rank 2: three steps, and dKV climbs back the same
/// way.
Wave relay_wave();
/// Document 0 of 12 tokens on 2 ranks, 6 each. Rank 0 computes heads [0, 2), rank 1 heads [2, 4), of all
/// rows: q and kv travel in step 0, tasks run in step 1, finished outputs return in step 2.
Wave head_split_wave();
/// Document 0 of 8 tokens on 2 ranks, 4 each. Queries of rank 1 visit the keys of rank 0 (steps 0, 1), and
/// the partial output comes home (step 2).
Wave travelling_query_wave();

/// Document 0 of 12 tokens on 3 ranks, 4 each. Queries of rank 2 reach rank 0 by way of rank 1, which does
/// not compute with them: steps 0 and 1; rank 0 computes in step 2 and returns its part in step 3.
Wave relayed_query_wave();
/// Document 0 of 16 tokens on 3 ranks; rank 1 owns rows [0, 4) and [12, 16), rank 0 [4, 8), rank 2 [8, 12).
/// Step 0: rank 1 exchanges keys with rank 0 and gets those of rank 2. Step 1: rank 1 hands rows [0, 8) on to
/// rank 2 in one slice, its own and those of rank 0. dKV climbs back the same way.
Wave mixed_slice_wave();

/// `wave` with its derived backward schedule written down as explicit steps.
Wave with_explicit_backward(Wave wave, const ModelShape& model);

}  // namespace strata::test
