// SPDX-License-Identifier: Apache-2.0
// The instruction set that the kernels run on. It is chosen once at run time among those compiled in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace strata::kernels {

/// Name of the instruction set in use, for reports and timelines ("AVX3", "AVX2", "SSE2", "NEON", ...).
std::string instruction_set();

/// Every compiled-in instruction set that this machine can run, best first.
std::vector<std::string> available_instruction_sets();

/// Restricts all kernels to the named set (tests and comparisons); false, and no change, when not available.
/// Results are reproducible per instruction set. Not to be called while kernels run or work lists built
/// before are in use.
bool select_instruction_set(const std::string& name);

/// Runs `iterations` rounds of twelve independent chains of fp32 multiply-adds; returns the FLOPs done.
std::int64_t run_multiply_adds(std::int64_t iterations);

/// Measured fp32 multiply-add rate of the calling thread in FLOP/s: `iterations` rounds of independent
/// chains.
double measure_peak_flops(std::int64_t iterations);

}  // namespace strata::kernels
