// SPDX-License-Identifier: Apache-2.0
#include "tools/interruption.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "tools/error_report.hpp"

namespace strata::tools {

namespace {

constexpr std::array kSignals{SIGINT, SIGTERM};

bool is_ignored(int signal) {
  struct sigaction action {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

Interruption::Interruption(std::function<void()> report) : report_(std::move(report)) {
  ::sigemptyset(&signals_);
  for (const int signal : kSignals) {
    if (!is_ignored(signal)) ::sigaddset(&signals_, signal);
  }
  // Blocked in this thread and in those that it starts, so that only the watcher meets them.
  ::pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  arrivals_ = ::signalfd(-1, &signals_, SFD_CLOEXEC);
  done_ = ::eventfd(0, EFD_CLOEXEC);
  if (arrivals_ < 0 || done_ < 0 || !watcher_.start([this] { watch(); })) {
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
}

Interruption::~Interruption() {
  const std::uint64_t one = 1;
  while (watcher_.size() > 0 && ::write(done_, &one, sizeof one) < 0 && errno == EINTR) {
  }
  watcher_.join();
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  for (const int descriptor : {arrivals_, done_}) {
    if (descriptor >= 0) ::close(descriptor);
  }
}

void Interruption::watch() {
  std::array<pollfd, 2> sources{pollfd{arrivals_, POLLIN, 0}, pollfd{done_, POLLIN, 0}};
  while (::poll(sources.data(), sources.size(), -1) < 0 && errno == EINTR) {
  }
  signalfd_siginfo arrived{};
  if (sources[1].revents != 0) return;  // the work is done, and its report is the whole one
  if (sources[0].revents == 0 || ::read(arrivals_, &arrived, sizeof arrived) != sizeof arrived) return;
  ::pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);  // a second one ends the process
  try {
    report_();
    std::cout.flush();
  } catch (...) {
    report_current_exception();
  }
  std::_Exit(128 + static_cast<int>(arrived.ssi_signo));
}

}  // namespace strata::tools
