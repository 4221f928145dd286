// SPDX-License-Identifier: Apache-2.0
#include "executor/exchange_links.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include "core/base/check.hpp"
#include "executor/prepared_operation.hpp"

namespace strata {

namespace {

/// The parts of one exchange that go to, or come from, one peer.
struct End {
  std::int32_t instruction = 0;
  std::vector<ExchangePart> parts;
};
/// (source, target, lane) -> ends in program order.
using Ends = std::map<std::tuple<std::int32_t, std::int32_t, std::int32_t>, std::vector<End>>;

/// Parts between two ranks outside `local` are left out.
void collect(const RankProgram& program, Pass pass, RankBlock local, Ends& senders, Ends& receivers) {
  const bool all_peers = local.contains(program.rank);
  const auto& instructions = program.instructions(pass);
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    const Exchange* exchange = exchange_of(instructions[i].op);
    if (exchange == nullptr) continue;
    const auto number = static_cast<std::int32_t>(i);
    const auto add = [&](Ends& all, std::int32_t source, std::int32_t target, const ExchangePart& part) {
      if (!all_peers && !local.contains(part.peer)) return;
      std::vector<End>& ends = all[{source, target, exchange->lane}];
      if (ends.empty() || ends.back().instruction != number) ends.push_back({number, {}});
      ends.back().parts.push_back(part);
    };
    for (const ExchangePart& part : exchange->sends) {
      add(senders, program.rank, part.peer, part);
    }
    for (const ExchangePart& part : exchange->receives) {
      add(receivers, part.peer, program.rank, part);
    }
  }
}

std::byte* part_data(const RankProgram& program, const ExchangePart& part, std::byte* arena) {
  const Buffer& buffer = program.buffers.at(static_cast<std::size_t>(part.buffer));
  STRATA_CHECK(part.row >= 0 && part.row_count >= 0 && part.row + part.row_count <= buffer.rows,
               "rank {}: exchanged rows {}+{} of b{} with {}", program.rank, part.row, part.row_count,
               part.buffer, buffer.rows);
  return arena + buffer.arena_offset + part.row * buffer.row_bytes();
}

std::int64_t part_bytes(const RankProgram& program, const ExchangePart& part) {
  return part.row_count * program.buffers.at(static_cast<std::size_t>(part.buffer)).row_bytes();
}

/// Two matched ends must agree on every part's bytes.
void check_ends(const RankProgram& source, const End& send, const RankProgram& target, const End& receive) {
  STRATA_CHECK(send.parts.size() == receive.parts.size(), "ranks {} and {} exchange {} and {} parts",
               source.rank, target.rank, send.parts.size(), receive.parts.size());
  for (std::size_t p = 0; p < send.parts.size(); ++p) {
    const std::int64_t bytes = part_bytes(source, send.parts[p]);
    STRATA_CHECK(bytes == part_bytes(target, receive.parts[p]), "rank {} sends {} bytes, rank {} expects {}",
                 source.rank, bytes, target.rank, part_bytes(target, receive.parts[p]));
  }
}

/// Appends the copies of one matched pair of ends.
void add_copies(const RankProgram& source, const End& send, std::byte* source_arena,
                const RankProgram& target, const End& receive, std::byte* target_arena,
                std::vector<CopyChunk>& chunks) {
  for (std::size_t p = 0; p < send.parts.size(); ++p) {
    const std::int64_t bytes = part_bytes(source, send.parts[p]);
    const std::byte* from = part_data(source, send.parts[p], source_arena);
    std::byte* to = part_data(target, receive.parts[p], target_arena);
    for (std::int64_t done = 0; done < bytes; done += kItemBytes) {
      chunks.push_back({to + done, from + done, std::min(kItemBytes, bytes - done)});
    }
  }
}

/// Matched ends of one (source, target, lane); an end that is missing is null.
struct MatchedEnds {
  std::int32_t source = 0, target = 0, lane = 0;
  const End* send = nullptr;
  const End* receive = nullptr;
};

template <typename Visit>
void for_each_match(std::span<const RankProgram> programs, Pass pass, RankBlock local, const Visit& visit) {
  Ends senders, receivers;
  for (const RankProgram& program : programs) collect(program, pass, local, senders, receivers);
  for (const auto& [key, ends] : receivers) senders.try_emplace(key);
  const auto count = static_cast<std::int32_t>(programs.size());
  for (const auto& [key, sends] : senders) {
    const auto [source, target, lane] = key;
    STRATA_CHECK(source >= 0 && source < count && target >= 0 && target < count,
                 "an exchange between ranks {} and {} of {}", source, target, count);
    const auto found = receivers.find(key);
    const std::size_t receives = found == receivers.end() ? 0 : found->second.size();
    for (std::size_t k = 0; k < std::max(sends.size(), receives); ++k) {
      const MatchedEnds ends{source, target, lane, k < sends.size() ? &sends[k] : nullptr,
                             k < receives ? &found->second[k] : nullptr};
      if (ends.send != nullptr && ends.receive != nullptr) {
        check_ends(programs[static_cast<std::size_t>(source)], *ends.send,
                   programs[static_cast<std::size_t>(target)], *ends.receive);
      }
      visit(ends);
    }
  }
}

/// Where a link's bytes lie in this process.
void add_chunks(std::span<const RankProgram> programs, const MatchedEnds& ends, const ExchangeLink& link,
                std::span<std::byte* const> arenas, bool source_is_local, std::vector<CopyChunk>& chunks) {
  const auto s = static_cast<std::size_t>(ends.source);
  const auto t = static_cast<std::size_t>(ends.target);
  if (!link.remote) {
    if (ends.send == nullptr || ends.receive == nullptr) return;
    add_copies(programs[s], *ends.send, arenas[s], programs[t], *ends.receive, arenas[t], chunks);
  } else if (source_is_local) {
    for (const ExchangePart& part : ends.send->parts) {
      chunks.push_back({nullptr, part_data(programs[s], part, arenas[s]), part_bytes(programs[s], part)});
    }
  } else {
    for (const ExchangePart& part : ends.receive->parts) {
      chunks.push_back({part_data(programs[t], part, arenas[t]), nullptr, part_bytes(programs[t], part)});
    }
  }
}

}  // namespace

