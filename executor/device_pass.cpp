// SPDX-License-Identifier: Apache-2.0
#include "executor/device_pass.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/check.hpp"
#include "core/program_walk.hpp"

namespace strata {

namespace {

using Kind = DeviceCommand::Kind;

/// The stream that writes a buffer in a pass.
constexpr std::int32_t kNobody = -1;
constexpr std::int32_t kSeveral = -2;

class PassCompiler {
 public:
  PassCompiler(const std::vector<RankProgram>& programs, Pass pass, const ModelShape& model,
               std::span<std::byte* const> arenas, const DeviceStreams& streams,
               const DevicePassOptions& options, DeviceLists& lists)
      : programs_(programs),
        which_(pass),
        model_(model),
        arenas_(arenas),
        streams_(streams),
        options_(options),
        lists_(lists),
        links_(link_exchanges(programs, pass, arenas, {0, static_cast<std::int32_t>(programs.size())})),
        done_(links_.links.size(), -1),
        states_(programs.size()) {}

  DevicePass compile() {
    result_.ranks.resize(programs_.size());
    for (std::size_t rank = 0; rank < programs_.size(); ++rank) begin_rank(rank);
    const auto visit = [&](std::int32_t rank, std::int32_t instruction) { issue(rank, instruction); };
    const std::vector<StuckInstruction> stuck =
        walk_programs(programs_, which_, LaneOrder::concurrent, visit);
    if (!stuck.empty()) fail(stuck.front());
    for (std::size_t rank = 0; rank < programs_.size(); ++rank) end_rank(rank);
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

  const std::vector<Instruction>& instructions(std::size_t rank) const {
    return programs_[rank].instructions(which_);
  }
  const Instruction& instruction_of(std::int32_t rank, std::int32_t index) const {
    return instructions(static_cast<std::size_t>(rank))[static_cast<std::size_t>(index)];
  }
  DeviceInstruction& compiled(std::int32_t rank, std::int32_t index) {
    return result_.ranks[static_cast<std::size_t>(rank)][static_cast<std::size_t>(index)];
  }
  std::int32_t stream_of(std::int32_t rank, std::int32_t index) const {
    return streams_.of(static_cast<std::size_t>(rank), instruction_of(rank, index).stream);
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

  void note_writes(std::size_t r) {
    RankState& state = states_[r];
    const RankProgram& program = programs_[r];
    state.writer.assign(program.buffers.size(), kNobody);
    state.poisoned.assign(program.buffers.size(), 0);
    state.writes.resize(instructions(r).size());
    for (std::size_t i = 0; i < instructions(r).size(); ++i) {
      std::vector<Access> accesses;
      append_accesses(program, instructions(r)[i].op, accesses);
      for (const Access& access : accesses) {
        const auto b = static_cast<std::size_t>(access.buffer);
        if (!access.write || program.buffers[b].persistent) continue;
        const std::int32_t stream = instructions(r)[i].stream;
        state.writer[b] = state.writer[b] == kNobody || state.writer[b] == stream ? stream : kSeveral;
        state.writes[i].push_back(access.buffer);
      }
    }
  }

  void begin_rank(std::size_t r) {
    RankState& state = states_[r];
    const auto& list = instructions(r);
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
    note_writes(r);
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

  /// All copies from and to the exchange; whoever is issued first makes them for both ends.
  void exchange(std::int32_t rank, std::int32_t index) {
    const auto& links =
        links_.of_instruction[static_cast<std::size_t>(rank)][static_cast<std::size_t>(index)];
    DeviceInstruction& own = compiled(rank, index);
    for (const std::int32_t number : links) {
      const ExchangeLink& link = links_.links[static_cast<std::size_t>(number)];
      if (!meets(link)) fail({rank, index});
      make_copies(static_cast<std::size_t>(number), link);
      const bool sends = link.source == rank;
      own.partners.push_back(sends ? compiled(link.target, link.target_instruction).begin
                                   : compiled(link.source, link.source_instruction).begin);
      if (sends && link.target != rank) own.bytes += link.bytes;
    }
    if (streams_.serial) return;
    const std::int32_t stream = stream_of(rank, index);
    for (const std::int32_t number : links) {
      const ExchangeLink& link = links_.links[static_cast<std::size_t>(number)];
      if (link.target != rank) add(Kind::wait, stream, done_[static_cast<std::size_t>(number)], rank, index);
    }
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

  void end_rank(std::size_t r) {
    const std::int32_t rank = programs_[r].rank;
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
                        std::span<std::byte* const> arenas, const DeviceStreams& streams,
                        const DevicePassOptions& options, DeviceLists& lists) {
  return PassCompiler(programs, pass, model, arenas, streams, options, lists).compile();
}

}  // namespace strata
