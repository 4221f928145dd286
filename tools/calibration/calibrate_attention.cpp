// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iterator>
#include <thread>

#include "core/base/check.hpp"
#include "core/base/digest.hpp"
#include "core/base/thread_team.hpp"
#include "core/problem/mask.hpp"
#include "executor/device_error.hpp"
#include "executor/kernel_arguments.hpp"
#include "kernels/attention_work.hpp"
#include "tools/calibration/calibrate.hpp"

namespace strata::tools {

namespace {

using Clock = std::chrono::steady_clock;

kernels::AttentionShape item_shape(const ModelShape& model) {
  // One group of query heads on one KV head: what a work item covers.
  return {kernel_element(model.element_type),
          model.group_size(),
          1,
          model.head_dim,
          model.value_head_dim,
          0.125F};
}

/// Arrays of one thread, long enough for the largest cell; values do not matter to the time.
struct Arrays {
  std::vector<std::byte> q, kv, out, grad_out;
  std::vector<float> lse, delta, grad_q, grad_kv;

  Arrays(const kernels::AttentionShape& shape, std::int64_t queries, std::int64_t keys) {
    const auto bytes = [&](std::int64_t elements) {
      return static_cast<std::size_t>(elements * kernels::element_bytes(shape.element));
    };
    const std::int64_t rows = queries * shape.query_heads;
    q.resize(bytes(rows * shape.k_dim));
    kv.resize(bytes(keys * (shape.k_dim + shape.v_dim)));
    out.resize(static_cast<std::size_t>(rows * shape.v_dim * 4));
    grad_out.resize(bytes(rows * shape.v_dim));
    lse.assign(static_cast<std::size_t>(rows), 1.0F);
    delta.assign(static_cast<std::size_t>(rows), 0.0F);
    grad_q.resize(static_cast<std::size_t>(rows * shape.k_dim));
    grad_kv.resize(static_cast<std::size_t>(keys * (shape.k_dim + shape.v_dim)));
  }
};

class AttentionMeter {
 public:
  AttentionMeter(const CalibrationRequest& request, std::int64_t longest_query, std::int64_t longest_key)
      : shape_(item_shape(request.model)), threads_(std::max(1, request.threads)) {
    for (std::int32_t t = 0; t < threads_; ++t) arrays_.emplace_back(shape_, longest_query, longest_key);
  }

  /// Nanoseconds per allowed pair and query head, one core, all cores busy.
  double ns_per_pair(Pass pass, std::int64_t queries, std::int64_t keys, std::int64_t hi) {
    kernels::AttentionBlock block;
    block.query_count = queries;
    block.key_count = keys;
    block.head_end = shape_.query_heads;
    block.hi = hi;
    const std::vector<kernels::AttentionBlock> blocks{block};
    const kernels::AttentionWork work = pass == Pass::forward
                                            ? build_forward_work(shape_, blocks, kernels::OutputMode::merge)
                                            : build_backward_work(shape_, blocks, kernels::OutputMode::merge);
    const double pairs =
        static_cast<double>(band_pair_count(queries, keys, -kUnbounded, hi)) * shape_.query_heads;
    std::vector<double> medians(static_cast<std::size_t>(threads_));
    measure_together(work, medians);
    double sum = 0;
    for (const double median : medians) {
      sum += median;
      samples_ += fmt::format("{:.0f}\n", median);
    }
    sample_count_ += std::ssize(medians);
    return sum / threads_ / pairs;
  }

  /// Medians so far, and all of them in the order of measuring.
  std::int64_t sample_count() const { return sample_count_; }
  const std::string& samples() const { return samples_; }

  std::int64_t items(Pass pass, std::int64_t rows) const {
    kernels::AttentionBlock block;
    block.query_count = block.key_count = rows;
    block.head_end = shape_.query_heads;
    const std::vector<kernels::AttentionBlock> blocks{block};
    return item_count(pass == Pass::forward
                          ? build_forward_work(shape_, blocks, kernels::OutputMode::write)
                          : build_backward_work(shape_, blocks, kernels::OutputMode::write));
  }

