// SPDX-License-Identifier: Apache-2.0
// Shows, through the emulator, that the device operations do what a tensor-core kernel relies on: ldmatrix
// from swizzled shared memory followed by mma multiplies matrices, the swizzle keeps all banks busy, and
// every way to misuse a warp, a barrier, a copy or the shared memory is reported instead of computing
// something.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "kernels/cuda/simt.hpp"

namespace strata::kernels {
namespace {

using emulator::EmulationError;

/// The message of the EmulationError that the kernel causes; empty without one.
std::string error_of(emulator::Launch launch, const std::function<void()>& kernel) {
  try {
    emulator::run(launch, kernel);
  } catch (const EmulationError& error) {
    return error.what();
  }
  return {};
}

template <Element kElement>
float rounded(float value) {
  const std::uint32_t word = simt::pack<kElement>(value, 0);
  const auto bits = static_cast<std::uint16_t>(word);
  return kElement == Element::bf16 ? widen(Bf16{bits}) : widen(F16{bits});
}

constexpr int kSize = 16;
using Matrix = std::array<std::array<float, kSize>, kSize>;

template <Element kElement>
Matrix random_matrix(std::mt19937& generator) {
  Matrix matrix{};
  for (auto& row : matrix) {
    for (float& value : row) value = rounded<kElement>(std::normal_distribution<float>()(generator));
  }
  return matrix;
}

/// Stores a matrix [16][16] with two chunks a row and a barrier after it.
template <Element kElement>
void fill_tile(simt::Shared tile, const Matrix& matrix) {
  const int row = simt::thread_index() / 2;
  const int chunk = simt::thread_index() % 2;
  std::uint32_t words[4];
  for (int w = 0; w < 4; ++w) {
    const int column = chunk * kChunkElements + w * 2;
    const float* values = &matrix[static_cast<std::size_t>(row)][0];
    words[w] = simt::pack<kElement>(values[column], values[column + 1]);
  }
  simt::store_words(tile + swizzled_offset(row, chunk, 2), words);
  simt::warp_barrier();
}

/// One warp computes a * b^T, or a * b when b is loaded transposed.
template <Element kElement>
Matrix product_on_warp(const Matrix& a, const Matrix& b, bool transposed, std::uint64_t seed) {
  Matrix result{};
  emulator::Launch launch;
  launch.shared_bytes = 1024;
  launch.seed = seed;
  emulator::run(launch, [&] {
    const simt::Shared tile_a = simt::shared_begin();
    const simt::Shared tile_b = tile_a + 512;
    fill_tile<kElement>(tile_a, a);
    fill_tile<kElement>(tile_b, b);
    const int lane = simt::thread_index();
    const int low = lane % 16;
    std::uint32_t fragment_a[4];
    simt::load_matrix<4>(fragment_a, tile_a + swizzled_offset(low, lane / 16, 2));
    std::uint32_t fragment_b[4];  // words 0, 1: columns 0..7; words 2, 3: columns 8..15
    if (transposed) {
      simt::load_matrix_transposed<4>(fragment_b, tile_b + swizzled_offset(low, lane / 16, 2));
    } else {
      const int row = lane % 8 + lane / 16 * 8;
      simt::load_matrix<4>(fragment_b, tile_b + swizzled_offset(row, lane / 8 % 2, 2));
    }
    for (int half = 0; half < 2; ++half) {
      float sum[4] = {};
      simt::mma<kElement>(sum, fragment_a, fragment_b[2 * half], fragment_b[2 * half + 1]);
      for (int i = 0; i < 4; ++i) {
        const FragmentPlace place = place_in_c(lane, i);
        const int column = place.column + half * 8;
        result[static_cast<std::size_t>(place.row)][static_cast<std::size_t>(column)] = sum[i];
      }
    }
  });
  return result;
}

template <Element kElement>
void expect_products() {
  std::mt19937 generator(3);
  for (std::uint64_t round = 0; round < 10; ++round) {
    const Matrix a = random_matrix<kElement>(generator);
    const Matrix b = random_matrix<kElement>(generator);
    for (const bool transposed : {false, true}) {
      const Matrix c = product_on_warp<kElement>(a, b, transposed, round);
      for (std::size_t i = 0; i < kSize; ++i) {
        for (std::size_t j = 0; j < kSize; ++j) {
          double expected = 0;
          for (std::size_t k = 0; k < kSize; ++k)
            expected += double{a[i][k]} * (transposed ? b[k][j] : b[j][k]);
          EXPECT_NEAR(c[i][j], expected, 1e-5) << i << " " << j;
        }
      }
    }
  }
}

TEST(TensorCoreFragments, MultiplyMatricesOfBothTypesFromSwizzledSharedMemory) {
  expect_products<Element::bf16>();
  expect_products<Element::f16>();
}

TEST(TensorCoreFragments, CoverEveryElementOfTheirOperandOnce) {
  std::set<std::pair<int, int>> a, b, c, plain, transposed;
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    for (int half = 0; half < 2; ++half) {
      for (int word = 0; word < 4; ++word) {
        a.emplace(place_in_a(lane, word, half).row, place_in_a(lane, word, half).column);
      }
      for (int word = 0; word < 2; ++word) {
        b.emplace(place_in_b(lane, word, half).row, place_in_b(lane, word, half).column);
      }
      plain.emplace(place_in_matrix(lane, half, false).row, place_in_matrix(lane, half, false).column);
      transposed.emplace(place_in_matrix(lane, half, true).row, place_in_matrix(lane, half, true).column);
    }
    for (int i = 0; i < 4; ++i) c.emplace(place_in_c(lane, i).row, place_in_c(lane, i).column);
  }
  EXPECT_EQ(a.size(), 256U);
  EXPECT_EQ(b.size(), 128U);
  EXPECT_EQ(c.size(), 128U);
  EXPECT_EQ(plain.size(), 64U);
  EXPECT_EQ(transposed.size(), 64U);
}

/// A score fragment becomes the left operand of the next product without leaving its lane.
TEST(TensorCoreFragments, LetTwoSumFragmentsStandForOneLeftOperand) {
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    for (int word = 0; word < 4; ++word) {
      for (int half = 0; half < 2; ++half) {
        const FragmentPlace wanted = place_in_a(lane, word, half);
        const FragmentPlace held = place_in_c(lane, (word % 2) * 2 + half);
        EXPECT_EQ(held.row, wanted.row);
        EXPECT_EQ(held.column + word / 2 * 8, wanted.column);
      }
    }
  }
}

