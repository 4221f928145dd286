// SPDX-License-Identifier: Apache-2.0
#include "executor/job/mpi_job.hpp"

#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "executor/device_error.hpp"
#include "executor/job/mpi_detail.hpp"

namespace strata {

void check_mpi(int code, std::string_view what) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw TransportError(
      -1, fmt::format("{}: {}", what, std::string_view(text.data(), static_cast<std::size_t>(length))));
}

namespace {

constexpr int kControlTag = 1;
/// Larger messages go in pieces: MPI counts in int.
constexpr std::size_t kPieceBytes = std::size_t{256} << 20U;
/// A wait yields for so long, then naps.
constexpr std::int64_t kYieldNs = 1'000'000;
constexpr std::chrono::microseconds kNap(100);

class OpenJob final : public MpiJob {
 public:
  OpenJob(std::int32_t process, std::int32_t processes, Duration deadline)
      : MpiJob(process, processes, deadline) {
    check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "setting up MPI");
    control_ = duplicate_world();
  }

  void send(std::int32_t to, std::span<const std::byte> message, std::string_view what) override {
    size_sent_ = message.size();
    wait(start_send(to, &size_sent_, sizeof size_sent_, what), to, what);
    while (!message.empty()) {
      const std::size_t piece = std::min(message.size(), kPieceBytes);
      wait(start_send(to, message.data(), static_cast<int>(piece), what), to, what);
      message = message.subspan(piece);
    }
  }

  std::vector<std::byte> receive(std::int32_t from, std::string_view what) override {
    wait(start_receive(from, &size_received_, sizeof size_received_, what), from, what);
    received_.resize(size_received_);
    for (std::size_t done = 0; done < received_.size();) {
      const std::size_t piece = std::min(received_.size() - done, kPieceBytes);
      wait(start_receive(from, received_.data() + done, static_cast<int>(piece), what), from, what);
      done += piece;
    }
    return std::exchange(received_, {});
  }

  void end_job(int code) override { MPI_Abort(MPI_COMM_WORLD, code); }

  void finish() override {
    for (MPI_Comm& lane : lanes_) MPI_Comm_free(&lane);
    MPI_Comm_free(&control_);
    MPI_Finalize();
  }

  TransportFactory transports(std::int32_t lanes) override {
    while (std::ssize(lanes_) < lanes) lanes_.push_back(duplicate_world());
    return [this, lanes](const PreparedRun& run) {
      return make_mpi_transport(run, *this, lanes_.data(), lanes);
    };
  }

 private:
  MPI_Comm duplicate_world() {
    constexpr std::string_view kWhat = "making a communicator";
    MPI_Comm copy = MPI_COMM_NULL;
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Comm_idup(MPI_COMM_WORLD, &copy, &request), kWhat);
    wait(request, process() == 0 && processes() > 1 ? 1 : 0, kWhat);
    return copy;
  }

  MPI_Request start_send(std::int32_t to, const void* data, int bytes, std::string_view what) const {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Isend(data, bytes, MPI_BYTE, to, kControlTag, control_, &request), what);
    return request;
  }
  MPI_Request start_receive(std::int32_t from, void* data, int bytes, std::string_view what) const {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Irecv(data, bytes, MPI_BYTE, from, kControlTag, control_, &request), what);
    return request;
  }

  void wait(MPI_Request request, std::int32_t peer, std::string_view what) const {
    Patience left(patience());
    const std::int64_t begin = monotonic_ns();
    while (true) {
      int done = 0;
      check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), what);
      if (done != 0) return;
      const std::int64_t now = monotonic_ns();
      if (left.exhausted(now)) give_up(peer, what);
      if (now - begin < kYieldNs) {
        std::this_thread::yield();
      } else {
        std::this_thread::sleep_for(kNap);
      }
    }
  }

  MPI_Comm control_ = MPI_COMM_NULL;
  std::vector<MPI_Comm> lanes_;
  // Here and not on the stack: a wait that gives up leaves its request open.
  std::uint64_t size_sent_ = 0, size_received_ = 0;
  std::vector<std::byte> received_;
};

}  // namespace

bool mpi_available() { return true; }

std::unique_ptr<MpiJob> start_mpi(Duration deadline) {
  int provided = 0, process = 0, processes = 0;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "starting MPI");
  if (provided < MPI_THREAD_FUNNELED) throw DeviceError(-1, "this MPI does not allow programs with threads");
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &process), "starting MPI");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &processes), "starting MPI");
  return std::make_unique<OpenJob>(process, processes, deadline);
}

}  // namespace strata
