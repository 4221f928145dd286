// SPDX-License-Identifier: Apache-2.0
#include "executor/device/cuda_accelerator.hpp"

#include <cuda_runtime.h>
#include <fmt/format.h>
#include <nvtx3/nvToolsExt.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>
#include <variant>
#include <vector>

#include "core/base/check.hpp"
#include "executor/device_error.hpp"
#include "kernels/cuda/cuda_kernels.hpp"

namespace strata {

namespace {

namespace cuda = kernels::cuda;

[[noreturn]] void fail(const std::string& what, const char* text) {
  throw DeviceError(-1, fmt::format("CUDA: {}: {}", what, text));
}

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());
  fail(what, cudaGetErrorString(error));
}

void check(const cuda::Status& status) {
  if (!status.ok()) fail(status.what, status.text);
}

std::string cuda_version(std::int32_t number) {
  return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

/// Makes a launch of any kind.
struct Launcher {
  cudaStream_t stream;
  std::byte* lists;
  const kernels::AttentionGrid* grid;  ///< of tiled attention

  template <typename Functor>
  cuda::RowLaunch<typename Functor::Range> rows(const RowsLaunch<Functor>& launch) const {
    return {launch.ranges.in(lists), launch.ranges.count, launch.tiles};
  }
  cuda::Status operator()(const CopyLaunch& launch) const { return cuda::copy_rows(rows(launch), stream); }
  cuda::Status operator()(const CastLaunch& launch) const { return cuda::cast_rows(rows(launch), stream); }
  cuda::Status operator()(const FillLaunch& launch) const { return cuda::fill_rows(rows(launch), stream); }
  cuda::Status operator()(const DeltaLaunch& launch) const { return cuda::delta_rows(rows(launch), stream); }
  cuda::Status operator()(const AddLaunch& launch) const {
    return cuda::add_rows(rows(launch.rows), launch.parts.in(lists), stream);
  }
  cuda::Status operator()(const MergeLaunch& launch) const {
    return cuda::merge_rows(rows(launch.rows), launch.parts.in(lists), stream);
  }
  cuda::Status operator()(const ReferenceLaunch& launch) const {
    cuda::ReferenceLaunch call;
    call.work.shape = launch.shape;
    call.work.mode = launch.mode;
    call.work.blocks = launch.blocks.in(lists);
    call.work.block_count = launch.blocks.count;
    call.work.queries = launch.queries.in(lists);
    call.work.keys = launch.keys.in(lists);
    call.queries = launch.host_queries.data();
    call.query_sources = static_cast<std::int32_t>(launch.host_queries.size());
    call.keys = launch.host_keys.data();
    call.key_sources = static_cast<std::int32_t>(launch.host_keys.size());
    return launch.backward ? cuda::reference_backward(call, stream) : cuda::reference_forward(call, stream);
  }
  cuda::Status operator()(const TiledLaunch& launch) const {
    return cuda::launch_attention(launch.kind, launch.shape, launch.arguments(lists), *grid, stream);
  }
};

class OpenGpu : public Gpu {
 public:
  explicit OpenGpu(std::int32_t device) {
    check(cudaSetDevice(device), "choosing the GPU");
    check(cuda::device_info(device, &info_));
    // The first call that needs the device makes the context; errors of that belong here.
    check(cudaFree(nullptr), "opening the GPU");
    int least = 0, greatest = 0;
    check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "stream priorities");
    priorities_ = {least, greatest};
  }

  /// A kernel that never ends would hold this up for ever; the process is then about to end anyway.
  ~OpenGpu() override {
    for (auto* const stream : streams_) {
      if (cudaStreamQuery(stream) == cudaErrorNotReady) return;
    }
    for (auto* const event : events_) static_cast<void>(cudaEventDestroy(event));
    for (auto* const stream : streams_) static_cast<void>(cudaStreamDestroy(stream));
    for (void* const memory : memory_) static_cast<void>(cudaFree(memory));
  }
  OpenGpu(const OpenGpu&) = delete;
  OpenGpu& operator=(const OpenGpu&) = delete;

  std::string description() const override {
    return fmt::format("{} ({} multiprocessors, sm_{}{}), driver for CUDA {}", info_.name,
                       info_.multiprocessors, info_.compute_major, info_.compute_minor,
                       cuda_version(info_.driver_version));
  }

  std::int64_t free_bytes() override {
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "free memory");
    return static_cast<std::int64_t>(free);
  }

  std::byte* allocate(std::int64_t bytes) override {
    void* data = nullptr;
    const cudaError_t error = cudaMalloc(&data, static_cast<std::size_t>(bytes));
    if (error == cudaErrorMemoryAllocation) {
      static_cast<void>(cudaGetLastError());
      throw std::bad_alloc();
    }
    check(error, "allocating memory");
    memory_.push_back(data);
    return static_cast<std::byte*>(data);
  }

  void upload(std::byte* target, std::span<const std::byte> source) override {
    check(cudaMemcpy(target, source.data(), source.size(), cudaMemcpyHostToDevice), "upload");
    // From pageable memory the call may return while the last bytes are still on their way.
    check(cudaDeviceSynchronize(), "upload");
  }

  void download(std::span<std::byte> target, const std::byte* source) override {
    check(cudaMemcpy(target.data(), source, target.size(), cudaMemcpyDeviceToHost), "download");
  }

  std::int32_t prepare_attention(kernels::WorkKind kind, const kernels::AttentionShape& shape,
                                 std::int32_t spare) override {
    const std::int32_t rows = cuda::attention_tile_rows(kind, shape);
    if (rows == 0) return 0;
    kernels::AttentionGrid filling;
    check(cuda::prepare_attention(kind, shape, spare, &filling));
    std::erase_if(grids_, [&](const Grid& grid) { return grid.is_for(kind, shape); });
    grids_.push_back({kind, shape, filling});
    return rows;
  }

  std::int32_t add_stream(bool urgent) override {
    cudaStream_t stream = nullptr;
    const int priority = urgent ? priorities_.greatest : priorities_.least;
    check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, priority), "making a stream");
    streams_.push_back(stream);
    return static_cast<std::int32_t>(streams_.size()) - 1;
  }

  std::int32_t add_events(std::int64_t count, bool timed) override {
    const auto first = static_cast<std::int32_t>(events_.size());
    const unsigned flags = timed ? cudaEventDefault : cudaEventDisableTiming;
    for (std::int64_t i = 0; i < count; ++i) {
      cudaEvent_t event = nullptr;
      check(cudaEventCreateWithFlags(&event, flags), "making an event");
      events_.push_back(event);
    }
    return first;
  }

  void record(std::int32_t stream, std::int32_t event) override {
    check(cudaEventRecord(event_at(event), stream_at(stream)), "recording an event");
  }

  void wait(std::int32_t stream, std::int32_t event) override {
    check(cudaStreamWaitEvent(stream_at(stream), event_at(event), 0), "waiting for an event");
  }

  void launch(std::int32_t stream, const DeviceLaunch& launch, std::byte* lists) override {
    const auto* tiled = std::get_if<TiledLaunch>(&launch);
    const kernels::AttentionGrid* const grid =
        tiled == nullptr ? nullptr : &grid_of(tiled->kind, tiled->shape);
    check(std::visit(Launcher{stream_at(stream), lists, grid}, launch));
  }

  void fill(std::int32_t stream, std::byte* target, std::int64_t bytes, int value) override {
    check(cudaMemsetAsync(target, value, static_cast<std::size_t>(bytes), stream_at(stream)), "fill");
  }

  bool happened(std::int32_t event) override {
    const cudaError_t error = cudaEventQuery(event_at(event));
    if (error == cudaSuccess) return true;
    static_cast<void>(cudaGetLastError());  // or the next launch would report it as its own
    if (error == cudaErrorNotReady) return false;
    fail("a launch made earlier failed (the environment variable CUDA_LAUNCH_BLOCKING=1 shows which)",
         cudaGetErrorString(error));
  }

  std::int32_t add_range_name(const std::string& name) override {
    range_names_.push_back(nvtxDomainRegisterStringA(domain_, name.c_str()));
    return static_cast<std::int32_t>(range_names_.size()) - 1;
  }
  void begin_range(std::int32_t name, std::int64_t number) override {
    nvtxEventAttributes_t attributes{};
    attributes.version = NVTX_VERSION;
    attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    attributes.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
    attributes.message.registered = range_names_[static_cast<std::size_t>(name)];
    attributes.payloadType = NVTX_PAYLOAD_TYPE_INT64;
    attributes.payload.llValue = number;
    nvtxDomainRangePushEx(domain_, &attributes);
  }
  void end_range() override { nvtxDomainRangePop(domain_); }

  void* native_stream(std::int32_t stream) const override { return stream_at(stream); }

  std::int64_t elapsed_ns(std::int32_t from, std::int32_t to) override {
    float milliseconds = 0.0F;
    check(cudaEventElapsedTime(&milliseconds, event_at(from), event_at(to)), "time between events");
    return std::llround(static_cast<double>(milliseconds) * 1e6);
  }

 private:
  struct Grid {
    kernels::WorkKind kind;
    kernels::AttentionShape shape;
    kernels::AttentionGrid filling;

    bool is_for(kernels::WorkKind which, const kernels::AttentionShape& of) const {
      return kind == which && shape.element == of.element && shape.k_dim == of.k_dim &&
             shape.v_dim == of.v_dim;
    }
  };
  struct Priorities {
    int least = 0, greatest = 0;
  };

  cudaStream_t stream_at(std::int32_t stream) const { return streams_[static_cast<std::size_t>(stream)]; }
  cudaEvent_t event_at(std::int32_t event) const { return events_[static_cast<std::size_t>(event)]; }

  const kernels::AttentionGrid& grid_of(kernels::WorkKind kind, const kernels::AttentionShape& shape) const {
    const auto grid = std::find_if(grids_.begin(), grids_.end(),
                                   [&](const Grid& each) { return each.is_for(kind, shape); });
    if (grid != grids_.end()) return grid->filling;
    fail("attention", "a kernel that was not made ready");
  }

  cuda::DeviceInfo info_;
  Priorities priorities_;
  std::vector<cudaStream_t> streams_;
  std::vector<cudaEvent_t> events_;
  std::vector<void*> memory_;
  nvtxDomainHandle_t domain_ = nvtxDomainCreateA("strata");  ///< calls do nothing without a profiler
  std::vector<nvtxStringHandle_t> range_names_;
  std::vector<Grid> grids_;
};

}  // namespace

