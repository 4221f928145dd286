// SPDX-License-Identifier: Apache-2.0
// Two devices with two equally fast ways between them, one inside the node and one over the network: the
// route there and the route back are not the same, and plan, lint and run agree on what goes over which.
#include <gtest/gtest.h>

#include <string>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

const char* const kTie = R"({"name": "tie", "nodes": ["n0", "n1"],
 "devices": [{"name": "host0.cpu", "node": 0}, {"name": "host1.cpu", "node": 0}],
 "switches": ["pcie", "nic"],
 "links": [
  {"from": 0, "to": 2, "level": "node", "latency_ns": 1000, "bandwidth_gbytes_per_s": 20},
  {"from": 2, "to": 1, "level": "node", "latency_ns": 1000, "bandwidth_gbytes_per_s": 20},
  {"from": 0, "to": 3, "level": "network", "latency_ns": 1000, "bandwidth_gbytes_per_s": 20},
  {"from": 3, "to": 1, "level": "network", "latency_ns": 1000, "bandwidth_gbytes_per_s": 20},
  {"from": 3, "to": 0, "level": "network", "latency_ns": 1000, "bandwidth_gbytes_per_s": 20},
  {"from": 1, "to": 3, "level": "network", "latency_ns": 1000, "bandwidth_gbytes_per_s": 20},
  {"from": 2, "to": 0, "level": "node", "latency_ns": 1000, "bandwidth_gbytes_per_s": 20},
  {"from": 1, "to": 2, "level": "node", "latency_ns": 1000, "bandwidth_gbytes_per_s": 20}],
 "ranks": [{"devices": [0]}, {"devices": [1]}]})";

std::string moved_line(const std::string& text) {
  const auto begin = text.find("moved ");
  return begin == std::string::npos ? "" : text.substr(begin, text.find('\n', begin) - begin);
}

TEST(UnevenRoutes, PlanLintAndRunGiveOneAnswer) {
  const Workspace work;
  work.write("tie.json", kTie);
  work.write("b.jsonl", "{\"packs\": [[211, 1, 37, 64, 5]]}\n");
  bool both_levels = false;
  for (const std::string& strategy : strategy_names()) {
    for (const char* way : {"owner", "reverse_tree"}) {
      const Finished planned = work.expect(
          0, "plan --batch b.jsonl --model tiny --layers 1 --topology tie.json -o p.json --strategy " +
                 strategy + " --gradient-return " + way);
      work.expect(0, "lint p.json");
      const Finished ran = work.expect(0, "run p.json --check full");
      EXPECT_EQ(moved_line(ran.out), moved_line(planned.out)) << strategy << ", " << way;
      EXPECT_NE(moved_line(ran.out), "") << strategy;
      const std::string line = moved_line(ran.out);
      both_levels = both_levels || (line.find(" 0 B inside nodes") == std::string::npos &&
                                    line.find(" 0 B over the network") == std::string::npos);
    }
  }
  EXPECT_TRUE(both_levels) << "the two directions are one: nothing was shown";
}

}  // namespace
}  // namespace strata::test
