// SPDX-License-Identifier: Apache-2.0
// A job whose processes are threads of the test: messages go through mailboxes, links are copied when both
// their ends were posted. What the machinery of several processes does can so be tested where there is no
// MPI, and under sanitizers.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "executor/job/control.hpp"
#include "executor/transport.hpp"

namespace strata::testing {

/// What the threads share.
struct Mailboxes {
  /// One posted end of a link.
  struct PostedEnd {
    std::vector<CopyChunk> chunks;
    bool ended = false;
  };
  /// (source, target, lane) -> ends that have not met, in order.
  using Ends =
      std::map<std::tuple<std::int32_t, std::int32_t, std::int32_t>, std::deque<std::shared_ptr<PostedEnd>>>;
  std::mutex mutex;
  std::condition_variable arrived;
  std::map<std::pair<std::int32_t, std::int32_t>, std::deque<std::vector<std::byte>>> messages;
  Ends sends, receives;
};

class ThreadControl : public Control {
 public:
  ThreadControl(Mailboxes& boxes, std::int32_t process, std::int32_t processes, Duration deadline)
      : Control(process, processes, deadline), boxes_(boxes) {}
  void send(std::int32_t to, std::span<const std::byte> message, std::string_view what) override;
  std::vector<std::byte> receive(std::int32_t from, std::string_view what) override;
  void finish() override {}
  TransportFactory transports();

 protected:
  void end_job(int) override {}

 private:
  Mailboxes& boxes_;
};

/// Runs `body` once per process, each in a thread of its own; returns what each threw, "" for nothing.
std::vector<std::string> run_job_of_threads(std::int32_t processes, Duration deadline,
                                            const std::function<void(ThreadControl&)>& body);

}  // namespace strata::testing
