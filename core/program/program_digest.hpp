// SPDX-License-Identifier: Apache-2.0
// Tells programs apart: a plan states the digests of the programs that it was predicted with.
#pragma once

#include <string>
#include <vector>

#include "core/program/rank_program.hpp"

namespace strata {

/// A digest of everything in the program: 32 hexadecimal digits, see core/base/digest.hpp.
std::string program_digest(const RankProgram& program);

/// The digests of one wave's programs, [rank].
std::vector<std::string> program_digests(const std::vector<RankProgram>& programs);

}  // namespace strata
