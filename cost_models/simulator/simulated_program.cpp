// SPDX-License-Identifier: Apache-2.0
#include "cost_models/simulator/simulated_program.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "core/base/check.hpp"
#include "core/program/messages.hpp"
#include "cost_models/cost/transfer_cost.hpp"

namespace strata {
namespace {

void add_time(std::int64_t& sum, std::int64_t ns) {
  if (ns > kLongestNs - sum) throw_too_long();
  sum += ns;
}

std::size_t at(std::int32_t i) { return static_cast<std::size_t>(i); }

class WaveCompiler {
 public:
  WaveCompiler(const std::vector<RankProgram>& programs, const Topology& topology, const RouteTable& routes,
               const ModelShape& model, const CostProfile& profile, const CompileOptions& options,
               ProgramTotals& totals)
      : programs_(programs),
        topology_(topology),
        routes_(routes),
        model_(model),
        profile_(profile),
        options_(options),
        totals_(totals) {}

  SimulatedWave compile() {
    SimulatedWave wave;
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      std::vector<SimulatedPass>& passes = pass == Pass::forward ? wave.forward : wave.backward;
      compile_passes(pass, false, passes);
      for (SimulatedPass& compiled : passes) {
        compiled.first_event = wave.instructions;
        wave.instructions += static_cast<std::int64_t>(compiled.instructions.size());
      }
    }
    if (options_.recompute != Recompute::none) compile_passes(Pass::forward, true, wave.recomputed);
    for (const std::vector<SimulatedPass>* passes : {&wave.forward, &wave.recomputed, &wave.backward}) {
      for (const SimulatedPass& compiled : *passes) {
        wave.events += static_cast<std::int64_t>(compiled.instructions.size() + compiled.peers.size());
      }
    }
    return wave;
  }

 private:
  /// `again`: the part of the pass that backward repeats.
  void compile_passes(Pass pass, bool again, std::vector<SimulatedPass>& passes) {
    passes.resize(programs_.size());
    for (std::size_t rank = 0; rank < programs_.size(); ++rank) {
      const std::vector<Instruction>& all = programs_[rank].instructions(pass);
      const bool some = again && options_.recompute == Recompute::selective;
      const std::vector<Instruction> linear = some ? linear_work(all) : std::vector<Instruction>{};
      compile_pass(static_cast<std::int32_t>(rank), some ? linear : all, pass, again, passes[rank]);
    }
    join_partners(passes, pass);
  }

  /// The linear layers alone, one after the other.
  static std::vector<Instruction> linear_work(const std::vector<Instruction>& instructions) {
    std::vector<Instruction> linear;
    for (const Instruction& instruction : instructions) {
      const auto* work = std::get_if<TokenWork>(&instruction.op);
      if (work == nullptr || work->kind != TokenWorkKind::linear) continue;
      linear.push_back({*work, instruction.stream, {}});
    }
    return linear;
  }

  void compile_pass(std::int32_t rank, const std::vector<Instruction>& instructions, Pass pass, bool again,
                    SimulatedPass& out) {
    const RankProgram& program = programs_[at(rank)];
    out.instructions.resize(instructions.size());
    if (options_.loads) out.loads.resize(instructions.size());
    connect(instructions, rank, out);
    const std::int32_t device = topology_.rank_device[at(rank)];
    const Device& machine = topology_.devices[at(device)];
    const bool first_forward = pass == Pass::forward && !again;
    if (first_forward) totals_.kv_bytes += sent_kv_bytes(program);
    for (std::size_t i = 0; i < instructions.size(); ++i) {
      SimulatedInstruction& made = out.instructions[i];
      const Operation& op = instructions[i].op;
      if (const Exchange* exchange = exchange_of(op)) {
        made.exchange = static_cast<std::int32_t>(out.exchanges.size());
        add_exchange(program, rank, static_cast<std::int32_t>(i), *exchange, out);
        if (options_.loads) out.loads[i].bytes = sent_bytes(program, op).count;
        continue;
      }
      const InstructionCost cost =
          instruction_cost(program, op, pass, model_, profile_, options_.include_linear);
      if (options_.loads) out.loads[i].flops = operation_flops(program, op).count;
      if (first_forward) totals_.rank_pairs[at(rank)] += attention_pairs(op);
      set_work(cost, machine, made);
      add_time(totals_.device_work_ns[at(device)], made.work_ns);
      add_time(totals_.work_ns, cost.work_ns);
      totals_.extrapolated_ns += cost.extrapolated_ns;
    }
  }

