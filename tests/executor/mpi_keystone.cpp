// SPDX-License-Identifier: Apache-2.0
// A program for mpirun: the keystone's random cases on the processes of one job, one after the other. Process
// 0 compares with the oracle and, bit by bit, with a run of all ranks in its own process. Prints one line;
// exit code 1 when there was a fault. Argument: how many cases at least.
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <string>

#include "executor/job/mpi_job.hpp"
#include "executor/job/process_run.hpp"
#include "tests/executor/keystone.hpp"

namespace strata {
namespace {

/// Every plan of the six strategies has at most two lanes.
constexpr std::int32_t kLanes = 2;

std::string difference(const RunResult& mpi, const RunResult& cpu) {
  if (mpi.results != cpu.results) return "the results differ from those of the cpu executor";
  if (mpi.timeline.events.size() != cpu.timeline.events.size()) return "the timelines differ in their events";
  for (std::size_t i = 0; i < mpi.timeline.events.size(); ++i) {
    const TimelineEvent& a = mpi.timeline.events[i];
    const TimelineEvent& b = cpu.timeline.events[i];
    if (key_less(a, b) || key_less(b, a) || a.bytes != b.bytes || a.flops != b.flops) {
      return fmt::format("event {} differs", i);
    }
    if (a.posted_ns < 0 || a.posted_ns > a.matched_ns || a.matched_ns > a.end_ns) {
      return fmt::format("event {} has times {}, {}, {}", i, a.posted_ns, a.matched_ns, a.end_ns);
    }
  }
  return "";
}

int run(std::int64_t cases) {
  const std::unique_ptr<MpiJob> job = start_mpi(Duration{60'000'000'000});
  const bool checks = job->process() == 0;
  try {
    const TransportFactory transports = job->transports(kLanes);
    const auto runner = [&](const Execution& execution, const CpuOptions& options) {
      CpuOptions here = options;
      here.threads = 1;
      ProcessRun ran = run_in_processes(execution, here, *job, transports, "mpi");
      testing::RunnerOutcome outcome;
      if (!checks) return outcome;
      outcome.fault = difference(ran.result, run_on_cpu(execution, options));
      outcome.result = std::move(ran.result);
      return outcome;
    };
    testing::Keystone keystone(runner, checks);
    std::int64_t batches = 0;
    while (keystone.cases() < cases) {
      keystone.run(static_cast<std::uint64_t>(batches++), testing::BatchSize::small);
    }
    const std::vector<std::string> faults = keystone.faults(batches);
    job->barrier("finishing");
    job->finish();
    if (!checks) return 0;
    fmt::print("{} cases of {} batches, {} faults\n", keystone.cases(), batches, faults.size());
    for (const std::string& fault : faults) fmt::print("{}\n", fault);
    return faults.empty() ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    job->abort(4);
  }
}

}  // namespace
}  // namespace strata

int main(int argc, char** argv) { return strata::run(argc > 1 ? std::stoll(argv[1]) : 200); }