TEST(Swizzle, IsABijectionAndKeepsEightRowsOfAColumnInDifferentBanks) {
  for (const int dim : {64, 96, 128, 192, 256}) {
    const int chunks = dim / kChunkElements;
    std::set<std::uint32_t> places;
    for (int row = 0; row < 64; ++row) {
      for (int chunk = 0; chunk < chunks; ++chunk) {
        const std::uint32_t offset = swizzled_offset(row, chunk, chunks);
        EXPECT_EQ(offset / static_cast<std::uint32_t>(chunks * kChunkBytes), static_cast<std::uint32_t>(row));
        places.insert(offset);
      }
    }
    EXPECT_EQ(places.size(), static_cast<std::size_t>(64 * chunks)) << dim;
    for (int first = 0; first < 64; first += 8) {
      for (int chunk = 0; chunk < chunks; ++chunk) {
        std::set<std::uint32_t> bank_groups;
        for (int row = first; row < first + 8; ++row) {
          bank_groups.insert(swizzled_offset(row, chunk, chunks) / kChunkBytes % 8);
        }
        EXPECT_EQ(bank_groups.size(), 8U) << dim << " " << first << " " << chunk;
      }
    }
  }
}

emulator::Launch small_launch(int threads) {
  emulator::Launch launch;
  launch.threads = threads;
  launch.shared_bytes = 1024;
  return launch;
}

TEST(Emulator, RunsThreadsInAnOrderThatDependsOnlyOnTheSeed) {
  const auto order_of = [](std::uint64_t seed) {
    std::vector<int> order;
    emulator::Launch launch = small_launch(64);
    launch.blocks = 2;
    launch.seed = seed;
    emulator::run(launch, [&] { order.push_back(simt::block_index() * 64 + simt::thread_index()); });
    return order;
  };
  EXPECT_EQ(order_of(1), order_of(1));
  EXPECT_NE(order_of(1), order_of(2));
  std::vector<int> all(128);
  std::iota(all.begin(), all.end(), 0);
  std::vector<int> sorted = order_of(3);
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, all);
}

TEST(Emulator, ExchangesValuesWithinAWarp) {
  std::vector<std::uint32_t> exchanged(64);
  std::vector<std::uint32_t> broadcast(64);
  std::vector<float> totals(64);
  emulator::run(small_launch(64), [&] {
    const auto me = static_cast<std::uint32_t>(simt::thread_index());
    exchanged[me] = simt::shuffle_xor(me, 5);
    broadcast[me] = simt::shuffle(me, 3);
    auto total = static_cast<float>(me);
    for (int mask = 16; mask > 0; mask /= 2) total += simt::shuffle_xor(total, mask);
    totals[me] = total;
  });
  for (std::uint32_t i = 0; i < 64; ++i) {
    EXPECT_EQ(exchanged[i], i ^ 5U);
    EXPECT_EQ(broadcast[i], i / 32 * 32 + 3);
    EXPECT_EQ(totals[i], i < 32 ? 496.0F : 1520.0F);
  }
}

