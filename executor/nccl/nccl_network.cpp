// SPDX-License-Identifier: Apache-2.0
#include "executor/nccl/nccl_network.hpp"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/check.hpp"
#include "executor/device_error.hpp"
#include "executor/job/agreement.hpp"
#include "executor/nccl/nccl_library.hpp"

namespace strata {

namespace {

/// A wait yields for so long, then naps: what NCCL does in the background of an exchange takes microseconds,
/// and nothing is issued meanwhile.
constexpr std::int64_t kYieldNs = 1'000'000;
constexpr auto kNap = std::chrono::microseconds(100);
constexpr auto kAbortLimit = std::chrono::seconds(5);

class NcclOfJob : public NcclNetwork {
 public:
  NcclOfJob(const NcclLibrary& nccl, Control& control, std::function<void*(std::int32_t)> native_stream)
      : nccl_(nccl), control_(control), native_stream_(std::move(native_stream)) {}

  /// Ends communicators in good order; what went wrong before has been reported.
  ~NcclOfJob() override {
    try {
      while (!communicators_.empty()) {
        auto* const first = communicators_.front();
        check(nccl_.finalize(first), first, "leaving");
        communicators_.erase(communicators_.begin());  // it is none to abort any more
        static_cast<void>(nccl_.destroy(first));
      }
    } catch (const DeviceError&) {
      abort();
    }
  }
  NcclOfJob(const NcclOfJob&) = delete;
  NcclOfJob& operator=(const NcclOfJob&) = delete;

  void connect(std::int32_t lanes) override {
    while (std::ssize(communicators_) < lanes) {
      const ncclUniqueId id = share_id();
      ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
      config.blocking = 0;
      ncclComm_t made = nullptr;
      const ncclResult_t result =
          nccl_.init_rank(&made, control_.processes(), id, control_.process(), &config);
      if (made != nullptr) communicators_.push_back(made);
      check(result, made, "connecting");
    }
  }

  void exchange(std::int32_t stream, std::int32_t lane, std::span<const NetworkPart> parts) override {
    auto* const comm = communicators_.at(static_cast<std::size_t>(lane));
    const auto native = static_cast<cudaStream_t>(native_stream_(stream));
    check(nccl_.group_start(), comm, "beginning an exchange");
    for (const NetworkPart& part : parts) {
      const auto bytes = static_cast<std::size_t>(part.bytes);
      const ncclResult_t result = part.sends
                                      ? nccl_.send(part.data, bytes, ncclInt8, part.peer, comm, native)
                                      : nccl_.receive(part.data, bytes, ncclInt8, part.peer, comm, native);
      if (result != ncclSuccess && result != ncclInProgress) {
        static_cast<void>(nccl_.group_end());
        check(result, comm, part.sends ? "sending" : "receiving");
      }
    }
    // Until the group is launched nothing else may be issued to the stream: it could run before it.
    check(nccl_.group_end(), comm, "an exchange");
  }

  void check() override {
    for (auto* const each : communicators_) {
      ncclResult_t state = ncclSuccess;
      if (nccl_.async_error(each, &state) != ncclSuccess) state = ncclInternalError;
      if (state != ncclSuccess && state != ncclInProgress) fail(state, each, "a transfer");
    }
  }

  void abort() noexcept override {
    auto ended = std::make_shared<std::atomic<std::size_t>>(0);
    const std::vector<ncclComm_t> all = std::exchange(communicators_, {});
    const auto end = nccl_.abort;
    // An abort has been known to hang; the process ends all the same.
    for (auto* const each : all) {
      try {
        std::thread([each, end, ended] {
          static_cast<void>(end(each));
          ++*ended;
        }).detach();
      } catch (const std::system_error&) {
        return;
      }
    }
    const auto limit = std::chrono::steady_clock::now() + kAbortLimit;
    while (*ended < all.size() && std::chrono::steady_clock::now() < limit) std::this_thread::sleep_for(kNap);
  }

 private:
  /// What the processes find each other by: process 0's, for all.
  ncclUniqueId share_id() {
    constexpr std::string_view kWhat = "sharing NCCL's address";
    ncclUniqueId id{};
    std::string failure;
    if (control_.process() == 0) {
      const ncclResult_t result = nccl_.unique_id(&id);
      if (result != ncclSuccess) failure = sentence(result, nullptr, "opening an address");
    }
    agree_on_success(control_, failure, kWhat);
    const std::string first = control_.all_gather({id.internal, sizeof id.internal}, kWhat).front();
    STRATA_CHECK(first.size() == sizeof id.internal, "an address of {} bytes", first.size());
    std::memcpy(id.internal, first.data(), first.size());
    return id;
  }

  std::string sentence(ncclResult_t result, ncclComm_t comm, std::string_view what) const {
    const char* const last = nccl_.last_error(comm);
    return fmt::format("NCCL: {}: {}{}{}", what, nccl_.error_string(result),
                       last == nullptr || *last == '\0' ? "" : ": ", last == nullptr ? "" : last);
  }

  [[noreturn]] void fail(ncclResult_t result, ncclComm_t comm, std::string_view what) const {
    throw TransportError(control_.process(), sentence(result, comm, what));
  }

  /// Waits until a call that goes on in the background has come to an end.
  void check(ncclResult_t result, ncclComm_t comm, std::string_view what) {
    if (result == ncclSuccess) return;
    if (result != ncclInProgress) fail(result, comm, what);
    Patience left(control_.patience());
    const std::int64_t begin = monotonic_ns();
    while (true) {
      ncclResult_t state = ncclInProgress;
      const ncclResult_t asked = nccl_.async_error(comm, &state);
      if (asked != ncclSuccess) fail(asked, comm, what);
      if (state == ncclSuccess) return;
      if (state != ncclInProgress) fail(state, comm, what);
      control_.check_alive();
      const std::int64_t now = monotonic_ns();
      if (left.exhausted(now)) {
        throw TransportError(control_.process(), fmt::format("NCCL: {}: not all ranks took part within {} s",
                                                             what, control_.deadline().ns / 1'000'000'000));
      }
      if (now - begin < kYieldNs) {
        std::this_thread::yield();
      } else {
        std::this_thread::sleep_for(kNap);
      }
    }
  }

  const NcclLibrary& nccl_;
  Control& control_;
  std::function<void*(std::int32_t)> native_stream_;
  std::vector<ncclComm_t> communicators_;  ///< [lane]
};

}  // namespace

bool nccl_available() { return true; }

std::unique_ptr<NcclNetwork> make_nccl_network(const NcclLibrary& nccl, Control& control,
                                               std::function<void*(std::int32_t)> native_stream) {
  return std::make_unique<NcclOfJob>(nccl, control, std::move(native_stream));
}

std::unique_ptr<NcclNetwork> open_nccl(Control& control, const Gpu& gpu) {
  // Communicators of one GPU that were launched in one order must not run in another; before NCCL looks.
  setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", 0);
  return make_nccl_network(nccl_library(), control,
                           [&gpu](std::int32_t stream) { return gpu.native_stream(stream); });
}

std::string nccl_version() { return nccl_version_text(nccl_library().version); }

}  // namespace strata
