// SPDX-License-Identifier: Apache-2.0
#include "executor/device/device_pass.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "core/base/check.hpp"
#include "core/program/program_walk.hpp"
#include "executor/device_error.hpp"

namespace strata {

namespace {

using Kind = DeviceCommand::Kind;

/// The stream that writes a buffer in a pass.
constexpr std::int32_t kNobody = -1;
constexpr std::int32_t kSeveral = -2;

class PassCompiler {
 public:
  PassCompiler(const std::vector<RankProgram>& programs, Pass pass, const ModelShape& model,
               std::span<std::byte* const> arenas, RankBlock local, const DeviceStreams& streams,
               const DevicePassOptions& options, DeviceLists& lists)
      : programs_(programs),
        which_(pass),
        model_(model),
        arenas_(arenas),
        local_(local),
        streams_(streams),
        options_(options),
        lists_(lists),
        links_(link_exchanges(programs, pass, arenas, local)),
        done_(links_.links.size(), -1),
        states_(programs.size()) {}

  DevicePass compile() {
    result_.ranks.resize(programs_.size());
    for (std::int32_t rank = local_.begin; rank < local_.end; ++rank) begin_rank(rank);
    if (local_.count() == std::ssize(programs_)) {
      walk(LaneOrder::concurrent, [&](std::int32_t rank, std::int32_t index) { issue(rank, index); });
    } else {
      // Every process issues in its own program's order: that they meet all the same is what this walk shows.
      STRATA_CHECK(local_.count() == 1, "{} of {} ranks on one device", local_.count(), programs_.size());
      walk(LaneOrder::serialised, [](std::int32_t, std::int32_t) {});
      const auto count = static_cast<std::int32_t>(instructions(local_.begin).size());
      for (std::int32_t index = 0; index < count; ++index) issue(local_.begin, index);
    }
    for (std::int32_t rank = local_.begin; rank < local_.end; ++rank) end_rank(rank);
    return std::move(result_);
  }

 private:
  struct RankState {
    std::vector<char> posted;
    std::vector<char> awaited;                      ///< [instruction] by another stream
    std::vector<std::int32_t> last;                 ///< [stream] last instruction; -1: none
    std::vector<std::int32_t> writer;               ///< [buffer] stream, kNobody or kSeveral
    std::vector<char> poisoned;                     ///< [buffer]
    std::vector<std::vector<std::int32_t>> writes;  ///< [instruction] buffers; only when poisoning
  };

  const std::vector<Instruction>& instructions(std::int32_t rank) const {
    return programs_[static_cast<std::size_t>(rank)].instructions(which_);
  }
  const Instruction& instruction_of(std::int32_t rank, std::int32_t index) const {
    return instructions(rank)[static_cast<std::size_t>(index)];
  }
  DeviceInstruction& compiled(std::int32_t rank, std::int32_t index) {
    return result_.ranks[static_cast<std::size_t>(rank)][static_cast<std::size_t>(index)];
  }
  std::int32_t stream_of(std::int32_t rank, std::int32_t index) const {
    return streams_.of(static_cast<std::size_t>(rank), instruction_of(rank, index).stream);
  }

  void walk(LaneOrder lanes, const std::function<void(std::int32_t, std::int32_t)>& visit) const {
    const std::vector<StuckInstruction> stuck = walk_programs(programs_, which_, lanes, visit);
    if (!stuck.empty()) fail(stuck.front());
  }

  [[noreturn]] void fail(const StuckInstruction& stuck) const {
    throw DeviceError(stuck.rank, fmt::format("{} instruction {} ({}) can never end: no instruction can run "
                                              "any more",
                                              to_string(which_), stuck.instruction,
                                              kind_name(instruction_of(stuck.rank, stuck.instruction).op)));
  }

  std::int32_t new_event() { return result_.events++; }

  void add(Kind kind, std::int32_t stream, std::int32_t index, std::int32_t rank, std::int32_t instruction) {
    result_.commands.push_back({kind, stream, index, rank, instruction});
    const auto at = static_cast<std::size_t>(stream);
    if (last_record_.size() <= at) last_record_.resize(at + 1, -1);
    last_record_[at] = kind == Kind::record ? index : -1;
  }

