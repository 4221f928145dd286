// SPDX-License-Identifier: Apache-2.0
// The arithmetic of an emulated tensor core.
#include "kernels/bf16.hpp"
#include "kernels/cuda/emulator/machine.hpp"
#include "kernels/f16.hpp"

namespace strata::kernels::emulator {
namespace {

double value_of(Element element, std::uint32_t word, int half) {
  const auto bits = static_cast<std::uint16_t>(word >> (16 * half));
  return element == Element::bf16 ? widen(Bf16{bits}) : widen(F16{bits});
}

}  // namespace

void multiply(Element element, const std::array<Request*, kWarpLanes>& lanes) {
  double a[kMmaRows][kMmaDepth];
  double b[kMmaDepth][kMmaColumns];
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    const Request& request = *lanes[static_cast<std::size_t>(lane)];
    for (int half = 0; half < 2; ++half) {
      for (int word = 0; word < 4; ++word) {
        const FragmentPlace place = place_in_a(lane, word, half);
        a[place.row][place.column] = value_of(element, request.a[word], half);
      }
      for (int word = 0; word < 2; ++word) {
        const FragmentPlace place = place_in_b(lane, word, half);
        b[place.row][place.column] = value_of(element, request.b[static_cast<std::size_t>(word)], half);
      }
    }
  }
  double product[kMmaRows][kMmaColumns] = {};
  for (int row = 0; row < kMmaRows; ++row) {
    for (int depth = 0; depth < kMmaDepth; ++depth) {
      for (int column = 0; column < kMmaColumns; ++column) {
        product[row][column] += a[row][depth] * b[depth][column];
      }
    }
  }
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    float* sum = lanes[static_cast<std::size_t>(lane)]->sum;
    for (int i = 0; i < 4; ++i) {
      const FragmentPlace place = place_in_c(lane, i);
      sum[i] = static_cast<float>(sum[i] + product[place.row][place.column]);
    }
  }
}

}  // namespace strata::kernels::emulator
