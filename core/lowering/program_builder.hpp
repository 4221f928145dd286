// SPDX-License-Identifier: Apache-2.0
// Inside of lowering: the builder that turns operations into instructions with their waits, and gives buffers
// their places. Not for use outside core/lowering.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/lowering/arena.hpp"
#include "core/problem/model_shape.hpp"
#include "core/program/rank_program.hpp"
#include "core/schedule/wave.hpp"

namespace strata::detail {

/// Appends instructions and derives their waits from which buffers they read and write: a read waits for the
/// last writers, a write for the last readers and writers, on every other stream.
class ProgramBuilder {
 public:
  explicit ProgramBuilder(RankProgram& program) : program_(program) {}

  std::int32_t add_buffer(BufferRole role, ElementType type, std::int64_t rows, HeadRange heads,
                          std::int32_t width, bool persistent);
  const Buffer& buffer(std::int32_t index) const { return program_.buffers[static_cast<std::size_t>(index)]; }
  void keep(std::int32_t index) { program_.buffers[static_cast<std::size_t>(index)].persistent = true; }

  /// Instructions go to `pass` from here on; nothing of the previous pass is waited for.
  void begin_pass(Pass pass);
  void emit(Operation op, std::int32_t stream);

  /// Throws UncountableError when all buffers together take more bytes than a program may have.
  void check_countable() const;
  /// Gives every buffer its place: persistent ones first, then each pass's own by first fit over the issue
  /// order, both passes sharing the space. Where bytes change hands within a pass the new user waits for the
  /// last users of the old. Sets RankProgram::arena. The last call.
  void assign_arena();

 private:
  static constexpr std::int32_t kNone = -1;
  /// The last instructions on one stream that use a buffer within a pass. A buffer has one for every stream
  /// that uses it, which are few: a linked list.
  struct StreamUse {
    std::int32_t stream = 0;
    std::int32_t read = kNone;
    std::int32_t write = kNone;
    std::int32_t next = kNone;  ///< in `stream_uses`
  };
  struct BufferUse {
    std::int32_t first = kNone;  ///< instruction
    std::int32_t list = kNone;   ///< in `stream_uses`
  };
  struct PassUses {
    std::vector<BufferUse> buffers;
    std::vector<StreamUse> stream_uses;
  };
  /// Adds what `access` waits for to `waits_`.
  void wait_for_users(const PassUses& uses, const Access& access);
  static void add_use(PassUses& uses, const Access& access, std::int32_t stream, std::int32_t instruction);
  /// The scratch buffers of a pass, sorted by first use. `last_uses` holds the users that they refer to.
  std::vector<Lifetime> lifetimes(const PassUses& uses, std::vector<LastUse>& last_uses) const;
  std::int64_t place_pass(Pass pass, std::int64_t base);

  RankProgram& program_;
  Pass pass_ = Pass::forward;
  std::array<PassUses, 2> uses_;  ///< [pass]
  std::vector<Access> accesses_;
  Waits waits_;
};

}  // namespace strata::detail
