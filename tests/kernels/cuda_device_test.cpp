// SPDX-License-Identifier: Apache-2.0
// Runs the kernels where there is a GPU: the plain attention against the float64 oracle, the tensor-core
// kernels against the same oracle with scattered pieces of NaN-surrounded arrays and on longer documents,
// repeated for equal bits, and the row kernels against the same functors on the host. Without a GPU it shows
// that calls fail with a reason instead of crashing, and skips the rest.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/attention_lists.hpp"
#include "tests/kernels/attention_problem.hpp"
#include "tests/kernels/device_arrays.hpp"

namespace strata::kernels::test {
namespace {

class Device : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_device()) GTEST_SKIP() << "not run: no usable GPU";
  }
};

void launch_lists(WorkKind kind, const AttentionShape& shape, std::span<const AttentionBlock> blocks,
                  const DeviceOperands& operands, OutputMode mode, std::int32_t left) {
  const AttentionLists lists =
      build_attention_lists(shape, blocks, kind, cuda::attention_tile_rows(kind, shape));
  const DeviceArray tiles = upload(lists.tiles);
  const DeviceArray segments = upload(lists.segments);
  const DeviceArray queries = upload(operands.queries());
  const DeviceArray keys = upload(operands.keys());
  const DeviceArray tickets(nullptr, sizeof(AttentionTickets));
  AttentionArguments arguments;
  arguments.tiles = tiles.as<DeviceTile>();
  arguments.segments = segments.as<DeviceSegment>();
  arguments.queries = queries.as<QueryRows>();
  arguments.keys = keys.as<KeyRows>();
  arguments.tickets = tickets.as<AttentionTickets>();
  arguments.tile_count = static_cast<std::int32_t>(lists.tiles.size());
  arguments.mode = mode;
  AttentionGrid grid;
  require(cuda::prepare_attention(kind, shape, left, &grid));
  require(cuda::launch_attention(kind, shape, arguments, grid, nullptr));
  wait_for_device();
}

/// `left`: multiprocessors that go to communication.
Kernels tensor_core_kernels(std::int32_t left = 0) {
  Kernels kernels;
  kernels.forward = [=](const auto& shape, auto blocks, const Operands& operands, OutputMode mode) {
    const DeviceOperands device(shape, operands, mode);
    launch_lists(WorkKind::forward, shape, blocks, device, mode, left);
    device.download();
  };
  kernels.backward = [=](const auto& shape, auto blocks, const Operands& operands, OutputMode mode) {
    const DeviceOperands device(shape, operands, mode);
    launch_lists(WorkKind::grad_kv, shape, blocks, device, mode, left);
    launch_lists(WorkKind::grad_q, shape, blocks, device, mode, left);
    device.download();
  };
  return kernels;
}

using ReferenceCall = cuda::Status (*)(const cuda::ReferenceLaunch&, void*);

void launch_reference(ReferenceCall call, const AttentionShape& shape, std::span<const AttentionBlock> blocks,
                      const Operands& operands, OutputMode mode) {
  const DeviceOperands device(shape, operands, mode);
  const DeviceArray list = upload(blocks);
  const DeviceArray queries = upload(device.queries());
  const DeviceArray keys = upload(device.keys());
  cuda::ReferenceLaunch all;
  all.work = {shape,
              mode,
              list.as<AttentionBlock>(),
              static_cast<std::int32_t>(blocks.size()),
              queries.as<QueryRows>(),
              keys.as<KeyRows>()};
  all.queries = device.queries().data();
  all.query_sources = static_cast<std::int32_t>(device.queries().size());
  all.keys = device.keys().data();
  all.key_sources = static_cast<std::int32_t>(device.keys().size());
  require(call(all, nullptr));
  wait_for_device();
  device.download();
}

Kernels reference_kernels() {
  Kernels kernels;
  kernels.forward = [](const auto& shape, auto blocks, const Operands& operands, OutputMode mode) {
    launch_reference(cuda::reference_forward, shape, blocks, operands, mode);
  };
  kernels.backward = [](const auto& shape, auto blocks, const Operands& operands, OutputMode mode) {
    launch_reference(cuda::reference_backward, shape, blocks, operands, mode);
  };
  return kernels;
}