  static void set_work(const InstructionCost& cost, const Device& machine, SimulatedInstruction& made) {
    made.work_ns = cost.work_ns;
    if (cost.scales_with_speed && machine.relative_speed != 1.0) {
      made.work_ns = whole_ns(static_cast<double>(cost.work_ns) / machine.relative_speed);
    }
    made.cap = static_cast<double>(std::min<std::int64_t>(machine.cores, cost.parallelism));
    if (cost.memory_bytes > 0 && made.work_ns > 0) {
      made.memory_weight = static_cast<double>(cost.memory_bytes) / static_cast<double>(made.work_ns);
    }
  }

  /// Waits of an instruction: the previous one of its stream and its wait_for, each counted once.
  void connect(const std::vector<Instruction>& instructions, std::int32_t rank, SimulatedPass& out) {
    std::vector<std::int32_t>& last = last_of_stream_;
    last.clear();
    edges_.clear();
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(instructions.size()); ++i) {
      const Instruction& instruction = instructions[at(i)];
      STRATA_CHECK(instruction.stream >= 0, "rank {} instruction {} has stream {}", rank, i,
                   instruction.stream);
      if (at(instruction.stream) >= last.size()) last.resize(at(instruction.stream) + 1, -1);
      const std::int32_t before = std::exchange(last[at(instruction.stream)], i);
      bool counted = before < 0;
      for (const std::int32_t wait : instruction.wait_for) {
        STRATA_CHECK(wait >= 0 && wait < i, "rank {} instruction {} waits for {}", rank, i, wait);
        edges_.push_back({wait, i});
        counted = counted || wait == before;
      }
      if (!counted) edges_.push_back({before, i});
    }
    for (const auto& [from, to] : edges_) {
      ++out.instructions[at(from)].successor_end;
      ++out.instructions[at(to)].waits;
    }
    std::int32_t offset = 0;
    for (std::size_t i = 0; i < out.instructions.size(); ++i) {
      SimulatedInstruction& made = out.instructions[i];
      const std::int32_t count = made.successor_end;
      made.successor_begin = made.successor_end = offset;  // the end advances while the list is filled
      offset += count;
      if (made.waits == 0) out.ready.push_back(static_cast<std::int32_t>(i));
    }
    out.successors.resize(edges_.size());
    for (const auto& [from, to] : edges_) out.successors[at(out.instructions[at(from)].successor_end++)] = to;
  }

  void add_exchange(const RankProgram& program, std::int32_t rank, std::int32_t instruction,
                    const Exchange& exchange, SimulatedPass& out) {
    SimulatedExchange made;
    made.instruction = instruction;
    made.step = exchange.step;
    made.lane = exchange.lane;
    made.issue_ns = issue_time(exchange, profile_).ns;
    made.peer_begin = static_cast<std::int32_t>(out.peers.size());
    for (const PeerTraffic& traffic : peer_traffic(program, exchange)) {
      STRATA_CHECK(traffic.peer >= 0 && at(traffic.peer) < programs_.size() && traffic.peer != rank,
                   "rank {} instruction {} names rank {} of {}", rank, instruction, traffic.peer,
                   programs_.size());
      out.peers.push_back({traffic.peer, -1, traffic.sent_bytes, traffic.received_bytes});
      count_bytes(rank, traffic);
    }
    made.peer_end = static_cast<std::int32_t>(out.peers.size());
    out.exchanges.push_back(made);
  }

  void count_bytes(std::int32_t rank, const PeerTraffic& traffic) {
    if (traffic.sent_bytes == 0) return;
    const LinkLevel level = routes_.between(rank, traffic.peer).level;
    totals_.bytes_by_level.at(level) += {traffic.sent_bytes};
    if (level != LinkLevel::device) return;
    const std::int64_t work = device_transfer_cost(traffic.sent_bytes, profile_).work_ns;
    add_time(totals_.device_work_ns[at(topology_.rank_device[at(rank)])], work);
    add_time(totals_.work_ns, work);
  }

  static std::tuple<std::int32_t, std::int32_t> key(const SimulatedExchange& exchange) {
    return {exchange.step, exchange.lane};
  }