 private:
  /// [thread], all of them at it at once: a rate of fewer would be another machine's.
  void measure_together(const kernels::AttentionWork& work, std::vector<double>& medians) {
    enum class Start : std::uint8_t { waits, goes, is_off };
    std::atomic<Start> start{Start::waits};
    std::atomic<std::int32_t> ready{0};
    ThreadTeam team;
    for (std::int32_t t = 0; t < threads_; ++t) {
      const bool started = team.start([&, t] {
        ready.fetch_add(1);
        while (start.load() == Start::waits) std::this_thread::yield();
        if (start.load() == Start::is_off) return;
        medians[static_cast<std::size_t>(t)] = median_ns(work, arrays_[static_cast<std::size_t>(t)]);
      });
      if (started) continue;
      start = Start::is_off;
      throw DeviceError(-1, fmt::format("found {} of {} threads that calibrating needs at once ({})",
                                        team.size(), threads_, team.failure()));
    }
    while (ready.load() < threads_) std::this_thread::yield();
    start = Start::goes;
    team.join();
  }

  double median_ns(const kernels::AttentionWork& work, Arrays& arrays) const {
    constexpr std::int64_t kLeastRuns = 3, kMostRuns = 200;
    constexpr std::int64_t kLeastNs = 4'000'000;
    kernels::QueryRows query{arrays.q.data(),
                             arrays.out.data(),
                             arrays.lse.data(),
                             arrays.grad_out.data(),
                             arrays.delta.data(),
                             arrays.grad_q.data(),
                             0,
                             0,
                             shape_.query_heads};
    kernels::KeyRows key{arrays.kv.data(), arrays.grad_kv.data(), 0, 0, 1};
    query.rows = static_cast<std::int64_t>(arrays.lse.size()) / shape_.query_heads;
    key.rows = static_cast<std::int64_t>(arrays.grad_kv.size()) / (shape_.k_dim + shape_.v_dim);
    const kernels::Operands operands{{&query, 1}, {&key, 1}};
    kernels::Scratch scratch(shape_);
    std::vector<std::int64_t> samples;
    std::int64_t total = 0;
    for (std::int64_t run = 0; run < kMostRuns; ++run) {
      const auto start = Clock::now();
      for (std::int64_t item = 0; item < item_count(work); ++item) run_item(work, operands, item, scratch);
      const std::int64_t ns =
          std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
      if (run > 0) samples.push_back(ns);  // the first touches cold memory
      total += ns;
      if (run >= kLeastRuns && total >= kLeastNs) break;
    }
    std::nth_element(samples.begin(), samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2),
                     samples.end());
    return static_cast<double>(samples[samples.size() / 2]);
  }

  kernels::AttentionShape shape_;
  std::int32_t threads_;
  std::vector<Arrays> arrays_;
  std::string samples_;
  std::int64_t sample_count_ = 0;
};

}  // namespace

void measure_attention(const CalibrationRequest& request, CostProfile& profile, const Output& output) {
  std::vector<std::int64_t> queries{1, 16, 64, 256, 1024, 4096};
  std::vector<std::int64_t> keys{1, 16, 64, 256, 1024, 4096, 16384};
  std::vector<std::int64_t> diagonals{1, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
  if (request.thorough) {
    queries = {1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
    keys = {1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    diagonals = {1, 4, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192, 16384};
  }
  AttentionMeter meter(request, std::max(queries.back(), diagonals.back()),
                       std::max(keys.back(), diagonals.back()));
  Progress progress(output, "attention",
                    2 * static_cast<std::int64_t>(queries.size() * keys.size() + diagonals.size()));
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    AttentionTable table;
    table.pass = pass;
    table.element_type = request.model.element_type;
    table.head_dim = request.model.head_dim;
    table.value_head_dim = request.model.value_head_dim;
    constexpr std::int64_t kProbeRows = 16384;
    const std::int64_t per_pass = pass == Pass::forward ? 1 : 2;  // grad_q and grad_kv items
    table.tile_rows = static_cast<std::int32_t>(std::max<std::int64_t>(
        1, kProbeRows * per_pass / std::max<std::int64_t>(1, meter.items(pass, kProbeRows))));
    table.full.query_lengths = queries;
    table.full.key_lengths = keys;
    table.diagonal_lengths = diagonals;
    for (const std::int64_t q : queries) {
      for (const std::int64_t k : keys) {
        table.full.ns_per_pair.push_back(meter.ns_per_pair(pass, q, k, kUnbounded));
        progress.advance();
      }
    }
    for (const std::int64_t n : diagonals) {
      table.diagonal_ns_per_pair.push_back(meter.ns_per_pair(pass, n, n, 0));
      progress.advance();
    }
    profile.attention.push_back(std::move(table));
  }
  ProfileCoverage covers = table_coverage(profile.attention);
  covers.devices = std::move(profile.covers.devices);
  profile.covers = std::move(covers);
  profile.provenance.samples = meter.sample_count();
  profile.provenance.samples_digest = digest_of(meter.samples());
}

}  // namespace strata::tools
