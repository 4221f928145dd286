// SPDX-License-Identifier: Apache-2.0
#include "tools/job/process_job.hpp"

#include <fmt/format.h>

#include <iostream>
#include <optional>

#include "core/base/visible_text.hpp"
#include "executor/job/agreement.hpp"
#include "tools/error_report.hpp"
#include "tools/job/job_watchdog.hpp"
#include "tools/job/join_mpi.hpp"
#include "tools/job/join_nccl.hpp"

namespace strata::tools {

namespace {

constexpr std::int64_t kDefaultDeadlineS = 60;

void finish(Control& control) {
  const JobWatchdog watchdog(control.deadline(), control.process(), "leaving the job");
  control.finish();
}

/// Ends all processes for a reason that only this one knows.
[[noreturn]] void fail(ProcessJob& job) {
  int code = 4;
  try {
    throw;
  } catch (const JobEnded& error) {
    code = error.code();  // whoever ended it has said why
  } catch (...) {
    code = report_current_exception();
  }
  job.control().abort(code, [&] { job.abandon(); });
}

void check_count(ProcessJob& job, std::int32_t ranks, const std::string& name) {
  const std::int32_t processes = job.control().processes();
  if (processes == ranks || (processes < ranks && job.shares_processes())) return;
  constexpr int kBadUsage = 2;
  throw AgreedError(fmt::format("{}: found {} processes, expected {}{}, one per rank", name, processes,
                                job.shares_processes() ? "at most " : "", ranks),
                    kBadUsage);
}

}  // namespace

std::unique_ptr<ProcessJob> join_job(const RunOptions& options, const JobCommand& command) {
  const Duration deadline{options.deadline_s.value_or(kDefaultDeadlineS) * 1'000'000'000};
  return options.executor == "nccl" ? join_nccl_job(options, deadline, command)
                                    : join_mpi_job(deadline, command);
}

RunSetup load_in_job(ProcessJob& job, const std::string& name, const std::function<RunSetup()>& set_up) {
  RunSetup setup;
  std::optional<RunIdentity> identity;
  std::string failure;
  try {
    setup = set_up();
    identity = identify_run(setup.execution, setup.cpu);
  } catch (const InputError& error) {
    failure = error.what();
  } catch (const std::bad_alloc&) {
    failure = "found too little memory for the plan";
  }
  agree(job.control(), identity, failure);
  check_count(job, identity->ranks, name);
  job.open();
  return setup;
}

int in_job(ProcessJob& job, const std::function<void()>& body) {
  Control& control = job.control();
  try {
    body();
    job.close();
    finish(control);
  } catch (const AgreedError& error) {
    try {
      job.abandon();
      if (job.reports())
        std::cerr << fmt::format("strata: {}\n", visible_text(error.what(), LineEnds::kept)) << std::flush;
      control.barrier("reporting an error");
      finish(control);
    } catch (...) {
      fail(job);
    }
    return error.code();
  } catch (...) {
    fail(job);
  }
  return 0;
}

}  // namespace strata::tools