  /// An event that happens when the stream gets here; the last one recorded when nothing came after it.
  std::int32_t mark(std::int32_t stream, std::int32_t rank, std::int32_t instruction) {
    const auto at = static_cast<std::size_t>(stream);
    if (at < last_record_.size() && last_record_[at] >= 0) return last_record_[at];
    const std::int32_t event = new_event();
    add(Kind::record, stream, event, rank, instruction);
    return event;
  }

  void poison(std::int32_t stream, std::int32_t rank, std::int32_t buffer, std::int32_t instruction) {
    const auto r = static_cast<std::size_t>(rank);
    const Buffer& what = programs_[r].buffers[static_cast<std::size_t>(buffer)];
    if (what.bytes().count == 0) return;
    add(Kind::poison, stream, static_cast<std::int32_t>(result_.pieces.size()), rank, instruction);
    result_.pieces.push_back({arenas_[r] + what.arena_offset, what.bytes().count});
  }

  /// Makes every scratch buffer NaN, then lets the lanes begin.
  void poison_scratch(std::size_t r) {
    const RankProgram& program = programs_[r];
    const std::int32_t compute = streams_.of(r, kComputeStream);
    for (std::size_t b = 0; b < program.buffers.size(); ++b) {
      if (!program.buffers[b].persistent) poison(compute, program.rank, static_cast<std::int32_t>(b), -1);
    }
    if (streams_.serial) return;
    const std::int32_t event = mark(compute, program.rank, -1);
    for (std::int32_t lane = 0; lane < streams_.lanes[r]; ++lane) {
      add(Kind::wait, streams_.of(r, lane_stream(lane)), event, program.rank, -1);
    }
  }

  void note_writes(std::int32_t rank) {
    const auto r = static_cast<std::size_t>(rank);
    RankState& state = states_[r];
    const RankProgram& program = programs_[r];
    state.writer.assign(program.buffers.size(), kNobody);
    state.poisoned.assign(program.buffers.size(), 0);
    const std::vector<Instruction>& list = instructions(rank);
    state.writes.resize(list.size());
    for (std::size_t i = 0; i < list.size(); ++i) {
      std::vector<Access> accesses;
      append_accesses(program, list[i].op, accesses);
      for (const Access& access : accesses) {
        const auto b = static_cast<std::size_t>(access.buffer);
        if (!access.write || program.buffers[b].persistent) continue;
        const std::int32_t stream = list[i].stream;
        state.writer[b] = state.writer[b] == kNobody || state.writer[b] == stream ? stream : kSeveral;
        state.writes[i].push_back(access.buffer);
      }
    }
  }

  void begin_rank(std::int32_t rank) {
    const auto r = static_cast<std::size_t>(rank);
    RankState& state = states_[r];
    const auto& list = instructions(rank);
    result_.ranks[r].resize(list.size());
    state.posted.assign(list.size(), 0);
    state.awaited.assign(list.size(), 0);
    state.last.assign(static_cast<std::size_t>(streams_.lanes[r]) + 1, -1);
    for (std::size_t i = 0; i < list.size(); ++i) {
      for (const std::int32_t before : list[i].wait_for) {
        const auto b = static_cast<std::size_t>(before);
        if (list[b].stream != list[i].stream) state.awaited[b] = 1;
      }
      state.last[static_cast<std::size_t>(list[i].stream)] = static_cast<std::int32_t>(i);
    }
    // The end of the rank's pass waits for its lanes.
    for (std::size_t lane = 1; lane < state.last.size(); ++lane) {
      if (state.last[lane] >= 0) state.awaited[static_cast<std::size_t>(state.last[lane])] = 1;
    }
    if (!options_.poison) return;
    note_writes(rank);
    poison_scratch(r);
  }

