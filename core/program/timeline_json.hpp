// SPDX-License-Identifier: Apache-2.0
// Timeline files: a header and one line of numbers per event, so that a million events stay readable and
// small.
#pragma once

#include <iosfwd>
#include <string>

#include "core/program/timeline.hpp"

namespace strata {

inline constexpr std::int32_t kTimelineFormatVersion = 2;

/// Throws InputError naming file and JSON path; events come back sorted by key, each key once.
Timeline read_timeline(const std::string& path);
Timeline read_timeline(std::istream& in, const std::string& name);

/// Atomically: `path` has the whole timeline or is untouched.
void write_timeline(const Timeline& timeline, const std::string& path);
void write_timeline(const Timeline& timeline, std::ostream& out);

}  // namespace strata
