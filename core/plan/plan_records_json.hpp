// SPDX-License-Identifier: Apache-2.0
// The records of a plan file: transfers, reductions, tasks, spans. They are most of a file, so they are read
// one by one while its text is parsed. The values of the whole text are never in memory together. Inside of
// read_plan.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "core/json/json_document.hpp"
#include "core/problem/token_span.hpp"
#include "core/schedule/comm_schedule.hpp"

namespace strata::detail {

/// Reads lists of records: those that a fold handed out, or those that the document has.
class ReadRecords {
 public:
  /// For JsonDocument::read_file; refers to this object.
  JsonFold fold();

  /// The records of a list. `ready` is -1 where it is left out. Throws InputError naming the place of what is
  /// no record.
  std::vector<Transfer> transfers(const JsonValue& list);
  std::vector<Reduction> reductions(const JsonValue& list);
  std::vector<AttentionTask> tasks(const JsonValue& list);
  std::vector<TokenSpan> spans(const JsonValue& list);

 private:
  template <typename Record>
  using Lists = std::map<std::uint32_t, std::vector<Record>>;  // by the position of the list

  template <typename Record>
  static void add(Lists<Record>& lists, std::uint32_t list, Record record);
  template <typename Record>
  static std::vector<Record> take(Lists<Record>& lists, const JsonValue& list,
                                  Record (*read)(const JsonValue&));

  Lists<Transfer> transfers_;
  Lists<Reduction> reductions_;
  Lists<AttentionTask> tasks_;
  Lists<TokenSpan> spans_;
};

}  // namespace strata::detail
