// SPDX-License-Identifier: Apache-2.0
#include "executor/device/device_executor.hpp"

#include <memory>
#include <new>
#include <utility>

#include "core/base/check.hpp"
#include "executor/device/device_run.hpp"
#include "executor/device/network_probe.hpp"
#include "executor/device_error.hpp"
#include "executor/job/agreement.hpp"

namespace strata {

RunResult run_on_device(const Execution& execution, const DeviceOptions& options, Accelerator& device) {
  return DeviceRun(execution, options, device, nullptr).run();
}

ProcessRun run_on_devices(const Execution& execution, const DeviceOptions& options, Accelerator& device,
                          Control& control, DeviceNetwork& network) {
  STRATA_CHECK(!execution.waves.empty(), "an execution without waves");
  const auto ranks = static_cast<std::int32_t>(execution.waves.front().programs.size());
  STRATA_CHECK(control.processes() == ranks, "{} processes for {} ranks", control.processes(), ranks);
  control.set_rank_count(ranks);
  const DeviceJob job{control, network};
  std::unique_ptr<DeviceRun> own;
  std::string failure;
  try {
    own = std::make_unique<DeviceRun>(execution, options, device, &job);
  } catch (const DeviceError& error) {
    failure = error.what();
  } catch (const std::bad_alloc&) {
    failure = "found too little memory for what belongs to the run";
  }
  agree_on_success(control, failure, "preparing the run");
  probe_peers(device, control, network, execution);
  ProcessRun run;
  run.machines = machine_count(control);
  own->record().clock.first = measure_clock(control);
  run.result = own->run();
  LocalRecord& record = own->record();
  record.clock.last = measure_clock(control);
  record.sent = std::exchange(run.result.sent, {});
  record.events = std::exchange(run.result.timeline.events, {});
  run.result.timeline.device_count = ranks;
  gather_results(control, execution, std::move(record), run.result);
  return run;
}

}  // namespace strata