bool cuda_available() { return true; }

std::int32_t gpu_count() {
  // Before the runtime looks at them. Streams share hardware queues when there are more of them, and then
  // wait for each other without need; kernels that load at their first launch would stall the run.
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  setenv("CUDA_MODULE_LOADING", "EAGER", 0);
  int driver = 0, runtime = 0;
  check(cudaRuntimeGetVersion(&runtime), "runtime version");
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  const auto found = [&](const std::string& what) {
    return DeviceError(-1, fmt::format("CUDA: found {}, expected a GPU and a driver for CUDA {}", what,
                                       cuda_version(runtime)));
  };
  if (driver == 0) throw found("no NVIDIA driver");
  if (driver / 1000 < runtime / 1000) throw found("a driver for CUDA " + cuda_version(driver));
  std::int32_t count = 0;
  const cuda::Status status = cuda::device_count(&count);
  if (status.code == static_cast<int>(cudaErrorNoDevice) || (status.ok() && count == 0)) {
    throw found("a driver without any GPU");
  }
  if (!status.ok()) throw found(status.text);
  return count;
}

std::unique_ptr<Gpu> open_gpu(std::int32_t device) {
  const std::int32_t count = gpu_count();
  if (device < 0 || device >= count) {
    throw DeviceError(-1, fmt::format("CUDA: found {} GPUs, expected one with number {}", count, device));
  }
  return std::make_unique<OpenGpu>(device);
}

}  // namespace strata