ProblemOptions random_options(std::uint32_t seed, Element element, std::int32_t k_dim, std::int32_t v_dim,
                              std::int64_t longest) {
  std::mt19937 generator(seed);
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(generator);
  };
  ProblemOptions options;
  options.shape.element = element;
  options.shape.k_dim = k_dim;
  options.shape.v_dim = v_dim;
  options.shape.kv_heads = static_cast<std::int32_t>(pick(1, 2));
  options.shape.query_heads = options.shape.kv_heads * static_cast<std::int32_t>(pick(1, 4));
  options.shape.scale = 1.0F / std::sqrt(static_cast<float>(k_dim));
  options.queries = {pick(1, longest), pick(1, 40), 1};
  options.keys = {pick(0, 1) == 0 ? options.queries[0] : pick(1, longest), options.queries[1], pick(1, 70)};
  options.window =
      std::array<std::int64_t, 4>{0, 0, pick(1, longest), -1}[static_cast<std::size_t>(pick(0, 3))];
  return options;
}

TEST(WithoutDevice, CallsFailWithAReason) {
  if (has_device()) GTEST_SKIP() << "there is a GPU";
  std::int32_t count = 7;
  const cuda::Status status = cuda::device_count(&count);
  EXPECT_TRUE(!status.ok() || count == 0);
  EXPECT_EQ(count, 0);
  cuda::DeviceInfo info;
  EXPECT_FALSE(cuda::device_info(0, &info).ok());
  AttentionShape shape;
  shape.element = Element::bf16;
  shape.k_dim = shape.v_dim = 128;
  AttentionGrid grid;
  const cuda::Status prepared = cuda::prepare_attention(WorkKind::forward, shape, 0, &grid);
  EXPECT_FALSE(prepared.ok());
  EXPECT_GT(std::strlen(prepared.text), 0U);
  CopyRange range;
  cuda::RowLaunch<CopyRange> launch;
  launch.ranges = &range;
  launch.range_count = 1;
  launch.tiles = 1;
  EXPECT_FALSE(cuda::copy_rows(launch, nullptr).ok());
  launch.tiles = 0;
  EXPECT_TRUE(cuda::copy_rows(launch, nullptr).ok());
}

TEST(Dispatch, KnowsWhichShapesHaveATensorCoreKernel) {
  AttentionShape shape;
  shape.element = Element::bf16;
  for (const WorkKind kind : {WorkKind::forward, WorkKind::grad_q, WorkKind::grad_kv}) {
    for (const std::int32_t dim : {64, 96, 128, 192, 256}) {
      shape.k_dim = shape.v_dim = dim;
      EXPECT_GT(cuda::attention_tile_rows(kind, shape), 0);
    }
    shape.k_dim = 80;
    EXPECT_EQ(cuda::attention_tile_rows(kind, shape), 0);
    AttentionGrid grid;
    EXPECT_FALSE(cuda::prepare_attention(kind, shape, 0, &grid).ok());
    EXPECT_FALSE(cuda::launch_attention(kind, shape, {}, grid, nullptr).ok());
  }
}

TEST_F(Device, PlainAttentionEqualsTheOracle) {
  for (std::uint32_t seed = 1; seed <= 12; ++seed) {
    Problem problem(random_options(seed, Element::f32, 64, seed % 2 == 0 ? 64 : 40, 150), seed);
    problem.run_with(reference_kernels(), seed % 3 == 0 ? 3 : 1);
    EXPECT_LE(problem.forward_error(), 2e-6) << "seed " << seed;
    EXPECT_LE(problem.backward_error(), 5e-6) << "seed " << seed;
    EXPECT_TRUE(problem.untouched()) << "seed " << seed;
  }
}

TEST_F(Device, TensorCoreAttentionEqualsTheOracleForEveryTypeAndHeadDimension) {
  constexpr std::array<std::array<std::int32_t, 2>, 6> kPairs = {
      {{64, 64}, {96, 96}, {128, 128}, {192, 128}, {192, 192}, {256, 256}}};
  std::uint32_t seed = 100;
  for (const Element element : {Element::bf16, Element::f16}) {
    for (const auto& [k_dim, v_dim] : kPairs) {
      for (const std::int64_t longest : {60, 300, 700}) {
        SCOPED_TRACE("dims " + std::to_string(k_dim) + "/" + std::to_string(v_dim) + " seed " +
                     std::to_string(++seed));
        Problem problem(random_options(seed, element, k_dim, v_dim, longest), seed);
        problem.run_with(tensor_core_kernels(), seed % 3 == 0 ? 3 : 1);
        EXPECT_LE(problem.forward_error(), problem.tolerance().forward);
        EXPECT_LE(problem.backward_error(), problem.tolerance().backward);
        for (const double error : problem.backward_relative_errors())
          EXPECT_LE(error, problem.tolerance().backward);
        EXPECT_TRUE(problem.untouched());
      }
    }
  }
}