TEST(Emulator, LandsCopiesOnlyAtTheWaitForTheirGroup) {
  alignas(16) const std::array<std::uint32_t, 8> source = {1, 2, 3, 4, 5, 6, 7, 8};
  const auto kernel = [&](bool wait_first, bool wait_all) {
    const simt::Shared to = simt::shared_begin() + static_cast<simt::Shared>(simt::thread_index()) * 32;
    simt::copy_async(to, source.data(), true);
    simt::commit_copies();
    simt::copy_async(to + 16, source.data() + 4, simt::thread_index() % 2 == 0);
    simt::commit_copies();
    if (wait_first) simt::wait_copies<1>();
    EXPECT_EQ(simt::load_word(to + 4), 2U);
    if (wait_all) simt::wait_copies<0>();
    EXPECT_EQ(simt::load_word(to + 16 + 8), simt::thread_index() % 2 == 0 ? 7U : 0U);
  };
  EXPECT_EQ(error_of(small_launch(32), [&] { kernel(true, true); }), "");
  EXPECT_NE(error_of(small_launch(32), [&] { kernel(false, true); }).find("copy is on its way"),
            std::string::npos);
  EXPECT_NE(error_of(small_launch(32), [&] { kernel(true, false); }).find("copy is on its way"),
            std::string::npos);
}

TEST(Emulator, ReportsLanesThatDivergeAndBarriersThatNotAllReach) {
  EXPECT_NE(error_of(small_launch(32),
                     [] {
                       if (simt::thread_index() < 16) {
                         simt::shuffle_xor(1U, 1);
                       } else {
                         simt::warp_barrier();
                       }
                     })
                .find("of its warp is at"),
            std::string::npos);
  EXPECT_NE(error_of(small_launch(32),
                     [] {
                       if (simt::thread_index() != 7) simt::warp_barrier();
                     })
                .find("waits for ever at warp_barrier 0 while block 0 thread 7 is at its end"),
            std::string::npos);
  EXPECT_NE(error_of(small_launch(64),
                     [] {
                       if (simt::thread_index() != 40) simt::block_barrier();
                     })
                .find("waits for ever at block_barrier while block 0 thread 40 is at its end"),
            std::string::npos);
}

TEST(Emulator, ReportsSharedMemoryThatIsOutOfBoundsMisalignedOrNeverWritten) {
  const auto load_at = [](simt::Shared offset, bool relative) {
    return error_of(small_launch(32),
                    [=] { simt::load_word((relative ? simt::shared_begin() : 0) + offset); });
  };
  EXPECT_NE(load_at(1024, true).find("at offset 1024 of 1024"), std::string::npos);
  EXPECT_NE(load_at(8, false).find("of 1024"), std::string::npos);
  EXPECT_NE(load_at(2, true).find("not aligned"), std::string::npos);
  EXPECT_NE(load_at(16, true).find("nothing has written"), std::string::npos);
}

/// Thread 0 writes, thread `reader` reads the same word, or the other way round, with or without a barrier.
std::string race(int reader, bool write_first, bool block, bool warp) {
  emulator::Launch launch = small_launch(64);
  std::string message;
  for (launch.seed = 0; launch.seed < 5 && message.empty(); ++launch.seed) {
    message = error_of(launch, [=] {
      const simt::Shared word = simt::shared_begin();
      if (simt::thread_index() == 0) simt::store_word(word, 1);
      simt::block_barrier();
      for (int step = 0; step < 2; ++step) {
        if (simt::thread_index() == 0 && (step == 0) == write_first) simt::store_word(word, 2);
        if (simt::thread_index() == reader && (step == 1) == write_first) simt::load_word(word);
        if (block) simt::block_barrier();
        if (warp) simt::warp_barrier();
      }
    });
  }
  return message;
}

TEST(Emulator, ReportsAccessesWithoutABarrierBetween) {
  for (const bool write_first : {true, false}) {
    EXPECT_NE(race(1, write_first, false, false).find("without a barrier"), std::string::npos);
    EXPECT_NE(race(33, write_first, false, true).find("without a barrier"), std::string::npos);
    EXPECT_EQ(race(1, write_first, false, true), "");
    EXPECT_EQ(race(33, write_first, true, false), "");
    EXPECT_EQ(race(0, write_first, false, false), "");
  }
}

TEST(Emulator, PassesOnWhatAKernelThrows) {
  EXPECT_THROW(emulator::run(small_launch(32), [] { throw std::out_of_range("from a kernel"); }),
               std::out_of_range);
  EXPECT_THROW(simt::block_barrier(), EmulationError);
  emulator::Launch launch;
  launch.threads = 31;
  EXPECT_THROW(emulator::run(launch, [] {}), EmulationError);
}

}  // namespace
}  // namespace strata::kernels
