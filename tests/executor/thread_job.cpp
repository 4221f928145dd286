// SPDX-License-Identifier: Apache-2.0
#include "tests/executor/thread_job.hpp"

#include <algorithm>
#include <cstring>
#include <thread>

namespace strata::testing {

namespace {

/// Copies the bytes of the parts of one end into those of the other, however they are cut.
void copy_parts(const std::vector<CopyChunk>& from, const std::vector<CopyChunk>& to) {
  std::size_t part = 0;
  std::int64_t done = 0;
  for (const CopyChunk& target : to) {
    for (std::int64_t filled = 0; filled < target.bytes;) {
      STRATA_CHECK(part < from.size(), "a link whose ends differ in bytes");
      const std::int64_t bytes = std::min(target.bytes - filled, from[part].bytes - done);
      std::memcpy(target.target + filled, from[part].source + done, static_cast<std::size_t>(bytes));
      filled += bytes;
      done += bytes;
      if (done == from[part].bytes) {
        ++part;
        done = 0;
      }
    }
  }
}

class ThreadTransport : public Transport {
 public:
  ThreadTransport(const PreparedRun& run, Mailboxes& boxes) : run_(run), boxes_(boxes) {}

  void post(const LinkNumber& number) override {
    const ExchangeLinks& links =
        run_.waves[static_cast<std::size_t>(number.wave)].passes[static_cast<std::size_t>(number.pass)].links;
    const ExchangeLink& link = links.links[static_cast<std::size_t>(number.link)];
    auto own = std::make_shared<Mailboxes::PostedEnd>();
    own->chunks.assign(links.chunks.begin() + link.chunk_begin, links.chunks.begin() + link.chunk_end);
    under_way_.emplace_back(number, own);
    const bool sends = run_.local.contains(link.source);
    const std::lock_guard lock(boxes_.mutex);
    const auto key = std::tuple(link.source, link.target, link.lane);
    auto& others = (sends ? boxes_.receives : boxes_.sends)[key];
    if (others.empty()) {
      (sends ? boxes_.sends : boxes_.receives)[key].push_back(own);
      return;
    }
    const auto other = others.front();
    others.pop_front();
    copy_parts(sends ? own->chunks : other->chunks, sends ? other->chunks : own->chunks);
    own->ended = other->ended = true;
  }

  void poll(std::vector<LinkNumber>& ended) override {
    const std::lock_guard lock(boxes_.mutex);
    std::erase_if(under_way_, [&](const auto& entry) {
      if (!entry.second->ended) return false;
      ended.push_back(entry.first);
      return true;
    });
  }

 private:
  const PreparedRun& run_;
  Mailboxes& boxes_;
  std::vector<std::pair<LinkNumber, std::shared_ptr<Mailboxes::PostedEnd>>> under_way_;
};

}  // namespace

void ThreadControl::send(std::int32_t to, std::span<const std::byte> message, std::string_view) {
  const std::lock_guard lock(boxes_.mutex);
  boxes_.messages[{process(), to}].emplace_back(message.begin(), message.end());
  boxes_.arrived.notify_all();
}

std::vector<std::byte> ThreadControl::receive(std::int32_t from, std::string_view what) {
  std::unique_lock lock(boxes_.mutex);
  auto& queue = boxes_.messages[{from, process()}];
  const bool came =
      boxes_.arrived.wait_for(lock, std::chrono::nanoseconds(patience().ns), [&] { return !queue.empty(); });
  if (!came) give_up(from, what);
  std::vector<std::byte> message = std::move(queue.front());
  queue.pop_front();
  return message;
}

TransportFactory ThreadControl::transports() {
  return [this](const PreparedRun& run) { return std::make_unique<ThreadTransport>(run, boxes_); };
}

std::vector<std::string> run_job_of_threads(std::int32_t processes, Duration deadline,
                                            const std::function<void(ThreadControl&)>& body) {
  Mailboxes boxes;
  std::vector<std::string> thrown(static_cast<std::size_t>(processes));
  std::vector<std::thread> threads;
  threads.reserve(thrown.size());
  for (std::int32_t process = 0; process < processes; ++process) {
    threads.emplace_back([&, process] {
      ThreadControl control(boxes, process, processes, deadline);
      try {
        body(control);
      } catch (const std::exception& error) {
        thrown[static_cast<std::size_t>(process)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return thrown;
}

}  // namespace strata::testing