TEST_F(Device, TensorCoreAttentionGivesTheSameBitsAHundredTimes) {
  Problem problem(random_options(7, Element::bf16, 128, 128, 600), 7);
  problem.run_with(tensor_core_kernels(), 1);
  const std::vector<Tensor> first = problem.results();
  for (int run = 1; run < 100; ++run) {
    problem.run_with(tensor_core_kernels(), 1);
    ASSERT_TRUE(problem.results() == first) << "run " << run;
  }
}

TEST_F(Device, TensorCoreAttentionGivesTheSameBitsOnFewerMultiprocessors) {
  Problem problem(random_options(8, Element::bf16, 128, 128, 600), 8);
  problem.run_with(tensor_core_kernels(), 1);
  const std::vector<Tensor> first = problem.results();
  for (const std::int32_t left : {1, 8, 100'000}) {
    problem.run_with(tensor_core_kernels(left), 1);
    EXPECT_TRUE(problem.results() == first) << left << " left to communication";
  }
}

/// Rows for the row kernels: random f32 sources and a target, in a shape that has vectors and ragged ends.
struct RowProblem {
  std::int64_t rows = 0, heads = 3, dim = 0;
  std::vector<float> source, other, lse, other_lse;

  RowProblem(std::int64_t row_count, std::int64_t width) : rows(row_count), dim(width) {
    std::mt19937 generator(static_cast<std::uint32_t>(row_count + width));
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& values, std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i) values.push_back(normal(generator));
    };
    fill(source, rows * heads * dim);
    fill(other, rows * heads * dim);
    fill(lse, rows * heads);
    fill(other_lse, rows * heads);
    for (std::size_t i = 0; i < lse.size(); i += 5) lse[i] = -INFINITY;
  }
};

/// Lays one range out, runs it on the device through `launch` and waits.
template <class Functor, class Call>
void run_on_device(typename Functor::Range range, const Call& call) {
  cuda::RowLaunch<typename Functor::Range> launch;
  launch.range_count = 1;
  launch.tiles = lay_out_ranges<Functor>(&range, 1);
  const DeviceArray ranges(&range, sizeof(range));
  launch.ranges = ranges.as<typename Functor::Range>();
  require(call(launch));
  wait_for_device();
}
template <class Functor>
void run_on_host(const Functor& functor, typename Functor::Range range) {
  const std::int64_t tiles = lay_out_ranges<Functor>(&range, 1);
  run_ranges_on_host(functor, &range, 1, tiles);
}

std::vector<float> floats_of(const DeviceArray& array, std::size_t count) {
  std::vector<float> values(count);
  array.download(values.data());
  return values;
}

constexpr std::array<std::int64_t, 6> kWidths = {1, 7, 19, 64, 100, 128};

TEST_F(Device, AddsAndCopiesSlicesLikeTheHost) {
  for (const std::int64_t width : kWidths) {
    const RowProblem p(517, width);
    const std::int64_t columns = p.heads * p.dim;
    const DeviceArray source = upload(p.source);
    const DeviceArray sum = upload(p.other);
    const DeviceArray parts = upload(std::vector<AddPart>(2, {source.data(), columns * 4, Element::f32}));
    AddRange add;
    add.target = sum.as<float>();
    add.target_stride = columns * 4;
    add.columns = columns;
    add.rows = p.rows;
    add.part_count = 2;
    run_on_device<AddFunctor>(
        add, [&](const auto& launch) { return cuda::add_rows(launch, parts.as<AddPart>(), nullptr); });
    const DeviceArray copied(nullptr, std::ssize(p.source) * 4);
    for (const auto& [begin, end] : {std::pair<std::int64_t, std::int64_t>(0, p.dim), {p.dim, columns}}) {
      CopyRange copy;
      copy.target = copied.as<float>() + begin;
      copy.source = sum.as<float>() + begin;
      copy.target_stride = copy.source_stride = columns * 4;
      copy.row_bytes = (end - begin) * 4;
      copy.rows = p.rows;
      run_on_device<CopyFunctor>(copy, [](const auto& launch) { return cuda::copy_rows(launch, nullptr); });
    }
    std::vector<float> expected(p.source.size());
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = p.other[i] + p.source[i] + p.source[i];
    EXPECT_EQ(floats_of(copied, expected.size()), expected) << "width " << width;
  }
}

