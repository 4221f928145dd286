// SPDX-License-Identifier: Apache-2.0
// Jobs of one GPU and one rank per process. MPI or a shared folder carries what the processes tell each
// other; NCCL carries what their GPUs send.
#pragma once

#include <memory>

#include "tools/job/process_job.hpp"

namespace strata::tools {

/// See join_job. A process that nothing launched is a job of its own when one rank is all there is.
std::unique_ptr<ProcessJob> join_nccl_job(const RunOptions& options, Duration deadline,
                                          const JobCommand& command);

}  // namespace strata::tools
