// SPDX-License-Identifier: Apache-2.0
// Memory of the GPU for tests: arrays that are copied there and back, and the operands of an attention
// problem.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/attention_work.hpp"
#include "kernels/cuda/cuda_kernels.hpp"

namespace strata::kernels::test {

/// Whether there is a GPU to run on; where not, tests that need one are skipped.
bool has_device();

/// Throws std::runtime_error with the status' texts unless it is fine.
void require(const cuda::Status& status);
/// Waits for the device and throws what it reports.
void wait_for_device();

/// `bytes` of device memory, initially those at `host` (null: not initialised).
class DeviceArray {
 public:
  DeviceArray(const void* host, std::int64_t bytes);
  DeviceArray(DeviceArray&& other) noexcept;
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  DeviceArray& operator=(DeviceArray&&) = delete;
  ~DeviceArray();

  [[nodiscard]] void* data() const { return data_; }
  template <class T>
  [[nodiscard]] T* as() const {
    return static_cast<T*>(data_);
  }
  void download(void* host) const;

 private:
  void* data_ = nullptr;
  std::int64_t bytes_ = 0;
};

/// `values` has data() and size().
template <class Values>
DeviceArray upload(const Values& values) {
  const std::size_t bytes = values.size() * sizeof(*values.data());
  return DeviceArray(values.data(), static_cast<std::int64_t>(bytes));
}

/// The operands of a launch with all their arrays on the device.
class DeviceOperands {
 public:
  DeviceOperands(const AttentionShape& shape, const Operands& host, OutputMode mode);

  /// Copies what kernels write, outputs and gradients, back to the host's arrays.
  void download() const;

  [[nodiscard]] const std::vector<QueryRows>& queries() const { return queries_; }
  [[nodiscard]] const std::vector<KeyRows>& keys() const { return keys_; }

 private:
  struct Copy {
    DeviceArray device;
    void* host = nullptr;
  };
  template <class T>
  T* mirror(T* host, std::int64_t bytes, bool result);

  std::vector<DeviceArray> inputs_;
  std::vector<Copy> results_;
  std::vector<QueryRows> queries_;
  std::vector<KeyRows> keys_;
};

}  // namespace strata::kernels::test