  /// What has to be over before the instruction begins, and the mark that it is.
  void post(std::int32_t rank, std::int32_t index) {
    RankState& state = states_[static_cast<std::size_t>(rank)];
    const auto i = static_cast<std::size_t>(index);
    if (state.posted[i] != 0) return;
    state.posted[i] = 1;
    const Instruction& instruction = instruction_of(rank, index);
    const std::int32_t stream = stream_of(rank, index);
    for (const std::int32_t before : instruction.wait_for) {
      if (stream_of(rank, before) == stream) continue;
      add(Kind::wait, stream, compiled(rank, before).end, rank, index);
    }
    if (options_.poison) {
      for (const std::int32_t buffer : state.writes[i]) {
        const auto b = static_cast<std::size_t>(buffer);
        if (state.writer[b] != kSeveral && state.poisoned[b] == 0) poison(stream, rank, buffer, index);
        state.poisoned[b] = 1;
      }
    }
    const bool meets_others = exchange_of(instruction.op) != nullptr && !streams_.serial;
    if (options_.stamps || meets_others) compiled(rank, index).begin = mark(stream, rank, index);
  }

  void issue(std::int32_t rank, std::int32_t index) {
    post(rank, index);
    const auto r = static_cast<std::size_t>(rank);
    const Instruction& instruction = instruction_of(rank, index);
    const std::int32_t stream = stream_of(rank, index);
    for (DeviceLaunch& launch :
         compile_operation(programs_[r], instruction.op, model_, options_.tiles, arenas_[r], lists_)) {
      add_launch(std::move(launch), stream, rank, index);
    }
    compiled(rank, index).flops = operation_flops(programs_[r], instruction.op).count;
    if (exchange_of(instruction.op) != nullptr) exchange(rank, index);
    const bool awaited = states_[r].awaited[static_cast<std::size_t>(index)] != 0 && !streams_.serial;
    if (options_.stamps) {
      // Its own even when nothing ran: a begin that another instruction's end stands for is not its end.
      const std::int32_t event = new_event();
      add(Kind::record, stream, event, rank, index);
      compiled(rank, index).end = event;
    } else if (awaited) {
      compiled(rank, index).end = mark(stream, rank, index);
    }
  }

  void add_launch(DeviceLaunch launch, std::int32_t stream, std::int32_t rank, std::int32_t index) {
    add(Kind::launch, stream, static_cast<std::int32_t>(result_.launches.size()), rank, index);
    result_.launches.push_back(std::move(launch));
  }

  /// All copies from and to the exchange, whoever is issued first making them for both ends; and what goes to
  /// other processes.
  void exchange(std::int32_t rank, std::int32_t index) {
    const auto& links =
        links_.of_instruction[static_cast<std::size_t>(rank)][static_cast<std::size_t>(index)];
    const std::int32_t stream = stream_of(rank, index);
    DeviceInstruction& own = compiled(rank, index);
    std::vector<const ExchangeLink*> remote;
    for (const std::int32_t number : links) {
      const ExchangeLink& link = links_.links[static_cast<std::size_t>(number)];
      const bool sends = link.source == rank;
      if (sends && link.target != rank) own.bytes += link.bytes;
      if (link.remote) {
        remote.push_back(&link);
        continue;
      }
      if (!meets(link)) fail({rank, index});
      make_copies(static_cast<std::size_t>(number), link);
      own.partners.push_back(sends ? compiled(link.target, link.target_instruction).begin
                                   : compiled(link.source, link.source_instruction).begin);
    }
    if (!streams_.serial) {
      for (const std::int32_t number : links) {
        const ExchangeLink& link = links_.links[static_cast<std::size_t>(number)];
        if (link.remote || link.target == rank) continue;
        add(Kind::wait, stream, done_[static_cast<std::size_t>(number)], rank, index);
      }
    }
    send_and_receive(rank, index, std::move(remote));
  }

