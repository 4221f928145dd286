// SPDX-License-Identifier: Apache-2.0
// Counts what the code under test does, so that a test can say without a clock how its cost grows. It counts
// basic blocks that are entered, where the code was compiled with -fsanitize-coverage=trace-pc. It also
// counts bytes asked of operator new, because a table that one call fills with zeros is a single block. Equal
// runs count equal. The work must be on one thread: a program with this file in it gets no second one from
// parallel_for.
#pragma once

#include <cstdint>

namespace strata::testing {

struct Work {
  std::uint64_t blocks = 0;  ///< entered
  std::uint64_t bytes = 0;   ///< asked for, whether or not they were given back
};

/// What this thread has done so far.
Work work_done();

/// What `job` does.
template <typename Job>
Work work_of(const Job& job) {
  const Work before = work_done();
  job();
  const Work after = work_done();
  return {after.blocks - before.blocks, after.bytes - before.bytes};
}

}  // namespace strata::testing
