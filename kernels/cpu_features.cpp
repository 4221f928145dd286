// SPDX-License-Identifier: Apache-2.0
// Reports and selects the instruction set, and measures its multiply-add rate.
#include "kernels/cpu_features.hpp"

#include <chrono>

#include "kernels/targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu_features.cpp"
#include <hwy/foreach_target.h>

#include "kernels/simd.inl"

HWY_BEFORE_NAMESPACE();
namespace strata::kernels::HWY_NAMESPACE {

/// Twelve independent chains hide the latency of every current core; they start from different values, or the
/// compiler would notice that one is enough. Returns FLOPs done.
std::int64_t multiply_add_chains(std::int64_t iterations, float* values) {
  const Floats d;
  const auto x = hn::Set(d, values[12]);
  const auto y = hn::Set(d, values[13]);
  const auto load = [&](int chain) HWY_ATTR { return hn::Set(d, values[chain]); };
  auto a = load(0), b = load(1), c = load(2), e = load(3), f = load(4), g = load(5);
  auto h = load(6), i = load(7), j = load(8), k = load(9), l = load(10), m = load(11);
  for (std::int64_t n = 0; n < iterations; ++n) {
    a = hn::MulAdd(a, x, y), b = hn::MulAdd(b, x, y), c = hn::MulAdd(c, x, y), e = hn::MulAdd(e, x, y);
    f = hn::MulAdd(f, x, y), g = hn::MulAdd(g, x, y), h = hn::MulAdd(h, x, y), i = hn::MulAdd(i, x, y);
    j = hn::MulAdd(j, x, y), k = hn::MulAdd(k, x, y), l = hn::MulAdd(l, x, y), m = hn::MulAdd(m, x, y);
  }
  a = hn::Add(hn::Add(hn::Add(a, b), hn::Add(c, e)), hn::Add(hn::Add(f, g), hn::Add(h, i)));
  a = hn::Add(a, hn::Add(hn::Add(j, k), hn::Add(l, m)));
  values[0] = hn::GetLane(a);
  return iterations * 12 * 2 * vector_lanes();
}

}  // namespace strata::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace strata::kernels {

HWY_EXPORT(multiply_add_chains);

std::string instruction_set() {
  const std::int64_t usable = hwy::SupportedTargets() & HWY_TARGETS;
  return hwy::TargetName(usable & -usable);  // lower bits are better targets
}

std::vector<std::string> available_instruction_sets() {
  const std::int64_t selected = hwy::SupportedTargets();
  hwy::SetSupportedTargetsForTest(0);
  std::vector<std::string> names;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets())
    names.emplace_back(hwy::TargetName(target));
  hwy::SetSupportedTargetsForTest(selected);
  return names;
}

bool select_instruction_set(const std::string& name) {
  const std::int64_t selected = hwy::SupportedTargets();
  hwy::SetSupportedTargetsForTest(0);
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if (name != hwy::TargetName(target)) continue;
    hwy::SetSupportedTargetsForTest(target);
    return true;
  }
  hwy::SetSupportedTargetsForTest(selected);
  return false;
}

std::int64_t run_multiply_adds(std::int64_t iterations) {
  float values[14];
  for (int i = 0; i < 12; ++i) values[i] = static_cast<float>(i);
  values[12] = 0.999F;
  values[13] = 0.001F;
  return HWY_DYNAMIC_DISPATCH(multiply_add_chains)(iterations, values);
}

double measure_peak_flops(std::int64_t iterations) {
  run_multiply_adds(1000);
  const auto begin = std::chrono::steady_clock::now();
  const std::int64_t flops = run_multiply_adds(iterations);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  return static_cast<double>(flops) / seconds.count();
}

}  // namespace strata::kernels
#endif
