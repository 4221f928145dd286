// SPDX-License-Identifier: Apache-2.0
// One tensor-core kernel as its own source file shows it to the dispatch: CMake writes a file for each kind,
// type and pair of head dimensions from attention_instance.cu.in.
#pragma once

#include <cstdint>

#include "kernels/cuda/cuda_kernels.hpp"

namespace strata::kernels::cuda {

template <WorkKind kKind, Element kElement, int kKeyDim, int kValueDim>
struct AttentionInstance {
  static Status prepare(std::int32_t* blocks_multiprocessor);
  static Status launch(const AttentionArguments& arguments, std::int32_t blocks, void* stream);
};

}  // namespace strata::kernels::cuda
