// SPDX-License-Identifier: Apache-2.0
// What a step waited for: from the instruction that ended last, back through whatever each one waited for.
#pragma once

#include <cstdint>
#include <vector>

#include "core/program/timeline.hpp"
#include "traces/timelines/program_lookup.hpp"

namespace strata {

/// Indices into timeline.events, in time order, of one chain of `repeat` that ends with its last event. The
/// predecessor of an event is what ended last of all that its program makes it wait for: wait_for, and the
/// instruction before it on its stream. The predecessor of an exchange that waited is the participant that
/// arrived last. That of the first instruction of a stream is what ended last on its rank before. Ties go to
/// the smaller key.
std::vector<std::size_t> critical_path(const Timeline& timeline, WavePrograms programs, std::int32_t repeat);

}  // namespace strata
