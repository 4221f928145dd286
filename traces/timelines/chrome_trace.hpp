// SPDX-License-Identifier: Apache-2.0
// A timeline as a Chrome trace (the JSON that Perfetto and chrome://tracing open): process = rank, thread =
// stream, one slice per instruction with its FLOPs, bytes and rates, one arrow per transfer from send to
// receive. Format: "Trace Event Format" of the Chromium project, phases M, X, s and f; times in microseconds.
#pragma once

#include <iosfwd>
#include <string>

#include "core/program/timeline.hpp"
#include "traces/timelines/program_lookup.hpp"

namespace strata {

/// Repeats follow one another. Equal inputs give equal bytes. InputError when `timeline` names instructions
/// that `programs` do not have. A send whose receive is not in the timeline gets no arrow and is counted in
/// otherData.transfers_without_receive.
void write_chrome_trace(const Timeline& timeline, WavePrograms programs, std::ostream& out);
/// The same into a file, whole or not at all.
void write_chrome_trace(const Timeline& timeline, WavePrograms programs, const std::string& path);

}  // namespace strata
