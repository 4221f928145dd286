// SPDX-License-Identifier: Apache-2.0
// Output files that are whole or absent: written beside the target, synced, then renamed.
#pragma once

#include <functional>
#include <iosfwd>
#include <string>

namespace strata {

/// Calls `write` with a stream and puts what it wrote at `path`. On any exception, and on any failed write,
/// the temporary file is removed, `path` is untouched, and the exception (InputError naming `path` for the
/// file system's errors) goes on. A process that is killed meanwhile leaves no temporary file where the file
/// system knows files without a name (O_TMPFILE). A path that exists and is no regular file (a pipe, a
/// terminal) is written directly.
void write_file_atomically(const std::string& path, const std::function<void(std::ostream&)>& write);

}  // namespace strata
