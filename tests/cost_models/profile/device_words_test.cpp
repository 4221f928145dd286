// SPDX-License-Identifier: Apache-2.0
// A device is what its name says, and its topology's name where its own only counts.
#include "cost_models/profile/device_words.hpp"

#include <gtest/gtest.h>

#include "core/base/check.hpp"
#include "cost_models/profile/cost_profile.hpp"

namespace strata {
namespace {

Topology cluster(const std::string& name, const std::vector<std::string>& devices) {
  Topology topology;
  topology.name = name;
  topology.nodes = {"n"};
  for (const std::string& device : devices) {
    topology.rank_device.push_back(static_cast<std::int32_t>(topology.devices.size()));
    topology.devices.push_back({device, 0, 1, 1, {}});
  }
  return topology;
}

using Words = std::vector<std::string>;

TEST(DeviceWords, AreThoseBehindTheLastDot) {
  EXPECT_EQ(device_words(cluster("box", {"cpu-node1.A100 SXM4"}), 0), (Words{"a100", "sxm4"}));
  EXPECT_EQ(device_words(cluster("box", {"NVIDIA H100 80GB HBM3"}), 0),
            (Words{"nvidia", "h100", "80gb", "hbm3"}));
}

TEST(DeviceWords, AreTheTopologysWhereTheNameOnlyCounts) {
  for (const char* name : {"node0.gpu3", "device7", "3", "gpu_0"}) {
    EXPECT_EQ(device_words(cluster("dgx_h100:2", {name}), 0), (Words{"dgx", "h100", "2"})) << name;
  }
  EXPECT_EQ(device_words(cluster("h100", {"tpu0"}), 0), (Words{"tpu0"}));
}

TEST(DeviceWords, MatchAsAWholeWithANumberBehind) {
  EXPECT_TRUE(words_match({"h100"}, {"h100"}));
  EXPECT_TRUE(words_match({"h1003"}, {"h100"})) << "the fourth of its kind";
  EXPECT_FALSE(words_match({"gh100"}, {"h100"}));
  EXPECT_FALSE(words_match({"cpunode"}, {"cpu"}));
  EXPECT_TRUE(words_match({"h100sxm5"}, {"h100*"}));
  EXPECT_FALSE(words_match({"h100", "pcie"}, {"h100", "!pcie"}));
  EXPECT_FALSE(words_match({"a100"}, {"!pcie"})) << "a refusal admits nothing";
}

std::string refused(const Topology& topology) {
  try {
    return "accepted as " + default_profile(topology).name;
  } catch (const InputError& error) {
    return error.what();
  }
}

TEST(ShippedProfile, IsTheOneForEveryDeviceWithRanks) {
  EXPECT_EQ(default_profile(named_topology("dgx_h100:1")).name, "h100");
  EXPECT_EQ(default_profile(named_topology("cpu:2x4")).name, "cpu");
  EXPECT_EQ(default_profile(cluster("mine", {"xeon.cpu0", "xeon.cpu1"})).name, "cpu");
  EXPECT_EQ(default_profile(cluster("mine", {"H100-0", "H100-1"})).name, "h100");
  Topology idle = cluster("mine", {"h100", "a100"});
  idle.rank_device = {0};
  EXPECT_EQ(default_profile(idle).name, "h100") << "the a100 serves no rank";
}

TEST(ShippedProfile, OfAnotherDeviceIsNeverUsed) {
  for (const char* name :
       {"a100", "H200", "b200_3", "mi300x", "gpu0", "cpunode.a1000", "H100 PCIe", "GH200"}) {
    const std::string message = refused(cluster("box", {name}));
    EXPECT_EQ(message.rfind("--profile: found no shipped profile for device '" + std::string(name) +
                                "' of topology box, expected --profile FILE with one; shipped: cpu (",
                            0),
              0U)
        << message;
  }
  EXPECT_NE(refused(cluster("mix of h100 and a100", {"h100-0", "a100-1"})).find("device 'a100-1'"),
            std::string::npos);
  EXPECT_NE(refused(cluster("mix", {"h100-0", "cpu1"})).find("no shipped profile for both"),
            std::string::npos);
}

TEST(ExpectCovered, NamesTheDeviceThatAProfileIsNotFor) {
  const CostProfile cpu = default_profile("cpu");
  EXPECT_NO_THROW(expect_covered(cpu, named_topology("cpu:1x2"), "p.json"));
  try {
    expect_covered(cpu, named_topology("dgx_h100:1"), "p.json");
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(),
                 "p.json: found profile cpu, which is for devices named cpu, in f32, bf16 and f16, heads of "
                 "64, 96, 128, 192 and 256, expected one for device 'node0.gpu0' of topology dgx_h100:1, or "
                 "--any-device");
  }
}

}  // namespace
}  // namespace strata