  /// `other`'s Exchange of the same step and lane, which in regular programs has the same number; or -1.
  static std::int32_t find_partner(const SimulatedPass& other, const std::vector<std::int32_t>& by_key,
                                   const SimulatedExchange& exchange, std::size_t guess) {
    if (guess < other.exchanges.size() && key(other.exchanges[guess]) == key(exchange)) {
      return static_cast<std::int32_t>(guess);
    }
    const auto found = std::lower_bound(
        by_key.begin(), by_key.end(), key(exchange),
        [&](std::int32_t index, const auto& wanted) { return key(other.exchanges[at(index)]) < wanted; });
    return found == by_key.end() ? -1 : *found;
  }

  /// The partner of an Exchange is the peer's one of the same step and lane.
  static void join_partners(std::vector<SimulatedPass>& passes, Pass pass) {
    std::vector<std::vector<std::int32_t>> by_key(passes.size());
    for (std::size_t rank = 0; rank < passes.size(); ++rank) {
      const std::vector<SimulatedExchange>& exchanges = passes[rank].exchanges;
      std::vector<std::int32_t>& order = by_key[rank];
      for (std::size_t i = 0; i < exchanges.size(); ++i) order.push_back(static_cast<std::int32_t>(i));
      const auto less = [&](std::int32_t a, std::int32_t b) {
        return key(exchanges[at(a)]) < key(exchanges[at(b)]);
      };
      if (!std::is_sorted(order.begin(), order.end(), less)) std::sort(order.begin(), order.end(), less);
      for (std::size_t i = 1; i < order.size(); ++i) {
        STRATA_CHECK(less(order[i - 1], order[i]), "rank {} has two {} exchanges of step {} lane {}", rank,
                     to_string(pass), exchanges[at(order[i])].step, exchanges[at(order[i])].lane);
      }
    }
    for (std::size_t rank = 0; rank < passes.size(); ++rank) {
      for (std::size_t e = 0; e < passes[rank].exchanges.size(); ++e) {
        const SimulatedExchange& exchange = passes[rank].exchanges[e];
        for (std::int32_t p = exchange.peer_begin; p < exchange.peer_end; ++p) {
          SimulatedPeer& peer = passes[rank].peers[at(p)];
          const SimulatedPass& other = passes[at(peer.rank)];
          peer.exchange = find_partner(other, by_key[at(peer.rank)], exchange, e);
          check_partner(static_cast<std::int32_t>(rank), exchange, peer, other, pass);
        }
      }
    }
  }

  static void check_partner(std::int32_t rank, const SimulatedExchange& exchange, const SimulatedPeer& peer,
                            const SimulatedPass& other, Pass pass) {
    bool matches = false;
    if (peer.exchange >= 0) {
      const SimulatedExchange& partner = other.exchanges[at(peer.exchange)];
      const auto begin = other.peers.begin() + partner.peer_begin,
                 end = other.peers.begin() + partner.peer_end;
      const auto back = std::lower_bound(begin, end, rank,
                                         [](const SimulatedPeer& a, std::int32_t r) { return a.rank < r; });
      matches = partner.step == exchange.step && partner.lane == exchange.lane && back != end &&
                back->rank == rank && back->sent_bytes == peer.received_bytes &&
                back->received_bytes == peer.sent_bytes;
    }
    STRATA_CHECK(matches, "rank {} {} instruction {} (step {}, lane {}) has no matching exchange on rank {}",
                 rank, to_string(pass), exchange.instruction, exchange.step, exchange.lane, peer.rank);
  }

  const std::vector<RankProgram>& programs_;
  const Topology& topology_;
  const RouteTable& routes_;
  const ModelShape& model_;
  const CostProfile& profile_;
  const CompileOptions options_;
  ProgramTotals& totals_;
  std::vector<std::int32_t> last_of_stream_;
  std::vector<std::pair<std::int32_t, std::int32_t>> edges_;
};

}  // namespace

void throw_too_long() {
  throw InputError("the predicted step", "more than 73 years",
                   "a shorter one: fewer tokens or layers, or a faster profile and topology");
}

SimulatedWave compile_wave(const std::vector<RankProgram>& programs, const Topology& topology,
                           const RouteTable& routes, const ModelShape& model, const CostProfile& profile,
                           const CompileOptions& options, ProgramTotals& totals) {
  return WaveCompiler(programs, topology, routes, model, profile, options, totals).compile();
}

}  // namespace strata