  /// Peers in turn from the next one on, so that not all ranks begin with the same one; a peer's parts in the
  /// order that it has them in as well.
  void send_and_receive(std::int32_t rank, std::int32_t index, std::vector<const ExchangeLink*> links) {
    if (links.empty()) return;
    const auto count = static_cast<std::int32_t>(programs_.size());
    const auto turn = [&](const ExchangeLink* link) {
      const std::int32_t peer = link->source == rank ? link->target : link->source;
      return std::pair((peer - rank + count) % count, link->source != rank);
    };
    std::stable_sort(links.begin(), links.end(),
                     [&](const ExchangeLink* a, const ExchangeLink* b) { return turn(a) < turn(b); });
    DeviceExchange all;
    all.lane = links.front()->lane;
    for (const ExchangeLink* link : links) {
      const bool sends = link->source == rank;
      for (std::int64_t c = link->chunk_begin; c < link->chunk_end; ++c) {
        const CopyChunk& chunk = links_.chunks[static_cast<std::size_t>(c)];
        if (chunk.bytes == 0) continue;  // for both ends alike
        // A network reads what it sends; its parts have one type for both directions.
        std::byte* const data = sends ? const_cast<std::byte*>(chunk.source) : chunk.target;
        all.parts.push_back({data, chunk.bytes, sends ? link->target : link->source, sends});
      }
    }
    if (all.parts.empty()) return;
    add(Kind::exchange, stream_of(rank, index), static_cast<std::int32_t>(result_.exchanges.size()), rank,
        index);
    result_.exchanges.push_back(std::move(all));
  }

  /// Rendezvous: both ends belong to exchanges of one step, or neither ever ends.
  bool meets(const ExchangeLink& link) const {
    if (link.source_instruction < 0 || link.target_instruction < 0) return false;
    return exchange_of(instruction_of(link.source, link.source_instruction).op)->step ==
           exchange_of(instruction_of(link.target, link.target_instruction).op)->step;
  }

  void make_copies(std::size_t number, const ExchangeLink& link) {
    if (done_[number] >= 0) return;
    post(link.source, link.source_instruction);
    post(link.target, link.target_instruction);
    const std::int32_t stream = stream_of(link.target, link.target_instruction);
    if (stream != stream_of(link.source, link.source_instruction)) {
      const std::int32_t posted = compiled(link.source, link.source_instruction).begin;
      add(Kind::wait, stream, posted, link.target, link.target_instruction);
    }
    const std::span chunks(links_.chunks.data() + link.chunk_begin,
                           static_cast<std::size_t>(link.chunk_end - link.chunk_begin));
    for (DeviceLaunch& launch : compile_link(chunks, lists_)) {
      add_launch(std::move(launch), stream, link.target, link.target_instruction);
    }
    if (streams_.serial) {
      done_[number] = 0;
    } else {
      done_[number] = mark(stream, link.target, link.target_instruction);
    }
  }

  void end_rank(std::int32_t rank) {
    const auto r = static_cast<std::size_t>(rank);
    const RankState& state = states_[r];
    const std::int32_t compute = streams_.of(r, kComputeStream);
    for (std::size_t stream = 1; stream < state.last.size() && !streams_.serial; ++stream) {
      if (state.last[stream] < 0) continue;
      add(Kind::wait, compute, compiled(rank, state.last[stream]).end, rank, -1);
    }
    const std::int32_t event = mark(compute, rank, -1);
    result_.ended.push_back(event);
    for (std::int32_t lane = 0; lane < streams_.lanes[r] && !streams_.serial; ++lane) {
      add(Kind::wait, streams_.of(r, lane_stream(lane)), event, rank, -1);
    }
  }

  const std::vector<RankProgram>& programs_;
  Pass which_;
  const ModelShape& model_;
  std::span<std::byte* const> arenas_;
  RankBlock local_;
  const DeviceStreams& streams_;
  const DevicePassOptions& options_;
  DeviceLists& lists_;
  ExchangeLinks links_;
  std::vector<std::int32_t> done_;  ///< [link] event; -1: not yet issued
  std::vector<RankState> states_;
  std::vector<std::int32_t> last_record_;  ///< [stream] the event, when nothing was issued since
  DevicePass result_;
};

}  // namespace

DevicePass compile_pass(const std::vector<RankProgram>& programs, Pass pass, const ModelShape& model,
                        std::span<std::byte* const> arenas, RankBlock local, const DeviceStreams& streams,
                        const DevicePassOptions& options, DeviceLists& lists) {
  return PassCompiler(programs, pass, model, arenas, local, streams, options, lists).compile();
}

}  // namespace strata
