// SPDX-License-Identifier: Apache-2.0
// Links between ranks of different processes as MPI messages, straight from and into the arenas: a message
// for every part, in order. Sends are synchronous, so that a program that works only because MPI has buffers
// waits here too.
#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <array>

#include "executor/job/mpi_detail.hpp"

namespace strata {

namespace {

constexpr std::string_view kWhat = "exchanging rows";
/// Counts of MPI are int.
constexpr std::int64_t kMessageBytes = std::int64_t{1} << 30;

struct Message {
  std::byte* data = nullptr;
  int bytes = 0;
};

/// The messages [begin, end) of a link, all to or from one process with one tag.
struct LinkMessages {
  std::int64_t begin = 0, end = 0;
  std::int64_t left = 0;  ///< under way
  int peer = 0, tag = 0;
  std::int32_t lane = 0;
  bool send = false;
};

/// Every part, cut where it is too long for MPI; at least one message, for ends have to meet.
void append_messages(std::span<const CopyChunk> parts, bool send, std::vector<Message>& messages) {
  const std::size_t before = messages.size();
  for (const CopyChunk& part : parts) {
    std::byte* const data = send ? const_cast<std::byte*>(part.source) : part.target;
    for (std::int64_t done = 0; done < part.bytes; done += kMessageBytes) {
      messages.push_back({data + done, static_cast<int>(std::min(kMessageBytes, part.bytes - done))});
    }
  }
  if (messages.size() == before) messages.emplace_back();
}

class MpiTransport final : public Transport {
 public:
  MpiTransport(const PreparedRun& run, const Control& control, std::span<const MPI_Comm> lanes)
      : control_(control),
        lanes_(lanes.begin(), lanes.end()),
        ranks_(static_cast<std::int32_t>(run.arenas.size())) {
    void* highest = nullptr;
    int found = 0;
    check_mpi(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, static_cast<void*>(&highest), &found), kWhat);
    highest_tag_ = found != 0 ? *static_cast<int*>(highest) : 32767;
    for (const PreparedWave& wave : run.waves) {
      auto& passes = links_.emplace_back();
      for (std::size_t p = 0; p < passes.size(); ++p) {
        for (const ExchangeLink& link : wave.passes[p].links.links) {
          passes[p].push_back(link.remote ? describe(link, wave.passes[p].links, run.local) : LinkMessages{});
        }
      }
    }
    const std::size_t most = messages_.size();
    requests_.reserve(most);
    numbers_.reserve(most);
    done_.resize(most);
    statuses_.resize(most);
  }

  void post(const LinkNumber& number) override {
    LinkMessages& link = link_of(number);
    MPI_Comm lane = lanes_[static_cast<std::size_t>(link.lane)];
    for (std::int64_t i = link.begin; i < link.end; ++i) {
      const Message& message = messages_[static_cast<std::size_t>(i)];
      MPI_Request request = MPI_REQUEST_NULL;
      const int code =
          link.send ? MPI_Issend(message.data, message.bytes, MPI_BYTE, link.peer, link.tag, lane, &request)
                    : MPI_Irecv(message.data, message.bytes, MPI_BYTE, link.peer, link.tag, lane, &request);
      check_mpi(code, kWhat);
      requests_.push_back(request);
      numbers_.push_back(number);
    }
    link.left = link.end - link.begin;
  }

  void poll(std::vector<LinkNumber>& ended) override {
    if (requests_.empty()) return;
    int count = 0;
    const int code = MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count, done_.data(),
                                  statuses_.data());
    if (count == MPI_UNDEFINED) count = 0;
    for (int i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (code == MPI_ERR_IN_STATUS) check_mpi(statuses_[at].MPI_ERROR, kWhat);
      const LinkNumber& number = numbers_[static_cast<std::size_t>(done_[at])];
      if (--link_of(number).left == 0) ended.push_back(number);
    }
    check_mpi(code, kWhat);
    if (count > 0) remove_ended();
  }

 private:
  LinkMessages& link_of(const LinkNumber& number) {
    auto& pass = links_[static_cast<std::size_t>(number.wave)][static_cast<std::size_t>(number.pass)];
    return pass[static_cast<std::size_t>(number.link)];
  }

  LinkMessages describe(const ExchangeLink& link, const ExchangeLinks& links, RankBlock local) {
    LinkMessages result;
    result.send = local.contains(link.source);
    result.lane = link.lane;
    STRATA_CHECK(link.lane >= 0 && link.lane < std::ssize(lanes_), "lane {} of {}", link.lane, lanes_.size());
    result.peer = process_of(result.send ? link.target : link.source);
    result.tag = tag_of(link);
    result.begin = std::ssize(messages_);
    const auto parts = std::span(links.chunks)
                           .subspan(static_cast<std::size_t>(link.chunk_begin),
                                    static_cast<std::size_t>(link.chunk_end - link.chunk_begin));
    append_messages(parts, result.send, messages_);
    result.end = std::ssize(messages_);
    return result;
  }

  std::int32_t process_of(std::int32_t rank) const {
    return static_cast<std::int32_t>(std::int64_t{rank} * control_.processes() / ranks_);
  }

  /// Tells the pairs of ranks of two processes apart. Messages of one pair and lane match in order.
  int tag_of(const ExchangeLink& link) const {
    const auto place = [&](std::int32_t rank) -> std::int64_t {
      return rank - control_.block(process_of(rank), ranks_).begin;
    };
    const std::int64_t most = (ranks_ + control_.processes() - 1) / control_.processes();
    const std::int64_t tag = place(link.source) * most + place(link.target);
    STRATA_CHECK(tag <= highest_tag_, "tag {}, MPI allows {}", tag, highest_tag_);
    return static_cast<int>(tag);
  }

  void remove_ended() {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i] == MPI_REQUEST_NULL) continue;
      requests_[kept] = requests_[i];
      numbers_[kept++] = numbers_[i];
    }
    requests_.resize(kept);
    numbers_.resize(kept);
  }

  const Control& control_;
  std::vector<MPI_Comm> lanes_;
  std::int32_t ranks_ = 0;
  int highest_tag_ = 0;
  std::vector<Message> messages_;
  std::vector<std::array<std::vector<LinkMessages>, 2>> links_;  ///< [wave][pass][link]
  std::vector<MPI_Request> requests_;                            ///< under way
  std::vector<LinkNumber> numbers_;                              ///< of each request
  std::vector<int> done_;
  std::vector<MPI_Status> statuses_;
};

}  // namespace

std::unique_ptr<Transport> make_mpi_transport(const PreparedRun& run, const Control& control,
                                              const void* communicators, std::int32_t lanes) {
  return std::make_unique<MpiTransport>(
      run, control, std::span(static_cast<const MPI_Comm*>(communicators), static_cast<std::size_t>(lanes)));
}

}  // namespace strata
