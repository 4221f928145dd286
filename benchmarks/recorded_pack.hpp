// SPDX-License-Identifier: Apache-2.0
// The pack that the benchmarks of planning, lowering and verifying use, so that their figures go together.
#pragma once

#include <cstdint>
#include <vector>

namespace strata {

/// Row 1 of traces/samples/codeparrot_128k.jsonl.
inline const std::vector<std::int64_t> kRecordedPack = {
    261,  807,  527, 905,  253, 1220, 2528, 4321, 689,  2897,  1674, 533,  381,  5238, 43348, 291,  476,
    7923, 2245, 856, 4296, 504, 731,  1232, 275,  1446, 16413, 447,  301,  1669, 803,  1991,  1620, 1527,
    1581, 849,  968, 511,  624, 4710, 4122, 441,  794,  1187,  391,  2565, 617,  510,  574};

}  // namespace strata
