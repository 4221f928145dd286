// SPDX-License-Identifier: Apache-2.0
// The IR every interpreter runs: one rank's buffers and instructions for one wave and one layer, forward and
// backward. All tensors are token-major and dense: [rows, heads, width]. Instructions of one stream run in
// order; `wait_for` adds edges to earlier instructions of the same pass. Buffers that share arena bytes are
// ordered by those edges, so a reader of the program sees every reason to wait.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/units.hpp"
#include "core/problem/collective_kind.hpp"
#include "core/problem/model_shape.hpp"
#include "core/problem/token_span.hpp"

namespace strata {

/// What a buffer holds. The names up to dkv are the rank's own tensors (inputs q, kv, d_o; results o, lse,
/// dq, dkv); the same names serve received rows. `*_acc` are running values. A message is bytes on their way
/// to or from one peer or several: rows of other buffers, copied in or out.
/// The element type is E, the program's own, except for these: lse, delta and `*_acc` are f32, and so are dq
/// and dkv that were received or accumulated. A message has rows of one byte each.
enum class BufferRole : std::uint8_t {
  q,
  kv,
  o,
  lse,
  d_o,
  delta,
  dq,
  dkv,
  o_acc,
  lse_acc,
  dq_acc,
  dkv_acc,
  message
};
std::string_view to_string(BufferRole role);
constexpr bool counts_kv_heads(BufferRole role) {
  return role == BufferRole::kv || role == BufferRole::dkv || role == BufferRole::dkv_acc;
}

/// A dense [rows, heads.count(), width] array at a fixed place of the rank's arena. A message has rows of one
/// byte; its type, heads and width say nothing.
struct Buffer {
  BufferRole role = BufferRole::q;
  ElementType type = ElementType::f32;
  std::int64_t rows = 0;
  HeadRange heads;         ///< absolute heads held (KV heads for kv, dkv, dkv_acc)
  std::int32_t width = 0;  ///< elements per row and head; 1 for lse and delta
  /// Lives over both passes; otherwise only between first write and last read.
  bool persistent = false;
  std::int64_t arena_offset = 0;  ///< bytes, multiple of kArenaAlignment
  bool operator==(const Buffer&) const = default;

