// SPDX-License-Identifier: Apache-2.0
// Inside of lowering: the builder that turns operations into instructions with their waits, the table of rows
// a rank holds, and the arena. Not for use outside core/lowering/lower*.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

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

  /// Gives every buffer its place: persistent ones first, then each pass's own by first fit over the issue
  /// order, both passes sharing the space. Where bytes change hands within a pass the new user waits for the
  /// last users of the old. Sets RankProgram::arena. The last call.
  void check_countable() const;
  void assign_arena();

 private:
  /// When a buffer is used within a pass.
  struct Use {
    std::int32_t first = -1;                  ///< instruction
    std::vector<std::int32_t> reads, writes;  ///< [stream] -> last instruction, -1 for none
  };
  struct Lifetime;
  std::vector<Lifetime> lifetimes(Pass pass) const;
  std::int64_t place_pass(Pass pass, std::int64_t base);

  RankProgram& program_;
  Pass pass_ = Pass::forward;
  std::array<std::vector<Use>, 2> uses_;  ///< [pass][buffer]
  std::vector<Access> accesses_;
};

/// A run of rows that lie in one group of buffers back to back.
struct HeldRun {
  std::int32_t group = 0;
  std::int64_t row = 0;
  TokenSpan span;

  /// Whether `next` goes on where this run ends, in the document and in the buffers.
  bool continues_in(const HeldRun& next) const {
    return next.span.document == span.document && next.span.begin == span.end && next.group == group &&
           next.row == row + span.length();
  }
};

/// Which rows of documents a rank holds, and where: pieces by the head range they were received with.
class HeldRows {
 public:
  void add(HeadRange heads, const TokenSpan& span, std::int32_t group, std::int64_t row);
  /// Sorts what was added since the last call and joins neighbours; needed before `resolve`.
  void seal();
  /// Appends the runs that make up `span` for `heads`, in token order, each as long as possible.
  /// STRATA_CHECKs that every row is held.
  void resolve(const TokenSpan& span, HeadRange heads, std::vector<HeldRun>& runs) const;
  /// The same for the rows of `span` that are held; the others are left out.
  void find_held(const TokenSpan& span, HeadRange heads, std::vector<HeldRun>& runs) const;
  /// `heads` cut at the borders of what was received, so that `resolve` can serve each part from one head
  /// range.
  void head_parts(HeadRange heads, std::vector<HeadRange>& parts) const;

 private:
  struct Variant {
    HeadRange heads;
    std::vector<HeldRun> pieces;
    std::size_t sealed = 0;         ///< pieces before this one are sorted and joined
    mutable std::size_t found = 0;  ///< where the last search ended: the next one is usually close

    /// The first piece that ends after the first row of `span`.
    std::size_t find(const TokenSpan& span) const;
  };
  std::vector<Variant> variants_;
};

}  // namespace strata::detail