TEST_F(Device, CastsLikeTheHost) {
  for (const std::int64_t width : kWidths) {
    const RowProblem p(517, width);
    const DeviceArray source = upload(p.source);
    const DeviceArray narrow(nullptr, std::ssize(p.source) * 2);
    for (const Element element : {Element::bf16, Element::f16}) {
      CastRange cast;
      cast.target = narrow.data();
      cast.source = source.data();
      cast.columns = p.heads * p.dim;
      cast.rows = p.rows;
      cast.target_stride = cast.columns * 2;
      cast.source_stride = cast.columns * 4;
      cast.target_element = element;
      run_on_device<CastFunctor>(cast, [](const auto& launch) { return cuda::cast_rows(launch, nullptr); });
      std::vector<std::uint16_t> halves(p.source.size());
      narrow.download(halves.data());
      for (std::size_t i = 0; i < halves.size(); ++i) ASSERT_EQ(halves[i], half_bits(p.source[i], element));
    }
  }
}

TEST_F(Device, FillsExactlyTheCountedFloats) {
  const std::vector<float> before(5003, 1.0F);
  const DeviceArray target = upload(before);
  FillRange fill;
  fill.target = target.as<float>() + 1;
  fill.count = std::ssize(before) - 2;
  fill.value = -INFINITY;
  run_on_device<FillFunctor>(fill, [](const auto& launch) { return cuda::fill_rows(launch, nullptr); });
  std::vector<float> expected(before.size(), -INFINITY);
  expected.front() = expected.back() = 1.0F;
  EXPECT_EQ(floats_of(target, before.size()), expected);
}

TEST_F(Device, DeltaEqualsTheHosts) {
  for (const std::int64_t width : kWidths) {
    const RowProblem p(333, width);
    const std::int64_t stride = p.heads * p.dim * 4;
    std::vector<float> expected(p.lse.size());
    DeltaRange delta;
    delta.delta = expected.data();
    delta.grad_out = p.source.data();
    delta.out = p.other.data();
    delta.delta_stride = p.heads * 4;
    delta.grad_out_stride = delta.out_stride = stride;
    delta.rows = p.rows;
    delta.dim = p.dim;
    delta.heads = static_cast<std::int32_t>(p.heads);
    run_on_host(DeltaFunctor{}, delta);
    const DeviceArray target(nullptr, std::ssize(expected) * 4), first = upload(p.source),
                                                                 second = upload(p.other);
    delta.delta = target.as<float>();
    delta.grad_out = first.data();
    delta.out = second.data();
    run_on_device<DeltaFunctor>(delta, [](const auto& launch) { return cuda::delta_rows(launch, nullptr); });
    const std::vector<float> actual = floats_of(target, expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i)
      ASSERT_NEAR(actual[i], expected[i], 1e-4) << "width " << width;
  }
}

TEST_F(Device, MergesIntoTheFirstPartLikeTheHost) {
  for (const std::int64_t width : kWidths) {
    RowProblem p(333, width);
    const std::int64_t stride = p.heads * p.dim * 4;
    const DeviceArray out = upload(p.source), lse = upload(p.lse);
    const DeviceArray other = upload(p.other), other_lse = upload(p.other_lse);
    std::vector<MergePart> parts = {{p.source.data(), p.lse.data(), stride, p.heads * 4, Element::f32},
                                    {p.other.data(), p.other_lse.data(), stride, p.heads * 4, Element::f32}};
    MergeRange merge;
    merge.out = p.source.data();
    merge.lse = p.lse.data();
    merge.out_stride = stride;
    merge.lse_stride = p.heads * 4;
    merge.rows = p.rows;
    merge.dim = p.dim;
    merge.heads = static_cast<std::int32_t>(p.heads);
    merge.part_count = 2;
    MergeFunctor functor;
    functor.parts = parts.data();
    run_on_host(functor, merge);
    parts[0].out = merge.out = out.data();
    parts[0].lse = merge.lse = lse.as<float>();
    parts[1].out = other.data();
    parts[1].lse = other_lse.as<float>();
    const DeviceArray device_parts = upload(parts);
    run_on_device<MergeFunctor>(merge, [&](const auto& launch) {
      return cuda::merge_rows(launch, device_parts.as<MergePart>(), nullptr);
    });
    const std::vector<float> actual = floats_of(out, p.source.size());
    const std::vector<float> actual_lse = floats_of(lse, p.lse.size());
    for (std::size_t i = 0; i < actual.size(); ++i)
      ASSERT_NEAR(actual[i], p.source[i], 1e-5) << "width " << width;
    for (std::size_t i = 0; i < actual_lse.size(); ++i) ASSERT_NEAR(actual_lse[i], p.lse[i], 1e-5);
  }
}

}  // namespace
}  // namespace strata::kernels::test
