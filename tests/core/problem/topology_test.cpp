// SPDX-License-Identifier: Apache-2.0
// Machines: routes worked out by hand, named machines, files, and machines that cannot be.
#include "core/problem/topology.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "core/problem/route_table.hpp"
#include "core/problem/topology_json.hpp"
#include "tests/core/json/bad_input.hpp"

namespace strata {
namespace {

using test::input_error;

Topology read(const std::string& text) {
  std::istringstream in(text);
  return read_topology(in, "t.json");
}

TEST(NamedTopology, GivesDgxNodesTheirSwitchesAndNics) {
  const Topology topology = named_topology("dgx_h100:2");
  validate(topology, "dgx_h100:2");
  EXPECT_EQ(topology.rank_count(), 16);
  EXPECT_EQ(topology.devices[15].node, 1);
  const RouteTable routes(topology);
  EXPECT_EQ(routes.between(0, 7).latency, Duration{7500});
  EXPECT_EQ(routes.between(0, 7).bandwidth, BytesPerSecond{370e9});
  EXPECT_EQ(routes.between(0, 7).level, LinkLevel::node);
  EXPECT_EQ(routes.between(0, 8).bandwidth, BytesPerSecond{48e9});
  EXPECT_EQ(routes.between(0, 8).level, LinkLevel::network);
  EXPECT_EQ(routes.between(0, 8).latency, Duration{18900});
  EXPECT_TRUE(std::none_of(topology.links.begin(), topology.links.end(),
                           [](const Link& link) { return link.level == LinkLevel::device; }));
}

TEST(NamedTopology, GivesCpuHostsSharedCores) {
  const Topology topology = named_topology("cpu:2x4");
  validate(topology, "cpu:2x4");
  EXPECT_EQ(topology.devices.size(), 2U);
  EXPECT_EQ(topology.devices[0].cores, 4);
  EXPECT_EQ(topology.rank_device, (std::vector<std::int32_t>{0, 0, 0, 0, 1, 1, 1, 1}));
  const RouteTable routes(topology);
  EXPECT_EQ(routes.between(0, 3), Route{});
  EXPECT_EQ(routes.between(0, 3).level, LinkLevel::device);
  EXPECT_EQ(routes.between(3, 4).level, LinkLevel::network);
  EXPECT_EQ(named_topology("cpu:1x8:2").devices[0].cores, 2);
  EXPECT_TRUE(named_topology("cpu:1x8:2").links.empty());
}

TEST(NamedTopology, RejectsWhatItCannotRead) {
  for (const char* spec :
       {"dgx_h100:", "dgx_h100:0", "dgx_h100:8x", "dgx_h100:-1", "dgx_h100:513", "cpu:2", "cpu:2x", "cpu:x4",
        "cpu:2x4:", "cpu:2x4:0", "cpu:2x4:2:2", "cpu:300x300", "gpu:4"}) {
    EXPECT_EQ(
        input_error([&] { named_topology(spec); }),
        fmt::format(
            "topology: found '{}', expected dgx_h100:NODES, cpu:HOSTSxRANKS or cpu:HOSTSxRANKS:CORES, at "
            "most 65536 ranks on 4096 devices, or a JSON file",
            spec));
  }
  EXPECT_TRUE(is_named_topology("cpu:2x"));
  EXPECT_FALSE(is_named_topology("machine.json"));
}

TEST(Topology, KeepsTheFirstRanks) {
  const Topology topology = named_topology("dgx_h100:1");
  EXPECT_EQ(with_ranks(topology, 3).rank_device, (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_EQ(with_ranks(topology, 3).devices, topology.devices);
  EXPECT_EQ(input_error([&] { with_ranks(topology, 9); }),
            "ranks: found 9, expected 1 to 8, the ranks of topology 'dgx_h100:1'");
  EXPECT_EQ(input_error([&] { with_ranks(topology, 0); }),
            "ranks: found 0, expected 1 to 8, the ranks of topology 'dgx_h100:1'");
}

TEST(Topology, HasABoundedNumberOfRoutes) {
  Topology topology;
  topology.nodes = {"n"};
  for (std::int32_t i = 0; i <= kMaxRankDevices; ++i) {
    topology.devices.push_back({"d", 0, 1, 1.0, Bytes{}});
    topology.rank_device.push_back(i);
  }
  EXPECT_EQ(input_error([&] { validate(topology, "t"); }),
            "t: found 4097 devices with ranks, expected at most 4096");
}

TEST(TopologyJson, WritesWhatItReads) {
  for (const char* spec : {"dgx_h100:1", "dgx_h100:3", "cpu:1x1", "cpu:3x4:2"}) {
    const Topology topology = named_topology(spec);
    EXPECT_EQ(read(to_json(topology)), topology);
    EXPECT_EQ(to_json(read(to_json(topology))), to_json(topology));
    EXPECT_EQ(load_topology(spec), topology);
  }
}

TEST(TopologyJson, KeepsBandwidthsExactly) {
  Topology topology = named_topology("cpu:2x1");
  for (int i = 1; i < 5000; ++i) {
    topology.links[0].bandwidth.value = (i / 7.0) * 1e9;
    ASSERT_EQ(read(to_json(topology)), topology) << i;
  }
}

const std::string kPair = R"({"name":"pair","nodes":["n"],)"
                          R"("devices":[{"name":"a","node":0},{"name":"b","node":0,"cores":4}],"links":[)"
                          R"({"from":0,"to":1,"level":"node","latency_ns":5,"bandwidth_gbytes_per_s":2.5},)"
                          R"({"from":1,"to":0,"level":"node","latency_ns":6,"bandwidth_gbytes_per_s":3}],)"
                          R"("ranks":[{"devices":[0]},{"devices":[1]}]})";

std::string error_of(const std::string& from, const std::string& to) {
  return input_error([&] { read(test::edited(kPair, from, to)); });
}

TEST(TopologyJson, ReadsAFileWithoutOptionalFields) {
  const Topology pair = read(kPair);
  EXPECT_EQ(pair.devices[0].cores, 1);
  EXPECT_EQ(pair.devices[1].cores, 4);
  EXPECT_EQ(pair.devices[0].relative_speed, 1.0);
  EXPECT_EQ(pair.links[0].bandwidth, BytesPerSecond{2.5e9});
  EXPECT_TRUE(pair.switches.empty());
}

TEST(TopologyJson, NamesWhatIsWrong) {
  EXPECT_EQ(error_of(R"(,{"from":1,"to":0,"level":"node","latency_ns":6,"bandwidth_gbytes_per_s":3})", ""),
            "t.json: found no route from rank 1 to rank 0, expected links between the devices of all ranks, "
            "in both "
            "directions");
  EXPECT_EQ(error_of(R"({"devices":[1]})", R"({"devices":[2]})"),
            "t.json: found ranks[1].devices[0] = 2, expected 0 to 1");
  EXPECT_EQ(error_of(R"({"devices":[1]})", R"({"devices":[0,1]})"),
            "t.json: ranks[1].devices: found 2 devices, expected one device per rank");
  EXPECT_EQ(error_of(R"("from":1,"to":0)", R"("from":0,"to":1)"),
            "t.json: found links[1], a second link from 0 to 1, expected one link per direction");
  EXPECT_EQ(error_of(R"("from":1,"to":0)", R"("from":1,"to":1)"),
            "t.json: found links[1] from 1 to itself, expected two ends");
  EXPECT_EQ(error_of(R"("from":1,"to":0)", R"("from":1,"to":7)"),
            "t.json: found links[1].to = 7, expected 0 to 1");
  EXPECT_EQ(error_of(R"("node":0,"cores")", R"("node":3,"cores")"),
            "t.json: found devices[1].node = 3, expected 0 to 0");
  EXPECT_EQ(error_of("2.5", "0"), "t.json: found links[0].bandwidth = 0 bytes/s, expected above 0");
  EXPECT_EQ(error_of("2.5", "1e305"), "t.json: found links[0].bandwidth = inf bytes/s, expected above 0");
  EXPECT_EQ(error_of("2.5", "-1"),
            "t.json: links[0].bandwidth_gbytes_per_s: found -1, expected a number of at least 0");
  EXPECT_EQ(error_of(":5", ":1000000000001"),
            "t.json: found links[0].latency_ns = 1000000000001, expected 0 to 1000000000000");
  EXPECT_EQ(error_of("latency_ns", "latency_us"),
            "t.json: links[0]: found no field 'latency_ns', expected an integer");
  EXPECT_EQ(error_of(R"("level":"node")", R"("level":"device")"),
            "t.json: links[0].level: found \"device\", expected \"node\" or \"network\"");
  EXPECT_EQ(error_of(R"([{"devices":[0]},{"devices":[1]}])", "[]"),
            "t.json: found no ranks, expected at least one");
  EXPECT_EQ(error_of("\"cores\":4", "\"core\":4"),
            "t.json: devices[1].core: found an unknown field, expected 'cores'");
}

}  // namespace
}  // namespace strata
