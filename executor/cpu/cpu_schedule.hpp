// SPDX-License-Identifier: Apache-2.0
// Which item of which rank runs next: the state of the programs of this process's ranks, as dependency
// counts. An instruction is posted when its stream's previous one and everything it waits for have ended; its
// items then wait for a worker. Ranks meet in exchanges only. Links to ranks of other processes are handed
// out and end when the caller says so. The schedule is not thread-safe: the executor calls it under one lock.
// It allocates nothing after construction.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "executor/prepared_run.hpp"

namespace strata {

/// A fixed-capacity first-in first-out queue.
template <typename Entry>
class Ring {
 public:
  explicit Ring(std::size_t capacity = 0) : entries_(capacity + 1) {}
  bool empty() const { return head_ == tail_; }
  Entry& front() { return entries_[head_]; }
  void push(const Entry& entry) {
    entries_[tail_] = entry;
    tail_ = next(tail_);
  }
  void pop() { head_ = next(head_); }
  void clear() { head_ = tail_ = 0; }

 private:
  std::size_t next(std::size_t index) const { return index + 1 == entries_.size() ? 0 : index + 1; }
  std::vector<Entry> entries_;
  std::size_t head_ = 0, tail_ = 0;
};

/// One item handed to a worker: an item of `operation`, or `chunk` of a link.
struct Claim {
  std::int32_t rank = 0;
  std::int32_t instruction = 0;
  const PreparedOperation* operation = nullptr;
  std::int64_t item = 0;
  const CopyChunk* chunk = nullptr;
  LinkNumber link;
};

class CpuSchedule {
 public:
  /// `gated`: other processes take part, so a repeat starts when start() says so.
  CpuSchedule(PreparedRun& run, const Execution& execution, const CpuOptions& options, bool gated);

  /// All ranks make their inputs; the clock starts when the last one is ready.
  void begin_repeat(std::int32_t repeat, std::int64_t now_ns);
  /// Whether the ranks of this process are ready and start() was not called yet. Only when gated.
  bool ready() const { return gated_ && !started_ && loading_ == 0; }
  void start(std::int64_t now_ns);
  bool finished() const { return unfinished_ranks_ == 0; }
  bool any_running() const { return running_ > 0; }
  /// Takes an item. Copies come first, because other ranks wait for them. Otherwise the item is of the rank
  /// that has the fewest workers and, among those, has been served least. False when there is nothing to take
  /// now.
  bool claim(Claim& claim);
  /// `begin_ns` and `end_ns` are when the item ran. True when new items may be there to take.
  bool complete(const Claim& claim, std::int64_t begin_ns, std::int64_t end_ns);
  /// Takes a remote link whose local end was posted; the caller sends or receives its chunks.
  bool take_remote(LinkNumber& number);
  /// Whether other processes can still move this one: a remote link is under way, or start() is due.
  bool waits_for_others() const { return remote_under_way_ > 0 || ready(); }
  /// The local end of a remote link has ended. True when new items may be there to take.
  bool complete_remote(const LinkNumber& number, std::int64_t now_ns);

  /// When the clock of this repeat started.
  std::int64_t start_ns() const { return start_ns_; }
  /// From the clock's start to the last instruction's end, and the payload copied, in this repeat.
  Duration wall() const { return {last_end_ns_ - start_ns_}; }
  Bytes sent() const { return sent_; }
  std::vector<TimelineEvent> take_events() { return std::move(events_); }

  /// One or two instructions that are not finished, and why, in words. Those that wait for another process
  /// come first. Call when nothing can run.
  struct Stuck {
    std::int32_t rank = -1;
    std::string sentence;
    bool remote = false;  ///< waits for a rank of another process
  };
  Stuck describe_stuck() const;

 private:
  enum class Phase : std::uint8_t { waiting, posted, ended };
  struct InstructionState {
    std::int32_t waiting = 0;
    std::int32_t links_left = 0;
    std::int64_t items_left = 0;
    Phase phase = Phase::waiting;
  };
  struct ActiveWork {
    std::int32_t instruction = 0;
    const PreparedOperation* operation = nullptr;
    std::int64_t next = 0, count = 0;
  };
  struct RankState {
    std::int32_t wave = 0, layer = 0;
    Pass pass = Pass::forward;
    std::vector<InstructionState> instructions;
    std::vector<char> poisoned;  ///< [buffer] in this pass
    std::vector<ActiveWork> active;
    std::int64_t unfinished = 0;
    std::int64_t items_left = 0;  ///< of the load or store in progress
    std::int32_t running = 0;
    std::int64_t served_ns = 0;
    std::int64_t first_event = -1;
    bool done = false;
  };
  struct LinkState {
    std::int32_t arrived = 0;  ///< ends that were posted; of a remote link the local one
    std::int64_t next = 0, left = 0;
  };
  /// What has happened and still has consequences.
  struct Happening {
    enum class Kind : std::uint8_t { loaded, stored, posted, ended };
    Kind kind = Kind::posted;
    std::int32_t rank = 0, instruction = 0;
  };

  const PreparedPass& pass_of(const RankState& state) const;
  const RankProgram& program_of(std::int32_t rank) const;
  PreparedInstruction& prepared(std::int32_t rank, std::int32_t instruction);
  LinkState& link_state(const LinkNumber& number);
  TimelineEvent* event(std::int32_t rank, std::int32_t instruction);
  std::int64_t first_event(std::int32_t rank) const;
  std::int64_t instruction_count(std::size_t wave) const;
  Stuck describe_stuck(std::int32_t rank) const;

  void settle(std::int64_t now_ns);
  void begin_load(std::int32_t rank);
  void loaded(std::int32_t rank, std::int64_t now_ns);
  void start_ranks(std::int64_t now_ns);
  void begin_pass(std::int32_t rank);
  bool next_pass(RankState& state) const;
  void end_pass(std::int32_t rank);
  void begin_store(std::int32_t rank);
  void stored(std::int32_t rank);
  void post(std::int32_t rank, std::int32_t instruction, std::int64_t now_ns);
  void post_exchange(std::int32_t rank, std::int32_t instruction, std::int64_t now_ns);
  void end_link(const LinkNumber& number);
  void end_instruction(std::int32_t rank, std::int32_t instruction, std::int64_t now_ns);
  void activate(std::int32_t rank, std::int32_t instruction, const PreparedOperation& operation);
  void poison(std::int32_t rank, const Buffer& buffer);

  PreparedRun& run_;
  const Execution& execution_;
  const CpuOptions& options_;
  const RankBlock local_;
  const bool gated_;
  std::int32_t repeat_ = 0;
  std::vector<RankState> ranks_;
  std::vector<std::array<std::vector<LinkState>, 2>> links_;  ///< [wave][pass]
  Ring<LinkNumber> copies_;
  Ring<LinkNumber> remote_posts_;
  Ring<Happening> happenings_;
  std::int64_t events_per_repeat_ = 0;
  std::vector<std::int64_t> first_event_of_wave_;
  std::vector<TimelineEvent> events_;
  std::int64_t now_ns_ = 0, start_ns_ = 0, last_end_ns_ = 0;
  std::int32_t loading_ = 0, unfinished_ranks_ = 0, running_ = 0;
  std::int32_t remote_under_way_ = 0;
  bool started_ = false, more_work_ = false;
  Bytes sent_;
};

}  // namespace strata
