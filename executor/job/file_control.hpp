// SPDX-License-Identifier: Apache-2.0
// The control path of a job whose processes know only their number and a folder that all of them see, as
// under torchrun or Slurm without MPI. Every message is a file, written beside its place and renamed into it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "executor/job/control.hpp"

namespace strata {

/// Collective: `processes` processes call it, each with its own number, the same `job` and the same existing
/// `directory`. What an earlier job of the same id left behind, killed or not, is removed and never read. Two
/// jobs that run at the same time must have two ids.
///
/// A process says hello with a random number of its own. Process 0 opens a session, a folder named by its
/// number, and lists the numbers it has seen in a welcome until all of them have acknowledged it in that
/// folder. Everything later lies in the session's folder. finish() removes it and the job's folder. A job
/// that ended otherwise leaves both, with the messages that nobody read.
///
/// The file system is assumed to rename atomically, and to show a file whole to whoever opens it after it was
/// closed and renamed (POSIX, and NFS's close-to-open consistency). A client that caches directories only
/// delays. A wait opens the folder anew at every look, which makes NFS ask its server. It stirs the folder
/// now and then, so that the answer is never that nothing has changed. No locks are used. Messages take room
/// in the folder until they are read; a run gathers its results through them.
///
/// Throws InputError when `directory` is not there or not writable. Throws TransportError when not everybody
/// came within the deadline, naming those, or when another process took this one's number in a job of the
/// same id.
std::unique_ptr<Control> join_by_files(const std::filesystem::path& directory, const std::string& job,
                                       std::int32_t process, std::int32_t processes, Duration deadline);

}  // namespace strata
