// SPDX-License-Identifier: Apache-2.0
// Links between ranks of different processes as MPI messages: one per link and exchange, straight from and
// into the arenas through a derived datatype. Sends are synchronous, so that a program that works only
// because MPI has buffers waits here too.
#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <array>

#include "executor/mpi_detail.hpp"

namespace strata {

namespace {

constexpr std::string_view kWhat = "exchanging rows";
/// Block lengths of a datatype are int.
constexpr std::int64_t kBlockBytes = std::int64_t{1} << 30;

/// The memory of one link's local end, and where it goes.
struct Message {
  const std::byte* data = nullptr;  ///< of one block; null: `type` holds the addresses
  int count = 0;
  MPI_Datatype type = MPI_BYTE;
  int peer = 0, tag = 0;
  std::int32_t lane = 0;
  bool send = false;
};

struct Block {
  std::byte* data = nullptr;
  std::int64_t bytes = 0;
};

/// The chunks, with neighbours joined and long ones cut.
std::vector<Block> blocks_of(std::span<const CopyChunk> chunks, bool send) {
  std::vector<Block> joined;
  for (const CopyChunk& chunk : chunks) {
    if (chunk.bytes == 0) continue;
    std::byte* data = send ? const_cast<std::byte*>(chunk.source) : chunk.target;
    const bool follows = !joined.empty() && joined.back().data + joined.back().bytes == data;
    if (!follows) joined.push_back({data, 0});
    joined.back().bytes += chunk.bytes;
  }
  std::vector<Block> blocks;
  for (const Block& block : joined) {
    for (std::int64_t done = 0; done < block.bytes; done += kBlockBytes) {
      blocks.push_back({block.data + done, std::min(kBlockBytes, block.bytes - done)});
    }
  }
  return blocks;
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
    std::size_t most = 0;
    for (const PreparedWave& wave : run.waves) {
      auto& passes = messages_.emplace_back();
      for (std::size_t p = 0; p < passes.size(); ++p) {
        for (const ExchangeLink& link : wave.passes[p].links.links) {
          passes[p].push_back(link.remote ? describe(link, wave.passes[p].links, run.local) : Message{});
        }
        most += passes[p].size();
      }
    }
    requests_.reserve(most);
    numbers_.reserve(most);
    done_.resize(most);
    statuses_.resize(most);
  }

  ~MpiTransport() override {
    for (auto& passes : messages_) {
      for (auto& pass : passes) {
        for (Message& message : pass) {
          if (message.type != MPI_BYTE) MPI_Type_free(&message.type);
        }
      }
    }
  }
  MpiTransport(const MpiTransport&) = delete;
  MpiTransport& operator=(const MpiTransport&) = delete;

  void post(const LinkNumber& number) override {
    const auto& pass =
        messages_[static_cast<std::size_t>(number.wave)][static_cast<std::size_t>(number.pass)];
    const Message& message = pass[static_cast<std::size_t>(number.link)];
    MPI_Comm lane = lanes_[static_cast<std::size_t>(message.lane)];
    MPI_Request request = MPI_REQUEST_NULL;
    const void* from = message.data == nullptr ? MPI_BOTTOM : message.data;
    if (message.send) {
      check_mpi(MPI_Issend(from, message.count, message.type, message.peer, message.tag, lane, &request),
                kWhat);
    } else {
      void* to = message.data == nullptr ? MPI_BOTTOM : const_cast<std::byte*>(message.data);
      check_mpi(MPI_Irecv(to, message.count, message.type, message.peer, message.tag, lane, &request), kWhat);
    }
    requests_.push_back(request);
    numbers_.push_back(number);
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
      ended.push_back(numbers_[static_cast<std::size_t>(done_[at])]);
    }
    check_mpi(code, kWhat);
    if (count > 0) remove_ended();
  }

 private:
  Message describe(const ExchangeLink& link, const ExchangeLinks& links, RankBlock local) const {
    Message message;
    message.send = local.contains(link.source);
    message.lane = link.lane;
    STRATA_CHECK(link.lane >= 0 && link.lane < std::ssize(lanes_), "lane {} of {}", link.lane, lanes_.size());
    message.peer = process_of(message.send ? link.target : link.source);
    message.tag = tag_of(link);
    const auto chunks = std::span(links.chunks)
                            .subspan(static_cast<std::size_t>(link.chunk_begin),
                                     static_cast<std::size_t>(link.chunk_end - link.chunk_begin));
    const std::vector<Block> blocks = blocks_of(chunks, message.send);
    if (blocks.size() == 1) {
      message.data = blocks.front().data;
      message.count = static_cast<int>(blocks.front().bytes);
    } else if (!blocks.empty()) {
      std::vector<int> lengths;
      std::vector<MPI_Aint> places;
      for (const Block& block : blocks) {
        lengths.push_back(static_cast<int>(block.bytes));
        check_mpi(MPI_Get_address(block.data, &places.emplace_back()), kWhat);
      }
      check_mpi(MPI_Type_create_hindexed(static_cast<int>(blocks.size()), lengths.data(), places.data(),
                                         MPI_BYTE, &message.type),
                kWhat);
      check_mpi(MPI_Type_commit(&message.type), kWhat);
      message.count = 1;
    }
    return message;
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
  std::vector<std::array<std::vector<Message>, 2>> messages_;  ///< [wave][pass][link]
  std::vector<MPI_Request> requests_;                          ///< under way
  std::vector<LinkNumber> numbers_;                            ///< of each request
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
