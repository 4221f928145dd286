// SPDX-License-Identifier: Apache-2.0
// The profiles that ship with Strata. Every constant is a published or textbook figure of some machine, not
// of the reader's: measured = false, and every output that uses one says "unmeasured".
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/base/check.hpp"
#include "cost_models/profile/cost_profile.hpp"

namespace strata {
namespace {

constexpr std::array<std::int32_t, 5> kHeadDims = {64, 96, 128, 192, 256};
constexpr std::array<std::int64_t, 7> kCpuLengths = {16, 64, 256, 1024, 4096, 16384, 131072};

/// FLOPs of the kernels' matrix products per allowed pair and head: two of them forward, seven backward.
double flops_per_pair(Pass pass, std::int32_t head_dim) {
  return (pass == Pass::forward ? 4.0 : 14.0) * head_dim;
}

AttentionTable empty_table(Pass pass, ElementType type, std::int32_t head_dim) {
  AttentionTable table;
  table.pass = pass;
  table.element_type = type;
  table.head_dim = table.value_head_dim = head_dim;
  return table;
}

/// An fp32 fused forward reaches 72 to 80 GFLOP/s on one AVX2 core of 102 GFLOP/s peak; backward 65 to 70 %
/// of peak at best, taken as 60 %. Short rows waste part of a tile of 64 x 128 and repeat its set-up:
/// textbook 1 + 16 / rows and 1 + 32 / keys.
AttentionTable cpu_table(Pass pass, ElementType type, std::int32_t head_dim) {
  AttentionTable table = empty_table(pass, type, head_dim);
  table.tile_rows = 64;
  table.launch_ns = 2000;
  table.tile_ns = 500;
  const double base = flops_per_pair(pass, head_dim) / (pass == Pass::forward ? 76.0 : 61.0);
  table.full.query_lengths.assign(kCpuLengths.begin(), kCpuLengths.end());
  table.full.key_lengths.assign(kCpuLengths.begin(), kCpuLengths.end());
  table.diagonal_lengths = table.full.query_lengths;
  for (const std::int64_t q : kCpuLengths) {
    for (const std::int64_t k : kCpuLengths) {
      const double waste = 1 + 16.0 / static_cast<double>(q) + 32.0 / static_cast<double>(k);
      table.full.ns_per_pair.push_back(base * waste);
    }
    table.diagonal_ns_per_pair.push_back(base * (1 + 64.0 / static_cast<double>(q)));
  }
  return table;
}

/// FlashAttention-3 on one H100 SXM, head dim 128, not causal, 512 to 16K tokens, TFLOP/s (table of its
/// paper).
constexpr std::array<std::int64_t, 9> kGpuLengths = {64, 128, 256, 512, 1024, 2048, 4096, 8192, 131072};
constexpr std::array<double, 9> kGpuForward = {58, 117, 233, 467, 565, 625, 638, 646, 648};
constexpr std::array<double, 9> kGpuBackward = {39, 79, 158, 316, 424, 501, 542, 559, 561};

/// Below 512 tokens the rate is taken as proportional to the length, from 16K on as constant. A causal
/// triangle executes whole tiles of 128: a factor of 1 + 128 / n over its allowed pairs. Their backward has
/// five products, the deterministic split one here seven, at the same rate. Tensor cores multiply bf16 and
/// fp16 at one rate.
AttentionTable gpu_table(Pass pass, ElementType type, std::int32_t head_dim) {
  AttentionTable table = empty_table(pass, type, head_dim);
  table.tile_rows = 128;
  table.launch_ns = 5000;
  table.tile_ns = 0;
  const auto& tflops = pass == Pass::forward ? kGpuForward : kGpuBackward;
  const double flops = flops_per_pair(pass, head_dim);
  table.full.query_lengths.assign(kGpuLengths.begin(), kGpuLengths.end());
  table.full.key_lengths.assign(kGpuLengths.begin(), kGpuLengths.end());
  table.diagonal_lengths = table.full.query_lengths;
  for (std::size_t q = 0; q < kGpuLengths.size(); ++q) {
    for (std::size_t k = 0; k < kGpuLengths.size(); ++k) {
      table.full.ns_per_pair.push_back(flops / (tflops[std::min(q, k)] * 1e3));
    }
    const double waste = 1 + 128.0 / static_cast<double>(kGpuLengths[q]);
    table.diagonal_ns_per_pair.push_back(flops / (tflops[q] * 1e3) * waste);
  }
  return table;
}

CostProfile cpu_profile() {
  CostProfile profile;
  profile.name = "cpu";
  profile.covers.devices = {"cpu"};
  profile.provenance.device = "one AVX2 core at 3.2 GHz";
  profile.provenance.notes =
      "Nominal: fused fp32 attention at 76 GFLOP/s forward and 61 backward per core, copies at 14 GB/s. Run "
      "`strata calibrate` for this machine's numbers.";
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    for (const ElementType type : {ElementType::f32, ElementType::bf16, ElementType::f16}) {
      for (const std::int32_t head_dim : kHeadDims)
        profile.attention.push_back(cpu_table(pass, type, head_dim));
    }
  }
  // 13.5 to 15 GB/s of payload, which one core saturates; a copy reads and writes every byte.
  const RowRate rows{.launch_ns = 500, .range_ns = 50, .bytes_per_second = 28e9};
  profile.copy = profile.merge = profile.add = profile.cast = profile.delta = profile.zero = rows;
  profile.row_chunk_bytes = 1 << 18;
  profile.linear_flops_per_second = 90e9;  // single-precision products reach 87 to 93 of 102 GFLOP/s
  profile.memory_bytes_per_second = 28e9;
  profile.exchange = {.launch_ns = 1000,
                      .part_ns = 100,
                      .peer_bytes_per_second = 0,
                      .copy_units = 1,
                      .communication_units = 0};
  return profile;
}

CostProfile h100_profile() {
  CostProfile profile;
  profile.name = "h100";
  profile.covers.devices = {"h100", "h100sxm*", "!pcie", "!nvl"};
  profile.provenance.device = "NVIDIA H100 SXM";
  profile.provenance.notes =
      "Published: FlashAttention-3 rates, 794 TFLOP/s bf16 products, 2.9 TB/s copies, NCCL send/recv fits. "
      "Nothing was measured on the reader's machine.";
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    for (const ElementType type : {ElementType::bf16, ElementType::f16}) {
      for (const std::int32_t head_dim : kHeadDims)
        profile.attention.push_back(gpu_table(pass, type, head_dim));
    }
  }
  // HBM copy 2.90 TB/s read plus written (Azure benchmarking guide); about 4 us to launch a kernel.
  const RowRate rows{.launch_ns = 4000, .range_ns = 0, .bytes_per_second = 2.9e12};
  profile.copy = profile.merge = profile.add = profile.cast = profile.delta = profile.zero = rows;
  profile.linear_flops_per_second = 794.5e12;  // best achievable bf16 product (ml-engineering)
  profile.memory_bytes_per_second = 2.9e12;
  // Send/recv inside a node fits 7.5 us + bytes / 357 GB/s (Vidur's table; the shipped topology's links carry
  // the latency). Another microsecond per part to enqueue it in a group, nominal. 16 of 132 SMs communicate.
  profile.exchange = {.launch_ns = 0,
                      .part_ns = 1000,
                      .peer_bytes_per_second = 357e9,
                      .copy_units = 0.125,
                      .communication_units = 0.12};
  return profile;
}