ExchangeLinks link_exchanges(std::span<const RankProgram> programs, Pass pass,
                             std::span<std::byte* const> arenas, RankBlock local) {
  ExchangeLinks result;
  for (const RankProgram& program : programs) {
    const bool is_local = local.contains(program.rank);
    result.of_instruction.emplace_back(is_local ? program.instructions(pass).size() : 0);
  }
  const auto attach = [&](std::int32_t rank, std::int32_t instruction) {
    if (instruction < 0 || !local.contains(rank)) return;
    result.of_instruction[static_cast<std::size_t>(rank)][static_cast<std::size_t>(instruction)].push_back(
        static_cast<std::int32_t>(result.links.size()));
  };
  for_each_match(programs, pass, local, [&](const MatchedEnds& ends) {
    const bool source_is_local = local.contains(ends.source);
    ExchangeLink link;
    link.source = ends.source;
    link.target = ends.target;
    link.source_instruction = ends.send == nullptr ? -1 : ends.send->instruction;
    link.target_instruction = ends.receive == nullptr ? -1 : ends.receive->instruction;
    link.lane = ends.lane;
    link.remote = source_is_local != local.contains(ends.target);
    // Nothing of this process waits for an end that only the other process has.
    if (link.remote && (source_is_local ? ends.send : ends.receive) == nullptr) return;
    link.chunk_begin = std::ssize(result.chunks);
    add_chunks(programs, ends, link, arenas, source_is_local, result.chunks);
    link.chunk_end = std::ssize(result.chunks);
    for (std::int64_t c = link.chunk_begin; c < link.chunk_end; ++c) {
      link.bytes += result.chunks[static_cast<std::size_t>(c)].bytes;
    }
    attach(link.source, link.source_instruction);
    attach(link.target, link.target_instruction);
    result.links.push_back(link);
  });
  return result;
}

std::vector<ExchangePair> pair_exchanges(std::span<const RankProgram> programs, Pass pass) {
  std::vector<ExchangePair> pairs;
  const RankBlock all{0, static_cast<std::int32_t>(programs.size())};
  for_each_match(programs, pass, all, [&](const MatchedEnds& ends) {
    if (ends.send == nullptr || ends.receive == nullptr) return;
    pairs.push_back({ends.source, ends.send->instruction, ends.target, ends.receive->instruction});
  });
  return pairs;
}

}  // namespace strata
