// SPDX-License-Identifier: Apache-2.0
// NCCL: the library is found and told from others, and speaks without a driver; what we call of it, over a
// fake whose calls take a while or fail; on a GPU one rank sends to itself over every lane and runs plans.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "core/base/check.hpp"
#include "executor/device/network_probe.hpp"
#include "executor/device_error.hpp"
#include "executor/nccl/nccl_library.hpp"
#include "executor/nccl/nccl_network.hpp"
#include "tests/executor/strategy_runs.hpp"
#include "tests/executor/thread_job.hpp"
#include "tests/support/fake_nccl.hpp"
#include "tests/support/test_scale.hpp"

namespace strata {
namespace {

using testing::FakeNccl;

constexpr Duration kDeadline{60'000'000'000};

/// Why there is no NCCL library here; "" when there is one.
std::string missing() {
  try {
    nccl_library();
    return "";
  } catch (const DeviceError& error) {
    return error.what();
  }
}

std::string failure_of(const char* file) {
  try {
    load_nccl(file);
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "loaded";
}

TEST(Nccl, ALibraryThatIsNotThereOrIsAnotherOneIsNamed) {
  EXPECT_EQ(
      failure_of("/nowhere/libnccl.so.2"),
      "NCCL: found no library (/nowhere/libnccl.so.2: cannot open shared object file: No such file or "
      "directory), expected libnccl.so.2, version 2.18.0 or later (the environment variable STRATA_NCCL "
      "names a file)");
  EXPECT_EQ(
      failure_of("libm.so.6"),
      "NCCL: found a library without ncclGetVersion, expected libnccl.so.2, version 2.18.0 or later (the "
      "environment variable STRATA_NCCL names a file)");
}

TEST(Nccl, TheLibraryTellsItsVersionAndAnAddressWithoutAnyDriver) {
  if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  const NcclLibrary& nccl = nccl_library();
  EXPECT_GE(nccl.version, 21800);
  EXPECT_EQ(nccl_version(), nccl_version_text(nccl.version));
  ncclUniqueId id{};
  EXPECT_EQ(nccl.unique_id(&id), ncclSuccess);
  EXPECT_EQ(nccl.error_string(ncclSuccess), std::string("no error"));
}

/// One job of fakes: `body` runs in every process over its network.
using Body = std::function<void(testing::ThreadControl&, testing::HostAccelerator&, NcclNetwork&)>;
std::vector<std::string> run_fakes(std::int32_t processes, std::vector<FakeNccl>& fakes, const Body& body,
                                   Duration deadline = kDeadline) {
  testing::HostWire wire;
  const NcclLibrary nccl = FakeNccl::library();
  fakes.resize(static_cast<std::size_t>(processes));
  return testing::run_job_of_threads(processes, deadline, [&](testing::ThreadControl& control) {
    testing::HostAccelerator device({.seed = static_cast<std::uint64_t>(control.process())});
    testing::HostNetwork wired(wire, device, control.process());
    FakeNccl& fake = fakes[static_cast<std::size_t>(control.process())];
    fake.network = &wired;
    fake.use();
    const auto network = make_nccl_network(nccl, control, testing::native_stream);
    body(control, device, *network);
  });
}

TEST(NcclNetwork, ConnectsALaneAtATimeAndClosesAllInOrder) {
  for (const int looks : {0, 1, 50}) {
    std::vector<FakeNccl> fakes(3);
    for (FakeNccl& fake : fakes) fake.looks_until_ready = looks;
    const auto thrown = run_fakes(3, fakes, [](auto& control, auto& device, NcclNetwork& network) {
      network.connect(1);
      network.connect(3);
      probe_network(device, control, network, 3);
    });
    EXPECT_EQ(thrown, std::vector<std::string>(3));
    for (const FakeNccl& fake : fakes) {
      EXPECT_EQ(fake.opened, 3);
      EXPECT_EQ(fake.exchanges, 3);
      EXPECT_EQ(fake.finalized, 3);
      EXPECT_EQ(fake.destroyed, 3);
      EXPECT_EQ(fake.aborted, 0);
    }
  }
}

TEST(NcclNetwork, RunsEveryStrategyAsOneDeviceWould) {
  const auto run = [](const Execution& execution, const DeviceOptions& options, std::uint64_t) {
    RunResult result;
    std::vector<FakeNccl> fakes;
    const auto ranks = static_cast<std::int32_t>(execution.waves.front().programs.size());
    const auto thrown = run_fakes(ranks, fakes, [&](auto& control, auto& device, NcclNetwork& network) {
      network.connect(4);
      ProcessRun own = run_on_devices(execution, options, device, control, network);
      if (control.process() == 0) result = std::move(own.result);
    });
    EXPECT_EQ(thrown, std::vector<std::string>(thrown.size()));
    return result;
  };
  testing::expect_random_batches(small_scale() ? 3 : 10, 300'000, run);
}

TEST(NcclNetwork, SaysWhatFailedInTheLibrarysWords) {
  std::vector<FakeNccl> fakes(1);
  fakes[0].init_result = ncclInvalidArgument;
  const auto connect = [](auto&, auto&, NcclNetwork& network) { network.connect(1); };
  EXPECT_EQ(run_fakes(1, fakes, connect)[0], "rank 0: NCCL: connecting: invalid argument: told by the fake");

  fakes.assign(1, {});
  fakes[0].send_result = ncclRemoteError;
  const auto probe = [](auto& control, auto& device, NcclNetwork& network) {
    network.connect(1);
    probe_network(device, control, network, 1);
  };
  EXPECT_EQ(run_fakes(1, fakes, probe)[0], "rank 0: NCCL: sending: remote process exited: told by the fake");

  fakes.assign(2, {});
  fakes[0].fails_at = 20;  // while it waits for a rank that sends nothing
  const auto probe_alone = [&](auto& control, auto& device, NcclNetwork& network) {
    network.connect(1);
    if (control.process() == 0) probe_network(device, control, network, 1);
  };
  EXPECT_EQ(run_fakes(2, fakes, probe_alone)[0],
            "rank 0: NCCL: a transfer: remote process exited: told by the fake");
  EXPECT_EQ(fakes[0].aborted, 1);
  EXPECT_EQ(fakes[1].destroyed, 1);
}

TEST(NcclNetwork, WhatNeverComesToAnEndEndsAtTheDeadline) {
  std::vector<FakeNccl> fakes(1);
  fakes[0].looks_until_ready = -1;
  const auto connect = [](auto&, auto&, NcclNetwork& network) { network.connect(1); };
  EXPECT_EQ(run_fakes(1, fakes, connect, Duration{1'000'000'000})[0],
            "rank 0: NCCL: connecting: not all ranks took part within 1 s");
}

TEST(NcclNetwork, AbortEndsEveryCommunicatorAndLeavesNoneToClose) {
  std::vector<FakeNccl> fakes(1);
  const auto thrown = run_fakes(1, fakes, [](auto&, auto&, NcclNetwork& network) {
    network.connect(2);
    network.abort();
  });
  EXPECT_EQ(thrown[0], "");
  EXPECT_EQ(fakes[0].aborted, 2);
  EXPECT_EQ(fakes[0].finalized, 0);
}

TEST(NcclNetwork, ACommunicatorThatWasClosedIsNotAbortedWhenTheNextCannotBeClosed) {
  std::vector<FakeNccl> fakes(1);
  fakes[0].looks_until_ready = 0;
  const auto thrown = run_fakes(1, fakes, [&](auto&, auto&, NcclNetwork& network) {
    network.connect(3);
    fakes[0].looks_until_ready = 3;
    fakes[0].fails_at = fakes[0].looks + 5;  // the second one's
  });
  EXPECT_EQ(thrown[0], "");
  EXPECT_EQ(fakes[0].destroyed, 1);
  EXPECT_EQ(fakes[0].aborted, 2);
  EXPECT_EQ(fakes[0].used_after_end, 0);
}

class NcclOnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
    try {
      gpu_count();
    } catch (const DeviceError& error) {
      GTEST_SKIP() << error.what();
    }
  }
};

TEST_F(NcclOnGpu, OneRankSendsToItselfOverEveryLane) {
  const auto thrown = testing::run_job_of_threads(1, kDeadline, [](testing::ThreadControl& control) {
    const std::unique_ptr<Gpu> gpu = open_gpu(0);
    const std::unique_ptr<NcclNetwork> network = open_nccl(control, *gpu);
    network->connect(2);
    probe_network(*gpu, control, *network, 2);
  });
  EXPECT_EQ(thrown.front(), "");
}

TEST_F(NcclOnGpu, OneRankRunsEveryStrategyAsADeviceOfItsOwn) {
  const testing::RandomBatch batch = testing::tensor_core_batch(1, 64, {300, 1, 77});
  std::vector<std::int64_t> ran;
  const auto run = [](const Execution& execution, const DeviceOptions& options, std::uint64_t) {
    RunResult result;
    const auto thrown = testing::run_job_of_threads(1, kDeadline, [&](testing::ThreadControl& control) {
      const std::unique_ptr<Gpu> gpu = open_gpu(0);
      const std::unique_ptr<NcclNetwork> network = open_nccl(control, *gpu);
      network->connect(1);
      result = run_on_devices(execution, options, *gpu, control, *network).result;
    });
    EXPECT_EQ(thrown.front(), "");
    return result;
  };
  testing::expect_strategies(batch, 5, run, ran);
  EXPECT_EQ(ran, std::vector<std::int64_t>(ran.size(), 1));
}

}  // namespace
}  // namespace strata
