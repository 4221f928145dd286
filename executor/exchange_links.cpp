// SPDX-License-Identifier: Apache-2.0
#include "executor/exchange_links.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include "core/check.hpp"
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

void collect(const RankProgram& program, Pass pass, Ends& senders, Ends& receivers) {
  const auto& instructions = program.instructions(pass);
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    const Exchange* exchange = exchange_of(instructions[i].op);
    if (exchange == nullptr) continue;
    const auto number = static_cast<std::int32_t>(i);
    const auto add = [&](std::vector<End>& ends, const ExchangePart& part) {
      if (ends.empty() || ends.back().instruction != number) ends.push_back({number, {}});
      ends.back().parts.push_back(part);
    };
    for (const ExchangePart& part : exchange->sends) {
      add(senders[{program.rank, part.peer, exchange->lane}], part);
    }
    for (const ExchangePart& part : exchange->receives) {
      add(receivers[{part.peer, program.rank, exchange->lane}], part);
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

/// Appends the copies of one matched pair of ends.
void add_chunks(const RankProgram& source, const End& send, std::byte* source_arena,
                const RankProgram& target, const End& receive, std::byte* target_arena,
                std::vector<CopyChunk>& chunks) {
  STRATA_CHECK(send.parts.size() == receive.parts.size(), "ranks {} and {} exchange {} and {} parts",
               source.rank, target.rank, send.parts.size(), receive.parts.size());
  for (std::size_t p = 0; p < send.parts.size(); ++p) {
    const std::int64_t bytes = part_bytes(source, send.parts[p]);
    STRATA_CHECK(bytes == part_bytes(target, receive.parts[p]), "rank {} sends {} bytes, rank {} expects {}",
                 source.rank, bytes, target.rank, part_bytes(target, receive.parts[p]));
    const std::byte* from = part_data(source, send.parts[p], source_arena);
    std::byte* to = part_data(target, receive.parts[p], target_arena);
    for (std::int64_t done = 0; done < bytes; done += kItemBytes) {
      chunks.push_back({to + done, from + done, std::min(kItemBytes, bytes - done)});
    }
  }
}

}  // namespace

ExchangeLinks link_exchanges(std::span<const RankProgram> programs, Pass pass,
                             std::span<std::byte* const> arenas) {
  Ends senders, receivers;
  ExchangeLinks result;
  for (const RankProgram& program : programs) {
    collect(program, pass, senders, receivers);
    result.of_instruction.emplace_back(program.instructions(pass).size());
  }
  for (const auto& [key, ends] : receivers) senders.try_emplace(key);
  const auto attach = [&](std::int32_t rank, std::int32_t instruction) {
    if (instruction < 0) return;
    result.of_instruction[static_cast<std::size_t>(rank)][static_cast<std::size_t>(instruction)].push_back(
        static_cast<std::int32_t>(result.links.size()));
  };
  const auto count = static_cast<std::int32_t>(programs.size());
  for (const auto& [key, sends] : senders) {
    const auto [source, target, lane] = key;
    STRATA_CHECK(source >= 0 && source < count && target >= 0 && target < count,
                 "an exchange between ranks {} and {} of {}", source, target, count);
    const auto found = receivers.find(key);
    const std::vector<End> none;
    const std::vector<End>& receives = found == receivers.end() ? none : found->second;
    for (std::size_t k = 0; k < std::max(sends.size(), receives.size()); ++k) {
      ExchangeLink link;
      link.source = source;
      link.target = target;
      link.source_instruction = k < sends.size() ? sends[k].instruction : -1;
      link.target_instruction = k < receives.size() ? receives[k].instruction : -1;
      link.chunk_begin = std::ssize(result.chunks);
      if (k < sends.size() && k < receives.size()) {
        const auto s = static_cast<std::size_t>(source);
        const auto t = static_cast<std::size_t>(target);
        add_chunks(programs[s], sends[k], arenas[s], programs[t], receives[k], arenas[t], result.chunks);
      }
      link.chunk_end = std::ssize(result.chunks);
      for (std::int64_t c = link.chunk_begin; c < link.chunk_end; ++c) {
        link.bytes += result.chunks[static_cast<std::size_t>(c)].bytes;
      }
      attach(source, link.source_instruction);
      attach(target, link.target_instruction);
      result.links.push_back(link);
    }
  }
  return result;
}

}  // namespace strata
