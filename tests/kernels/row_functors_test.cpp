// SPDX-License-Identifier: Apache-2.0
// Shows the GPU's row kernels right without a GPU: the functors run over the index space of their ranges on
// the host, and are compared with the CPU's row kernels, with plain loops, and where offsets do not fit 32
// bits with the arithmetic itself.
#include "kernels/functors/row_functors.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "kernels/functors/add_lists.hpp"
#include "kernels/functors/head_functors.hpp"
#include "kernels/row_kernels.hpp"

namespace strata::kernels {
namespace {

constexpr float kEmpty = -INFINITY;

class RowFunctors : public ::testing::Test {
 protected:
  std::int64_t pick(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(generator_);
  }
  std::vector<float> random(std::int64_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = normal(generator_);
    return values;
  }

 private:
  std::mt19937 generator_{41};
};

std::vector<std::uint16_t> halves(const std::vector<float>& values, Element element) {
  std::vector<std::uint16_t> result;
  result.reserve(values.size());
  for (const float value : values) result.push_back(half_bits(value, element));
  return result;
}

// Not inlined: g++ 12 takes a list of one range that it sees through for too short to be searched.
template <class Functor, class Range>
[[gnu::noinline]] void run(const Functor& functor, std::vector<Range> ranges) {
  const auto count = static_cast<std::int32_t>(ranges.size());
  const std::int64_t tiles = lay_out_ranges<Functor>(ranges.data(), count);
  run_ranges_on_host(functor, ranges.data(), count, tiles);
}

TEST_F(RowFunctors, EveryUnitOfEveryRangeLiesInExactlyOneTile) {
  for (int round = 0; round < 200; ++round) {
    std::vector<CopyRange> ranges(static_cast<std::size_t>(pick(1, 12)));
    std::vector<std::vector<int>> seen;
    for (CopyRange& range : ranges) {
      range.rows = pick(0, 3) == 0 ? 0 : pick(1, 700);
      range.row_bytes = pick(0, 9) == 0 ? 0 : pick(1, 9000);
      seen.emplace_back(static_cast<std::size_t>(range.rows), 0);
    }
    const auto count = static_cast<std::int32_t>(ranges.size());
    const std::int64_t tiles = lay_out_ranges<CopyFunctor>(ranges.data(), count);
    for (std::int64_t t = 0; t < tiles; ++t) {
      const WarpTile tile = locate_tile(ranges.data(), count, t);
      EXPECT_LT(tile.begin, tile.end);
      for (std::int64_t unit = tile.begin; unit < tile.end; ++unit) {
        ++seen[static_cast<std::size_t>(tile.range)][static_cast<std::size_t>(unit)];
      }
    }
    for (std::size_t r = 0; r < ranges.size(); ++r) {
      for (const int times : seen[r]) EXPECT_EQ(times, ranges[r].row_bytes > 0 ? 1 : 0);
    }
  }
}

TEST_F(RowFunctors, OffsetsBeyondThirtyTwoBitsAreExact) {
  std::vector<CopyRange> ranges(3);
  ranges[0].rows = 3'000'000'000;
  ranges[0].row_bytes = 16384;
  ranges[1].rows = 5;
  ranges[1].row_bytes = 3;
  ranges[2].rows = 7'000'000'000;
  ranges[2].row_bytes = 2;
  const std::int64_t tiles = lay_out_ranges<CopyFunctor>(ranges.data(), 3);
  EXPECT_EQ(ranges[1].span.first_tile, 3'000'000'000);
  const WarpTile last = locate_tile(ranges.data(), 3, tiles - 1);
  EXPECT_EQ(last.range, 2);
  EXPECT_EQ(last.end, 7'000'000'000);
  EXPECT_EQ(locate_tile(ranges.data(), 3, 2'999'999'999).begin, 2'999'999'999);
  const RowHead large = row_and_head(6'000'000'005, 64);
  EXPECT_EQ(large.row, 93'750'000);
  EXPECT_EQ(large.head, 5);
  EXPECT_EQ(row_and_head(4'294'967'295, 7).row, 613'566'756);
  EXPECT_EQ(row_and_head(4'294'967'295, 7).head, 3);
  // Not read: only the distance between the rows' addresses is looked at.
  float place = 0;
  const std::byte* far = at_byte(&place, std::int64_t{3'000'000'000} * 16384);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(far) - reinterpret_cast<std::uintptr_t>(&place),
            std::uintptr_t{49'152'000'000'000});
}

TEST_F(RowFunctors, CopiesAnyWidthAtAnyAlignmentAndNothingElse) {
  for (int round = 0; round < 400; ++round) {
    const std::int64_t bytes = pick(0, 3) == 0 ? pick(0, 40) : pick(0, 1500);
    const std::int64_t rows = pick(0, 40);
    const std::int64_t unit = std::vector<std::int64_t>{1, 2, 4, 16}[static_cast<std::size_t>(pick(0, 3))];
    const std::int64_t source_stride = bytes + unit * pick(0, 5);
    const std::int64_t target_stride = bytes + unit * pick(0, 5);
    std::vector<std::uint8_t> source(static_cast<std::size_t>(rows * source_stride + 64), 7);
    std::vector<std::uint8_t> target(static_cast<std::size_t>(rows * target_stride + 64), 99);
    for (std::uint8_t& value : source) value = static_cast<std::uint8_t>(pick(0, 255));
    std::vector<std::uint8_t> expected = target;
    CopyRange range;
    range.source = source.data() + unit;
    range.target = target.data() + 2 * unit;
    range.source_stride = source_stride;
    range.target_stride = target_stride;
    range.row_bytes = bytes;
    range.rows = rows;
    copy_rows(expected.data() + 2 * unit, target_stride, source.data() + unit, source_stride, bytes, rows);
    run(CopyFunctor{}, std::vector{range});
    EXPECT_EQ(target, expected) << "round " << round;
  }
}

TEST_F(RowFunctors, HeadSlicesPackAndUnpackToTheSameArray) {
  constexpr std::int64_t kRows = 37, kHeads = 12, kDim = 24, kPeers = 4;
  const std::vector<float> source = random(kRows * kHeads * kDim);
  std::vector<float> packed(source.size(), NAN);    // [peer][row][heads of the peer][dim]
  std::vector<float> unpacked(source.size(), NAN);  // as the source
  const std::int64_t slice = kHeads / kPeers * kDim;
  std::vector<CopyRange> pack, unpack;
  for (std::int64_t peer = 0; peer < kPeers; ++peer) {
    CopyRange range;
    range.source = source.data() + peer * slice;
    range.source_stride = kHeads * kDim * 4;
    range.target = packed.data() + peer * kRows * slice;
    range.target_stride = slice * 4;
    range.row_bytes = slice * 4;
    range.rows = kRows;
    pack.push_back(range);
    std::swap(range.source_stride, range.target_stride);
    range.source = range.target;
    range.target = unpacked.data() + peer * slice;
    unpack.push_back(range);
  }
  run(CopyFunctor{}, pack);
  for (std::int64_t row = 0; row < kRows; ++row) {
    for (std::int64_t column = 0; column < kHeads * kDim; ++column) {
      const std::int64_t at = (column / slice * kRows + row) * slice + column % slice;
      EXPECT_EQ(packed[static_cast<std::size_t>(at)],
                source[static_cast<std::size_t>(row * kHeads * kDim + column)]);
    }
  }
  run(CopyFunctor{}, unpack);
  EXPECT_EQ(unpacked, source);
}

TEST_F(RowFunctors, AddsOverlappingRangesInTheOrderListed) {
  for (int round = 0; round < 100; ++round) {
    constexpr std::int64_t kRows = 30, kColumns = 41;
    std::vector<std::vector<float>> targets = {random(kRows * kColumns), random(kRows * kColumns)};
    std::vector<std::vector<float>> expected = targets;
    std::vector<std::vector<float>> sources;
    std::vector<std::vector<std::uint16_t>> half_sources;
    std::vector<Addition> additions(static_cast<std::size_t>(pick(0, 9)));
    for (Addition& a : additions) {
      a.array = static_cast<std::int32_t>(pick(0, 1));
      a.row = pick(0, kRows);
      a.rows = pick(0, kRows - a.row);
      a.column = pick(0, kColumns);
      a.columns = pick(0, kColumns - a.column);
      const std::int64_t stride = a.columns + pick(0, 8);
      sources.push_back(random(a.rows * stride + 1));
      a.part.element =
          std::vector{Element::f32, Element::bf16, Element::f16}[static_cast<std::size_t>(pick(0, 2))];
      half_sources.push_back(halves(sources.back(), a.part.element));
      a.part.source_stride = stride * bytes_of(a.part.element);
      a.part.source = a.part.element == Element::f32 ? static_cast<const void*>(sources.back().data())
                                                     : half_sources.back().data();
      for (std::int64_t r = 0; r < a.rows; ++r) {
        for (std::int64_t c = 0; c < a.columns; ++c) {
          expected[static_cast<std::size_t>(a.array)]
                  [static_cast<std::size_t>((a.row + r) * kColumns + a.column + c)] += load_element(
                      at_byte(a.part.source, (r * stride + c) * bytes_of(a.part.element)), a.part.element);
        }
      }
    }
    const std::vector<AddTarget> arrays = {{targets[0].data(), kColumns * 4},
                                           {targets[1].data(), kColumns * 4}};
    const AddList list = compile_additions(additions, arrays);
    AddFunctor functor;
    functor.parts = list.parts.data();
    run(functor, list.ranges);
    EXPECT_EQ(targets, expected) << "round " << round;
  }
}

TEST_F(RowFunctors, CastsLikeTheCpuKernelAndKeepsWhatLiesBetweenRows) {
  for (const std::int64_t columns : {1, 7, 8, 16, 37, 256, 500}) {
    for (const std::int64_t gap : {0, 3, 8}) {
      const std::int64_t rows = 9;
      const std::int64_t stride = columns + gap;
      std::vector<float> source = random(rows * stride);
      source[0] = NAN;
      std::vector<std::uint16_t> target(source.size(), 77), expected(source.size(), 77);
      convert_rows(expected.data(), Element::bf16, stride, source.data(), Element::f32, stride, columns,
                   rows);
      CastRange range;
      range.target = target.data();
      range.source = source.data();
      range.target_stride = stride * 2;
      range.source_stride = stride * 4;
      range.columns = columns;
      range.rows = rows;
      range.target_element = Element::bf16;
      run(CastFunctor{}, std::vector{range});
      EXPECT_EQ(target, expected);
      std::vector<float> wide(source.size(), 5.0F), expected_wide(source.size(), 5.0F);
      convert_rows(expected_wide.data(), Element::f32, stride, target.data(), Element::bf16, stride, columns,
                   rows);
      std::swap(range.target_stride, range.source_stride);
      std::swap(range.target_element, range.source_element);
      range.source = target.data();
      range.target = wide.data();
      run(CastFunctor{}, std::vector{range});
      for (std::size_t i = 0; i < wide.size(); ++i) {
        EXPECT_EQ(std::bit_cast<std::uint32_t>(wide[i]), std::bit_cast<std::uint32_t>(expected_wide[i]));
      }
    }
  }
}

TEST_F(RowFunctors, HalfPrecisionRoundsToNearestEven) {
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {  // every value survives the way to fp32 and back
    const F16 half{static_cast<std::uint16_t>(bits)};
    const float value = widen(half);
    if ((bits & 0x7FFFU) > 0x7C00U) {
      EXPECT_TRUE(std::isnan(value));
    } else {
      EXPECT_EQ(half_bits(value, Element::f16), bits);
      const int exponent = static_cast<int>((bits >> 10) & 31U);
      const double fraction = static_cast<double>(bits & 0x3FFU) / 1024;
      const double magnitude = exponent == 31  ? INFINITY
                               : exponent == 0 ? std::ldexp(fraction, -14)
                                               : std::ldexp(1 + fraction, exponent - 15);
      EXPECT_EQ(static_cast<double>(value), (bits & 0x8000U) != 0 ? -magnitude : magnitude);
      if (exponent == 31) continue;
      const float next = widen(F16{static_cast<std::uint16_t>(bits + 1)});
      if (!std::isfinite(next)) continue;
      const float middle = (value + next) / 2;  // exact: a tie, which goes to the even neighbour
      EXPECT_EQ(half_bits(middle, Element::f16), bits % 2 == 0 ? bits : bits + 1) << bits;
      EXPECT_EQ(half_bits(std::nextafter(middle, value), Element::f16), bits) << bits;
      EXPECT_EQ(half_bits(std::nextafter(middle, next), Element::f16), bits + 1) << bits;
    }
  }
  EXPECT_EQ(half_bits(65519.0F, Element::f16), 0x7BFF);
  EXPECT_EQ(half_bits(65520.0F, Element::f16), 0x7C00);
  EXPECT_EQ(half_bits(-1e30F, Element::f16), 0xFC00);
  EXPECT_EQ(half_bits(NAN, Element::f16) & 0x7FFF, 0x7E00);
}

TEST_F(RowFunctors, FillsExactlyTheCountedFloats) {
  for (const std::int64_t count : {0, 1, 7, 8, 1023, 1024, 1025, 5000}) {
    std::vector<float> target(static_cast<std::size_t>(count + 2), 1.0F);
    FillRange range;
    range.target = target.data() + 1;
    range.count = count;
    range.value = kEmpty;
    run(FillFunctor{}, std::vector{range});
    EXPECT_EQ(target.front(), 1.0F);
    EXPECT_EQ(target.back(), 1.0F);
    for (std::size_t i = 1; i + 1 < target.size(); ++i) EXPECT_EQ(target[i], kEmpty);
  }
}

/// Random parts of [rows, heads, dim] in one type, some rows of them empty with NaN in their output.
struct Parts {
  std::vector<std::vector<float>> out, lse;
  std::vector<std::vector<std::uint16_t>> half;
  std::vector<MergePart> merge;
  std::vector<PartialOutput> partial;
};

TEST_F(RowFunctors, MergesLikeTheCpuKernelAlsoInPlaceAndWithEmptyParts) {
  for (int round = 0; round < 120; ++round) {
    const std::int64_t rows = pick(0, 9), heads = pick(1, 5), dim = pick(1, 300), count = pick(1, 5);
    const Element element = pick(0, 1) == 0 ? Element::f32 : Element::bf16;
    Parts p;
    for (std::int64_t i = 0; i < count; ++i) {
      p.out.push_back(random(rows * heads * dim));
      p.lse.push_back(random(rows * heads));
      for (std::size_t r = 0; r < p.lse.back().size(); ++r) {
        p.lse.back()[r] *= 30.0F;
        if (pick(0, 2) != 0) continue;
        p.lse.back()[r] = kEmpty;
        for (std::int64_t c = 0; c < dim; ++c)
          p.out.back()[r * static_cast<std::size_t>(dim) + static_cast<std::size_t>(c)] = NAN;
      }
      p.half.push_back(halves(p.out.back(), Element::bf16));
    }
    for (std::size_t i = 0; i < p.out.size(); ++i) {
      const void* out =
          element == Element::f32 ? static_cast<const void*>(p.out[i].data()) : p.half[i].data();
      p.merge.push_back({out, p.lse[i].data(), heads * dim * bytes_of(element), heads * 4, element});
      p.partial.push_back({out, p.lse[i].data(), element});
    }
    std::vector<float> expected(static_cast<std::size_t>(rows * heads * dim));
    std::vector<float> expected_lse(static_cast<std::size_t>(rows * heads));
    merge_partials({expected.data(), expected_lse.data()}, p.partial, rows, heads, dim);
    MergeRange range;
    std::vector<float> merged(expected.size()), merged_lse(expected_lse.size());
    const bool in_place = element == Element::f32 && pick(0, 1) == 0;
    range.out = in_place ? p.out[0].data() : merged.data();
    range.lse = in_place ? p.lse[0].data() : merged_lse.data();
    range.out_stride = heads * dim * 4;
    range.lse_stride = heads * 4;
    range.rows = rows;
    range.heads = static_cast<std::int32_t>(heads);
    range.dim = dim;
    range.part_count = static_cast<std::int32_t>(count);
    MergeFunctor functor;
    functor.parts = p.merge.data();
    run(functor, std::vector{range});
    const std::vector<float>& out = in_place ? p.out[0] : merged;
    const std::vector<float>& lse = in_place ? p.lse[0] : merged_lse;
    for (std::size_t i = 0; i < lse.size(); ++i) {
      if (expected_lse[i] == kEmpty) {
        EXPECT_EQ(lse[i], kEmpty);
      } else {
        EXPECT_NEAR(lse[i], expected_lse[i], 1e-5);
      }
    }
    for (std::size_t i = 0; i < out.size(); ++i) EXPECT_NEAR(out[i], expected[i], 1e-5) << "round " << round;
  }
}

TEST_F(RowFunctors, MergeOfHugeLogSumsStaysFiniteAndNaNStaysNaN) {
  for (const float offset : {1e4F, -1e4F}) {
    const std::vector<float> a = {1, 2, 3}, b = {3, 2, 1};
    const float lse_a = offset, lse_b = offset;
    const std::vector<MergePart> parts = {{a.data(), &lse_a, 12, 4, Element::f32},
                                          {b.data(), &lse_b, 12, 4, Element::f32}};
    std::vector<float> out(3);
    float lse = 0;
    MergeRange range;
    range.out = out.data();
    range.lse = &lse;
    range.rows = range.heads = 1;
    range.dim = 3;
    range.part_count = 2;
    MergeFunctor functor;
    functor.parts = parts.data();
    run(functor, std::vector{range});
    EXPECT_EQ(out, (std::vector<float>{2, 2, 2}));
    EXPECT_NEAR(lse, offset + std::log(2.0F), 1e-3);
    const float poisoned = NAN;
    std::vector<MergePart> broken = parts;
    broken[1].lse = &poisoned;
    functor.parts = broken.data();
    run(functor, std::vector{range});
    EXPECT_TRUE(std::isnan(lse));
    EXPECT_TRUE(std::isnan(out[0]));
  }
}

TEST_F(RowFunctors, DeltaIsTheRowSumOfProductsForEveryPairOfTypes) {
  for (const std::int64_t dim : {1, 8, 19, 64, 128, 256, 400}) {
    const std::int64_t rows = 5, heads = 3;
    const std::vector<float> a = random(rows * heads * dim), b = random(rows * heads * dim);
    for (const Element first : {Element::f32, Element::bf16, Element::f16}) {
      for (const Element second : {Element::f32, Element::bf16, Element::f16}) {
        const auto half_a = halves(a, first);
        const auto half_b = halves(b, second);
        std::vector<float> delta(static_cast<std::size_t>(rows * heads));
        DeltaRange range;
        range.delta = delta.data();
        range.grad_out = first == Element::f32 ? static_cast<const void*>(a.data()) : half_a.data();
        range.out = second == Element::f32 ? static_cast<const void*>(b.data()) : half_b.data();
        range.delta_stride = heads * 4;
        range.grad_out_stride = heads * dim * bytes_of(first);
        range.out_stride = heads * dim * bytes_of(second);
        range.rows = rows;
        range.heads = static_cast<std::int32_t>(heads);
        range.dim = dim;
        range.grad_out_element = first;
        range.out_element = second;
        run(DeltaFunctor{}, std::vector{range});
        for (std::int64_t i = 0; i < rows * heads; ++i) {
          double sum = 0, scale = 0;
          for (std::int64_t c = i * dim; c < (i + 1) * dim; ++c) {
            const double x = load_element(at_byte(range.grad_out, c * bytes_of(first)), first);
            const double y = load_element(at_byte(range.out, c * bytes_of(second)), second);
            sum += x * y;
            scale += std::abs(x * y);
          }
          EXPECT_NEAR(delta[static_cast<std::size_t>(i)], sum, 1e-6 * scale);
        }
      }
    }
  }
}

}  // namespace
}  // namespace strata::kernels