  bool is_message() const { return role == BufferRole::message; }
  std::int64_t row_bytes() const { return is_message() ? 1 : bytes_of_heads(heads); }
  /// Bytes of the heads `some` of one row.
  std::int64_t bytes_of_heads(HeadRange some) const {
    return std::int64_t{some.count()} * width * element_bytes(type);
  }
  Bytes bytes() const { return {checked_product(rows, row_bytes())}; }
};
inline constexpr std::int64_t kArenaAlignment = 256;
/// The least multiple of kArenaAlignment that is not below `bytes`.
constexpr std::int64_t arena_aligned(std::int64_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

/// In one exchange the rows for one peer travel as one message. Rows of one buffer and slice that take at
/// least so many bytes may travel alone.
inline constexpr std::int64_t kOwnMessageBytes = std::int64_t{256} << 10;

/// One message: rows of one buffer that go to, or come from, one peer.
struct ExchangePart {
  std::int32_t peer = 0;
  std::int32_t buffer = 0;
  std::int64_t row = 0;
  std::int64_t row_count = 0;
  bool operator==(const ExchangePart&) const = default;
};

/// Sends and receives posted together on one lane; usable when all of them have ended. The parts from one
/// source to one target are listed in the same order on both ends.
struct Exchange {
  std::int32_t step = 0;
  std::int32_t lane = 0;
  std::vector<ExchangePart> sends;
  std::vector<ExchangePart> receives;
  bool operator==(const Exchange&) const = default;
};

/// An Exchange that the schedule declares to be a known collective.
struct Collective {
  CollectiveKind kind = CollectiveKind::none;
  Exchange exchange;
  bool operator==(const Collective&) const = default;
};

/// Heads `heads` of `row_count` rows from one buffer to another; both hold them. Element types are equal.
/// One of the two may be a message: there the rows lie dense, heads by heads, from byte `source_row` or
/// `target_row` on.
struct RowCopy {
  std::int32_t source = 0;
  std::int32_t target = 0;
  std::int64_t source_row = 0;
  std::int64_t target_row = 0;
  std::int64_t row_count = 0;
  HeadRange heads;
  bool operator==(const RowCopy&) const = default;
};
struct CopyRows {
  std::vector<RowCopy> copies;
  bool operator==(const CopyRows&) const = default;
};

/// The mask primitive, a band: query row i and key row j of the block (counted from its begins) form an
/// allowed pair iff lo <= j * key_stride - i <= hi.
struct AttentionBlock {
  std::int32_t query_source = 0;  ///< index into the instruction's queries
  std::int32_t key_source = 0;    ///< index into the instruction's keys
  std::int64_t query_begin = 0, query_count = 0;
  std::int64_t key_begin = 0, key_count = 0;
  HeadRange heads;  ///< absolute query heads
  std::int64_t lo = 0, hi = 0;
  std::int64_t key_stride = 1;
  bool operator==(const AttentionBlock&) const = default;
  std::int64_t pairs() const { return band_pair_count(query_count, key_count, lo, hi, key_stride); }
};

/// Row-aligned buffers of the query side: same rows, same heads. Backward fields are -1 in forward.
struct QueryBuffers {
  std::int32_t q = -1, out = -1, lse = -1;
  std::int32_t d_o = -1, delta = -1, dq = -1;
  bool operator==(const QueryBuffers&) const = default;
};
struct KeyBuffers {
  std::int32_t kv = -1;
  std::int32_t dkv = -1;  ///< backward only
  bool operator==(const KeyBuffers&) const = default;
};

/// One launch over a list of blocks. `merge`: out and lse are f32 running values that the launch merges into
/// (initially 0 and -inf); otherwise out is E and each row x head is written once.
struct Attention {
  std::vector<QueryBuffers> queries;
  std::vector<KeyBuffers> keys;
  std::vector<AttentionBlock> blocks;
  bool merge = false;
  bool operator==(const Attention&) const = default;
};

/// Adds into dq and dkv (f32) what the blocks contribute, given final lse and delta.
struct AttentionBackward {
  std::vector<QueryBuffers> queries;
  std::vector<KeyBuffers> keys;
  std::vector<AttentionBlock> blocks;
  bool operator==(const AttentionBackward&) const = default;
};

/// One range of rows and heads whose parts are merged by LSE, in the order listed, into out (E) and lse.
struct MergeRange {
  std::int64_t row = 0;  ///< of `out` and `lse`
  std::int64_t row_count = 0;
  HeadRange heads;
  struct Part {
    std::int32_t out = 0;  ///< E or f32
    std::int32_t lse = 0;
    std::int64_t row = 0;
    bool operator==(const Part&) const = default;
  };
  std::vector<Part> parts;
  bool operator==(const MergeRange&) const = default;
};
struct MergePartials {
  std::int32_t out = 0;
  std::int32_t lse = 0;
  std::vector<MergeRange> ranges;
  bool operator==(const MergePartials&) const = default;
};

/// target (f32) += source (f32), range by range in the order listed.
struct AccumulateGradient {
  std::vector<RowCopy> additions;
  bool operator==(const AccumulateGradient&) const = default;
};

/// Work on all rows of buffers. `linear` stands for the layer's matrix products, which are costed and not
/// run. `delta` sets target = rowsum(source * other), of d_o and o. `cast` sets target (E) = source (f32).
/// `zero` fills `target` with 0, and lse_acc with -inf.
enum class TokenWorkKind : std::uint8_t { linear, delta, cast, zero };
std::string_view to_string(TokenWorkKind kind);
struct TokenWork {
  TokenWorkKind kind = TokenWorkKind::linear;
  std::int64_t tokens = 0;
  Flops flops;
  std::int32_t target = -1, source = -1, other = -1;
  bool operator==(const TokenWork&) const = default;
};

using Operation = std::variant<Exchange, Collective, CopyRows, Attention, AttentionBackward, MergePartials,
                               AccumulateGradient, TokenWork>;

inline constexpr std::int32_t kComputeStream = 0;
/// The stream of communication lane `lane`.
constexpr std::int32_t lane_stream(std::int32_t lane) { return 1 + lane; }

struct Instruction {
  Operation op;
  std::int32_t stream = kComputeStream;
  std::vector<std::int32_t> wait_for;  ///< earlier indices of the same pass, ascending
  bool operator==(const Instruction&) const = default;
};

enum class Pass : std::uint8_t { forward, backward };
std::string_view to_string(Pass pass);

/// The rank's own tensors, indices into `buffers`. dq and dkv are the results (E).
struct LocalBuffers {
  std::int32_t q = -1, kv = -1, o = -1, lse = -1, d_o = -1, dq = -1, dkv = -1;
  bool operator==(const LocalBuffers&) const = default;
};

struct RankProgram {
  std::int32_t rank = 0;
  std::int32_t lane_count = 1;
  ElementType element_type = ElementType::f32;
  LocalBuffers local;
  std::vector<Buffer> buffers;
  std::vector<Instruction> forward;
  std::vector<Instruction> backward;
  Bytes arena;  ///< everything the rank holds for this wave and one layer
  bool operator==(const RankProgram&) const = default;

  const std::vector<Instruction>& instructions(Pass pass) const {
    return pass == Pass::forward ? forward : backward;
  }
};

/// For programs written by hand: work on all rows of its buffers, -1 standing for none.
inline TokenWork token_work(TokenWorkKind kind, std::int32_t target, std::int32_t source = -1,
                            std::int32_t other = -1) {
  return {kind, 0, {}, target, source, other};
}
/// For programs written by hand, too: places the buffers back to back and sets the arena to what they take.
void place_buffers(RankProgram& program);

/// "Exchange", "Attention", ...: the IR's name of the operation's kind; TokenWork as "TokenWork.delta" etc.
std::string_view kind_name(const Operation& op);
/// The exchange of an Exchange or Collective, else nullptr.
const Exchange* exchange_of(const Operation& op);
/// Rows of one buffer that an operation reads or writes (an Attention's merge and every sum also read what
/// they write).
struct Access {
  std::int32_t buffer = 0;
  std::int64_t row = 0;
  std::int64_t row_count = 0;
  bool write = false;
};
/// Appends the accesses of `op`, in a fixed order; neighbouring ranges of one buffer may be reported as the
/// range that spans them.
void append_accesses(const RankProgram& program, const Operation& op, std::vector<Access>& out);
/// Payload bytes that the operation sends.
Bytes sent_bytes(const RankProgram& program, const Operation& op);
/// Allowed pairs x heads that the operation computes.
std::int64_t attention_pairs(const Operation& op);
/// Useful FLOPs: 2 (k_dim + v_dim) per pair forward; backward counts the 7 products executed by the split
/// deterministic kernels: 8 k_dim + 6 v_dim per pair (14 d when equal).
Flops operation_flops(const RankProgram& program, const Operation& op);
/// One line per buffer and instruction, for people and golden tests.
std::string to_text(const RankProgram& program);

}  // namespace strata
