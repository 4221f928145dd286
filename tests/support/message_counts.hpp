// SPDX-License-Identifier: Apache-2.0
// Counts what the exchanges of a program send and receive.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "core/program/rank_program.hpp"

namespace strata::test {

/// "" when every exchange has at most one message to and one from each peer, not counting those of at least
/// `own_message_bytes`. Otherwise the text names the first that has more.
inline std::string too_many_messages(const RankProgram& program,
                                     std::int64_t own_message_bytes = kOwnMessageBytes) {
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    for (const Instruction& instruction : program.instructions(pass)) {
      const Exchange* exchange = exchange_of(instruction.op);
      if (exchange == nullptr) continue;
      for (const auto* parts : {&exchange->sends, &exchange->receives}) {
        std::map<std::int32_t, std::int64_t> small;
        for (const ExchangePart& part : *parts) {
          const Buffer& buffer = program.buffers[static_cast<std::size_t>(part.buffer)];
          if (part.row_count * buffer.row_bytes() >= own_message_bytes) continue;
          if (++small[part.peer] == 1) continue;
          return fmt::format("rank {} {} step {} lane {}: several small messages with rank {}", program.rank,
                             to_string(pass), exchange->step, exchange->lane, part.peer);
        }
      }
    }
  }
  return "";
}

/// Payload that the rank sends to each peer in each step, lane and pass.
inline auto sent_by_peer(const RankProgram& program) {
  std::map<std::tuple<Pass, std::int32_t, std::int32_t, std::int32_t>, std::int64_t> bytes;
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    for (const Instruction& instruction : program.instructions(pass)) {
      const Exchange* exchange = exchange_of(instruction.op);
      if (exchange == nullptr) continue;
      for (const ExchangePart& part : exchange->sends) {
        bytes[{pass, exchange->step, exchange->lane, part.peer}] +=
            part.row_count * program.buffers[static_cast<std::size_t>(part.buffer)].row_bytes();
      }
    }
  }
  return bytes;
}

}  // namespace strata::test
