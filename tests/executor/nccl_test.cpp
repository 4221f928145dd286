// SPDX-License-Identifier: Apache-2.0
// NCCL: the library is found and told from others, and speaks without a driver; on a GPU one rank sends to
// itself over every lane and runs a plan. What a whole job does is tested without GPUs in device_job_test.
#include <gtest/gtest.h>

#include <string>

#include "core/check.hpp"
#include "executor/nccl_library.hpp"
#include "executor/nccl_network.hpp"
#include "executor/network_probe.hpp"
#include "tests/executor/strategy_runs.hpp"
#include "tests/executor/thread_job.hpp"

namespace strata {
namespace {

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