CostProfile with_coverage(CostProfile profile) {
  ProfileCoverage tables = table_coverage(profile.attention);
  tables.devices = std::move(profile.covers.devices);
  profile.covers = std::move(tables);
  return profile;
}

}  // namespace

CostProfile default_profile(std::string_view name) {
  if (name == "cpu") return with_coverage(cpu_profile());
  if (name == "h100") return with_coverage(h100_profile());
  throw InputError("profile", fmt::format("'{}'", name), "cpu, h100 or a profile file");
}

namespace {

constexpr std::array<std::string_view, 2> kShipped = {"cpu", "h100"};

/// "'n0.a100' of topology a100-box".
std::string device_text(const Topology& topology, std::int32_t device) {
  return fmt::format("'{}' of topology {}", topology.devices[static_cast<std::size_t>(device)].name,
                     topology.name);
}

}  // namespace

CostProfile default_profile(const Topology& topology) {
  std::string shipped;
  std::vector<std::vector<std::int32_t>> uncovered;
  for (const std::string_view name : kShipped) {
    CostProfile profile = default_profile(name);
    uncovered.push_back(uncovered_devices(profile, topology));
    if (uncovered.back().empty()) return profile;
    shipped += fmt::format("{}{} ({})", shipped.empty() ? "" : "; ", name, coverage_text(profile.covers));
  }
  const auto in_all = [&](std::int32_t device) {
    return std::all_of(uncovered.begin(), uncovered.end(), [&](const std::vector<std::int32_t>& devices) {
      return std::binary_search(devices.begin(), devices.end(), device);
    });
  };
  const auto missing = std::find_if(uncovered.front().begin(), uncovered.front().end(), in_all);
  const std::string found =
      missing != uncovered.front().end()
          ? fmt::format("no shipped profile for device {}", device_text(topology, *missing))
          : fmt::format("no shipped profile for both {} and {}", device_text(topology, uncovered[0].front()),
                        device_text(topology, uncovered[1].front()));
  throw InputError("--profile", found, "--profile FILE with one; shipped: " + shipped);
}

void expect_covered(const CostProfile& profile, const Topology& topology, std::string_view where) {
  const std::vector<std::int32_t> uncovered = uncovered_devices(profile, topology);
  if (uncovered.empty()) return;
  throw InputError(
      std::string(where),
      fmt::format("profile {}, which is for {}", profile.name, coverage_text(profile.covers)),
      fmt::format("one for device {}, or --any-device", device_text(topology, uncovered.front())));
}

}  // namespace strata
