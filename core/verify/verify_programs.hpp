// SPDX-License-Identifier: Apache-2.0
// Static proof that one wave's programs run: both ends of every exchange agree, no deadlock under rendezvous
// rules (lanes concurrent, and lanes serialised in issue order), wait_for points backwards, rows stay inside
// buffers, buffers that share arena bytes are never live at the same time, and every read is ordered after
// its write.
#pragma once

#include <string>
#include <vector>

#include "core/program/rank_program.hpp"
#include "core/verify/verify_schedule.hpp"

namespace strata {

std::vector<Violation> verify_programs(const std::vector<RankProgram>& programs, const std::string& place,
                                       std::size_t limit = 100);

}  // namespace strata
