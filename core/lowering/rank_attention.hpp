// SPDX-License-Identifier: Apache-2.0
// The attention of one rank in one step: its tasks cut into blocks of rows that lie together. Inside of
// lowering.
#pragma once

#include <cstdint>
#include <vector>

#include "core/lowering/output_gradients.hpp"
#include "core/lowering/rank_rows.hpp"
#include "core/lowering/schedule_shares.hpp"

namespace strata::detail {

class RankAttention {
 public:
  RankAttention(RankRows& rows, OutputGradients& output_gradients)
      : rows_(rows), output_gradients_(output_gradients) {}
  /// Emits the tasks of `share` as one instruction, with the copies that it needs before.
  void emit(const ScheduleStep& step, const StepShare& share);

 private:
  /// Numbers the groups that one instruction uses in order of first use.
  class SourceNumbers {
   public:
    void begin(std::size_t group_count);
    std::int32_t of(std::int32_t group);
    const std::vector<std::int32_t>& groups() const { return groups_; }

   private:
    std::vector<std::int32_t> number_;  ///< [group]; -1: not used
    std::vector<std::int32_t> groups_;
  };

  void append_blocks(const AttentionTask& task, std::vector<AttentionBlock>& blocks);

  RankRows& rows_;
  OutputGradients& output_gradients_;
  SourceNumbers query_sources_, key_sources_;
  std::vector<HeldRun> query_runs_, key_runs_;
  std::vector<HeadRange> query_parts_, key_parts_;
};

}  // namespace strata::detail
