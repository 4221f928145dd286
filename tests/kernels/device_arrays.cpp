// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/device_arrays.hpp"

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace strata::kernels::test {
namespace {

void require_runtime(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

}  // namespace

bool has_device() {
  std::int32_t count = 0;
  return cuda::device_count(&count).ok() && count > 0;
}

void require(const cuda::Status& status) {
  if (!status.ok()) throw std::runtime_error(std::string(status.what) + ": " + status.text);
}

void wait_for_device() { require_runtime(cudaDeviceSynchronize(), "synchronise"); }

DeviceArray::DeviceArray(const void* host, std::int64_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  require_runtime(cudaMalloc(&data_, static_cast<std::size_t>(bytes)), "allocate");
  if (host == nullptr) return;
  require_runtime(cudaMemcpy(data_, host, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice), "upload");
}

DeviceArray::DeviceArray(DeviceArray&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}

DeviceArray::~DeviceArray() { cudaFree(data_); }

void DeviceArray::download(void* host) const {
  if (bytes_ == 0) return;
  require_runtime(cudaMemcpy(host, data_, static_cast<std::size_t>(bytes_), cudaMemcpyDeviceToHost),
                  "download");
}

template <class T>
T* DeviceOperands::mirror(T* host, std::int64_t bytes, bool result) {
  if (host == nullptr) return nullptr;
  DeviceArray device(host, bytes);
  T* const data = static_cast<T*>(device.data());
  if (result) {
    results_.push_back({std::move(device), const_cast<std::remove_const_t<T>*>(host)});
  } else {
    inputs_.push_back(std::move(device));
  }
  return data;
}

DeviceOperands::DeviceOperands(const AttentionShape& shape, const Operands& host, OutputMode mode) {
  const std::int64_t element = element_bytes(shape.element);
  const std::int64_t out_element = mode == OutputMode::write ? element : 4;
  for (const QueryRows& rows : host.queries) {
    const std::int64_t cells = rows.rows * rows.head_count;
    QueryRows device = rows;
    device.q = mirror(rows.q, cells * shape.k_dim * element, false);
    device.out = mirror(rows.out, cells * shape.v_dim * out_element, true);
    device.lse = mirror(rows.lse, cells * 4, true);
    device.grad_out = mirror(rows.grad_out, cells * shape.v_dim * element, false);
    device.delta = mirror(rows.delta, cells * 4, false);
    device.grad_q = mirror(rows.grad_q, cells * shape.k_dim * 4, true);
    queries_.push_back(device);
  }
  for (const KeyRows& rows : host.keys) {
    const std::int64_t cells = rows.rows * rows.head_count * (shape.k_dim + shape.v_dim);
    KeyRows device = rows;
    device.kv = mirror(rows.kv, cells * element, false);
    device.grad_kv = mirror(rows.grad_kv, cells * 4, true);
    keys_.push_back(device);
  }
}

void DeviceOperands::download() const {
  for (const Copy& copy : results_) copy.device.download(copy.host);
}

}  // namespace strata::kernels::test
