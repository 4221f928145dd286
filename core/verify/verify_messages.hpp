// SPDX-License-Identifier: Apache-2.0
// What the parts of exchanges are made of. Rows of a part are rows of its buffer; those of a message are
// copied into it before it is sent, or out of it after it was received. Inside of the program verifier.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/program/rank_program.hpp"

namespace strata {

/// A running digest with one more number; the order of numbers counts.
constexpr std::uint64_t mixed_digest(std::uint64_t digest, std::uint64_t number) {
  digest = (digest ^ number) * 0x9e3779b97f4a7c15ULL + 1;
  return digest ^ digest >> 31;
}

class MessageLayouts {
 public:
  struct Fault {
    std::string rule;
    std::size_t instruction = 0;
    std::string message;
  };

  /// Buffers and rows that the instructions name must exist.
  MessageLayouts(const RankProgram& program, Pass pass);

  /// The first fault: a copy between buffers that are not alike, or bytes of a message that are not both
  /// copied and exchanged, once each way.
  const std::optional<Fault>& fault() const { return fault_; }
  /// A digest of the part's rows in order: their element type, bytes and number. Neighbours that are alike
  /// count together, so that a part and the message that it meets have equal digests.
  std::uint64_t digest(const ExchangePart& part) const;

 private:
  /// Bytes of a message: rows copied, or a part that is exchanged.
  struct Range {
    std::int32_t buffer = 0;
    std::int64_t begin = 0, end = 0;
    std::int32_t instruction = 0;
    bool operator==(const Range& other) const {
      return buffer == other.buffer && begin == other.begin && end == other.end;
    }
    bool operator<(const Range& other) const;
  };
  struct Rows : Range {
    std::int64_t row_bytes = 0;
    ElementType type = ElementType::f32;
  };
  struct Part : Range {
    std::uint64_t digest = 0;
  };
  /// Which way the bytes of a message go.
  struct Use {
    bool filled = false, emptied = false, sent = false, received = false;
    std::int32_t instruction = 0;
  };

  void fail(std::string rule, std::size_t instruction, std::string message);
  void read(const Exchange& exchange, std::size_t index);
  void read(const RowCopy& copy, std::size_t index);
  void check_uses();
  /// Every part is made of rows from its first byte to its last, and all rows are in a part.
  void check_parts();

  const RankProgram& program_;
  std::optional<Fault> fault_;
  std::vector<Rows> rows_;   ///< sorted in the end
  std::vector<Part> parts_;  ///< sorted in the end, each once
  std::vector<Use> uses_;    ///< [buffer]; empty where there is no message
};

}  // namespace strata
