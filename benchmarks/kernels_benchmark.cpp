// SPDX-License-Identifier: Apache-2.0
// Speed of the kernels as ratios: attention against a multiply-add loop, row kernels against memcpy, each
// yardstick measured by the same threads right before and after. Prints a table, or JSON with --json; --quick
// halves the sizes.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <time.h>

#include "kernels/attention_work.hpp"
#include "kernels/cpu_features.hpp"
#include "kernels/functors/row_chunks.hpp"
#include "kernels/row_kernels.hpp"

namespace strata::kernels {
namespace {

const unsigned kThreads = std::max(1U, std::thread::hardware_concurrency());

double seconds_of(const std::function<void()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Elapsed time of a parallel section and the processor time of its threads, averaged over them.
struct Elapsed {
  double wall = 0;
  double processor = 0;
};

/// Runs body(thread) on every core and waits for all.
Elapsed on_all_cores(const std::function<void(unsigned)>& body) {
  std::vector<double> busy(kThreads);
  const auto timed = [&](unsigned t) {
    const double begin = thread_seconds();
    body(t);
    busy[t] = thread_seconds() - begin;
  };
  Elapsed elapsed;
  elapsed.wall = seconds_of([&] {
    std::vector<std::thread> threads;
    for (unsigned t = 1; t < kThreads; ++t) threads.emplace_back(timed, t);
    timed(0);
    for (std::thread& thread : threads) thread.join();
  });
  for (const double seconds : busy) elapsed.processor += seconds / kThreads;
  return elapsed;
}

/// GFLOP/s or GB/s: the best of several runs by the wall clock, the mean of all by processor time.
struct Rate {
  double wall = 0;
  double work = 0;
  double seconds = 0;

  void take_wall(double done, double elapsed) { wall = std::max(wall, done / elapsed / 1e9); }
  void take_processor(double done, double busy) {
    work += done;
    seconds += busy;
  }
  [[nodiscard]] double processor() const { return work / seconds / 1e9; }
};

struct Row {
  std::string name;
  const char* unit = "GFLOP/s";
  Rate rate;
  Rate yard;

  [[nodiscard]] double wall_ratio() const { return rate.wall / yard.wall; }
  [[nodiscard]] double processor_ratio() const { return rate.processor() / yard.processor(); }
};

/// Multiply-adds on all cores for about 20 ms.
void take_peak(Rate& rate) {
  std::atomic<std::int64_t> flops{0};
  const Elapsed elapsed = on_all_cores([&](unsigned) { flops += run_multiply_adds(2'500'000); });
  rate.take_wall(static_cast<double>(flops), elapsed.wall);
}

/// One packed batch of causal documents on one rank.
struct Batch {
  AttentionShape shape;
  std::vector<std::int64_t> documents;
  std::vector<float> q, kv, out, grad_out, grad_q, grad_kv, lse, delta;
  std::vector<AttentionBlock> blocks;
  std::int64_t tokens = 0;

  Batch(AttentionShape s, std::vector<std::int64_t> lengths) : shape(s), documents(std::move(lengths)) {
    for (const std::int64_t length : documents) {
      AttentionBlock block;
      block.query_begin = block.key_begin = tokens;
      block.query_count = block.key_count = length;
      block.head_end = s.query_heads;
      block.hi = 0;
      blocks.push_back(block);
      tokens += length;
    }
    const auto count = [&](std::int64_t columns) { return static_cast<std::size_t>(tokens * columns); };
    std::mt19937 generator(7);
    std::normal_distribution<float> normal;
    const auto random = [&](std::vector<float>& values, std::int64_t columns) {
      values.resize(count(columns));
      for (float& value : values) {
        value = normal(generator);
        if (s.element != Element::f32) {  // two values of 16 bits fill one float's memory
          const std::uint16_t half[2] = {half_bits(value, s.element), half_bits(-value, s.element)};
          std::memcpy(&value, half, sizeof(value));
        }
      }
    };
    random(q, s.query_heads * s.k_dim);
    random(kv, s.kv_heads * (s.k_dim + s.v_dim));
    random(grad_out, s.query_heads * s.v_dim);
    out.resize(count(s.query_heads * s.v_dim));
    grad_q.resize(q.size());
    grad_kv.resize(kv.size());
    lse.resize(count(s.query_heads));
    delta.resize(count(s.query_heads));
  }

  /// Calls visit(run) on every core, where run(i) executes the i-th longest item, until all items are done.
  template <class Visit>
  Elapsed run(const AttentionWork& work, const Visit& visit) {
    const QueryRows queries{q.data(),      out.data(), lse.data(), grad_out.data(),  delta.data(),
                            grad_q.data(), tokens,     0,          shape.query_heads};
    const KeyRows keys{kv.data(), grad_kv.data(), tokens, 0, shape.kv_heads};
    const Operands operands{{&queries, 1}, {&keys, 1}};
    const std::vector<std::int64_t> order = longest_first(work);
    std::atomic<std::size_t> next{0};
    return on_all_cores([&](unsigned) {
      Scratch scratch(shape);
      for (std::size_t i = next++; i < order.size(); i = next++) {
        visit(i, order[i], [&] { run_item(work, operands, order[i], scratch); });
      }
    });
  }
};

Row attention_row(const std::string& name, Batch& batch, bool backward, int repeats) {
  const AttentionWork work = backward ? build_backward_work(batch.shape, batch.blocks, OutputMode::write)
                                      : build_forward_work(batch.shape, batch.blocks, OutputMode::write);
  const double dims = batch.shape.k_dim + batch.shape.v_dim;
  const double flops = static_cast<double>(total_pairs(work)) * dims * (backward ? 7.0 : 2.0);
  Row row;
  row.name = name;
  take_peak(row.yard);
  for (int r = 0; r < repeats; ++r) {
    const auto plain = [](std::size_t, std::int64_t, const auto& run) { run(); };
    row.rate.take_wall(flops, batch.run(work, plain).wall);
    take_peak(row.yard);
  }
  // Once more with multiply-adds between the items, both timed on the thread's own clock.
  std::mutex mutex;
  batch.run(work, [&](std::size_t i, std::int64_t item, const auto& run) {
    const double begin = thread_seconds();
    run();
    const double middle = thread_seconds();
    const std::int64_t adds = i % 4 == 0 ? run_multiply_adds(50'000) : 0;
    const double end = thread_seconds();
    const WorkItem& entry = work.items[static_cast<std::size_t>(item)];
    const double products = entry.kind == WorkKind::grad_kv ? 4 : entry.kind == WorkKind::grad_q ? 3 : 2;
    const std::lock_guard lock(mutex);
    row.rate.take_processor(static_cast<double>(entry.pairs) * dims * products, middle - begin);
    if (adds > 0) row.yard.take_processor(static_cast<double>(adds), end - middle);
  });
  return row;
}

/// Times `body(thread)`, which moves `bytes` per thread (read plus written), against memcpy of the same array
/// size.
Row memory_row(const std::string& name, double bytes, const std::function<void(unsigned)>& body) {
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  std::vector<std::vector<char>> from(kThreads), to(kThreads);
  on_all_cores([&](unsigned t) {
    from[t].assign(kBytes, 1);
    to[t].assign(kBytes, 2);
  });
  Row row;
  row.name = name;
  row.unit = "GB/s";
  for (int r = 0; r < 5; ++r) {
    const Elapsed yard = on_all_cores([&](unsigned t) { std::memcpy(to[t].data(), from[t].data(), kBytes); });
    row.yard.take_wall(2.0 * kBytes * kThreads, yard.wall);
    row.yard.take_processor(2.0 * kBytes, yard.processor);
    const Elapsed elapsed = on_all_cores(body);
    row.rate.take_wall(bytes * kThreads, elapsed.wall);
    row.rate.take_processor(bytes, elapsed.processor);
  }
  return row;
}

/// Rows of 8 heads x 128, as the executor moves them; about 64 MiB an array and thread.
void memory_rows(std::vector<Row>& rows, const std::string& only) {
  constexpr std::int64_t kRows = 16384, kHeads = 8, kDim = 128, kWidth = kHeads * kDim;
  constexpr double kArray = static_cast<double>(kRows * kWidth * 4);
  std::vector<std::vector<float>> target(kThreads), lse(kThreads), target_lse(kThreads);
  std::vector<std::vector<std::vector<float>>> parts(kThreads);
  on_all_cores([&](unsigned t) {
    target[t].assign(kRows * kWidth, 0.0F);
    target_lse[t].assign(kRows * kHeads, 0.0F);
    lse[t].assign(kRows * kHeads, 1.0F);
    for (int p = 0; p < 4; ++p) parts[t].emplace_back(kRows * kWidth, static_cast<float>(p));
  });
  const auto add = [&](const std::string& name, double bytes, const std::function<void(unsigned)>& body) {
    if (only.empty() || name.find(only) != std::string::npos) rows.push_back(memory_row(name, bytes, body));
  };
  add("copy_rows, dense", 2 * kArray, [&](unsigned t) {
    copy_rows(target[t].data(), kWidth * 4, parts[t][0].data(), kWidth * 4, kWidth * 4, kRows);
  });
  add("copy_rows, 2 of 8 heads packed", kArray / 2, [&](unsigned t) {
    copy_rows(target[t].data(), kWidth, parts[t][0].data(), kWidth * 4, kWidth, kRows);
  });
  add("copy_rows, 2 of 8 heads unpacked", kArray / 2, [&](unsigned t) {
    copy_rows(target[t].data(), kWidth * 4, parts[t][0].data(), kWidth, kWidth, kRows);
  });
  add("add_rows", 3 * kArray, [&](unsigned t) {
    add_rows(target[t].data(), kWidth, parts[t][0].data(), Element::f32, kWidth, kWidth, kRows);
  });
  for (const auto& [name, element] : {std::pair("bf16", Element::bf16), std::pair("f16", Element::f16)}) {
    add(std::string("convert_rows f32 to ") + name, 1.5 * kArray, [&, element = element](unsigned t) {
      convert_rows(target[t].data(), element, kWidth, parts[t][0].data(), Element::f32, kWidth, kWidth,
                   kRows);
    });
  }
  add("compute_delta", 2 * kArray, [&](unsigned t) {
    compute_delta(target_lse[t].data(), parts[t][0].data(), Element::f32, parts[t][1].data(), Element::f32,
                  kRows, kHeads, kDim);
  });
  for (const std::size_t count : {2, 4}) {
    add("merge_partials, " + std::to_string(count) + " parts", static_cast<double>(count + 1) * kArray,
        [&, count](unsigned t) {
          std::vector<PartialOutput> views;
          for (std::size_t p = 0; p < count; ++p) views.push_back({parts[t][p].data(), lse[t].data()});
          merge_partials({target[t].data(), target_lse[t].data()}, views, kRows, kHeads, kDim);
        });
  }
}

std::vector<std::int64_t> packed_lengths(std::int64_t tokens) {
  std::mt19937 generator(11);
  std::lognormal_distribution<double> length(std::log(300.0), 1.0);
  std::vector<std::int64_t> lengths;
  while (tokens > 0) {
    lengths.push_back(std::clamp<std::int64_t>(static_cast<std::int64_t>(length(generator)), 1, tokens));
    tokens -= lengths.back();
  }
  return lengths;
}

void attention_rows(std::vector<Row>& rows, bool quick, const std::string& only) {
  struct Case {
    std::string name;
    std::int32_t dim, heads, kv_heads;
    std::vector<std::int64_t> documents;
    Element element = Element::f32;
  };
  std::vector<Case> cases;
  for (const std::int32_t dim : {64, 128}) {
    for (const std::int64_t length : {4096, 8192, 16384}) {
      cases.push_back(
          {"d=" + std::to_string(dim) + " causal " + std::to_string(length), dim, 4, 2, {length}});
    }
  }
  cases.push_back({"d=128 causal 8192 no groups", 128, 2, 2, {8192}});
  cases.push_back({"d=128 causal 8192 bf16", 128, 4, 2, {8192}, Element::bf16});
  cases.push_back({"d=128 causal 8192 f16", 128, 4, 2, {8192}, Element::f16});
  cases.push_back({"d=96 causal 4096", 96, 4, 2, {4096}});
  cases.push_back({"d=192 causal 4096", 192, 4, 2, {4096}});
  cases.push_back({"d=256 causal 4096", 256, 4, 2, {4096}});
  cases.push_back({"d=128 packed, median 300", 128, 8, 2, packed_lengths(16384)});
  cases.push_back({"d=128 packed, all 300", 128, 8, 2, std::vector<std::int64_t>(50, 300)});
  for (const Case& c : cases) {
    if (!only.empty() && c.name.find(only) == std::string::npos) continue;
    if (quick && c.documents.front() > 8192) continue;
    AttentionShape shape{c.element, c.heads, c.kv_heads,
                         c.dim,     c.dim,   1.0F / std::sqrt(static_cast<float>(c.dim))};
    Batch batch(shape, c.documents);
    rows.push_back(attention_row("forward  " + c.name, batch, false, 3));
    rows.push_back(attention_row("backward " + c.name, batch, true, 2));
  }
}

void print(const std::vector<Row>& rows, bool json) {
  if (json) {
    std::printf("{\"instruction_set\": \"%s\", \"threads\": %u, \"rows\": [", instruction_set().c_str(),
                kThreads);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const Row& row = rows[i];
      std::printf(
          "%s\n  {\"name\": \"%s\", \"unit\": \"%s\", \"rate\": %.2f, \"yardstick\": %.2f, \"ratio\": %.4f, "
          "\"processor_time_ratio\": %.4f}",
          i == 0 ? "" : ",", row.name.c_str(), row.unit, row.rate.wall, row.yard.wall, row.wall_ratio(),
          row.processor_ratio());
    }
    std::printf("\n]}\n");
    return;
  }
  std::printf("instruction set %s, %u threads\n%-40s %10s %10s %8s %14s\n", instruction_set().c_str(),
              kThreads, "kernel", "rate", "yardstick", "ratio", "processor time");
  for (const Row& row : rows) {
    std::printf("%-40s %10.1f %10.1f %7.1f%% %13.1f%%  %s\n", row.name.c_str(), row.rate.wall, row.yard.wall,
                100.0 * row.wall_ratio(), 100.0 * row.processor_ratio(), row.unit);
  }
}

int run_benchmark(int argc, char** argv) {
  bool json = false;
  bool quick = false;
  std::string only;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--json") {
      json = true;
    } else if (argument == "--quick") {
      quick = true;
    } else if (argument.rfind("--only=", 0) == 0) {
      only = argument.substr(7);
    } else if (argument.rfind("--isa=", 0) == 0 && select_instruction_set(argument.substr(6))) {
      continue;
    } else {
      std::fprintf(stderr, "usage: kernels_benchmark [--json] [--quick] [--only=TEXT] [--isa=NAME]\n");
      return 2;
    }
  }
  std::vector<Row> rows;
  attention_rows(rows, quick, only);
  memory_rows(rows, only);
  print(rows, json);
  return 0;
}

}  // namespace
}  // namespace strata::kernels

int main(int argc, char** argv) { return strata::kernels::run_benchmark(argc, argv); }
