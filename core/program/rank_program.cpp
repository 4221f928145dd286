// SPDX-License-Identifier: Apache-2.0
#include "core/program/rank_program.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "core/base/check.hpp"
#include "core/base/overloaded.hpp"
#include "core/program/messages.hpp"

namespace strata {

namespace {

/// Lists of thousands of parts touch few buffers: widens one of the last entries where it is the same buffer.
void append_access(std::vector<Access>& out, std::size_t first, const Access& access) {
  const std::size_t look_back = std::min<std::size_t>(out.size() - first, 3);
  for (std::size_t i = out.size() - look_back; i < out.size(); ++i) {
    Access& known = out[i];
    if (known.buffer != access.buffer || known.write != access.write) continue;
    const std::int64_t end = std::max(known.row + known.row_count, access.row + access.row_count);
    known.row = std::min(known.row, access.row);
    known.row_count = end - known.row;
    return;
  }
  out.push_back(access);
}

/// Rows [row, row + count) of a buffer.
struct RowRange {
  std::int32_t buffer = 0;
  std::int64_t row = 0;
  std::int64_t count = 0;
};

/// One entry for every run of consecutive ranges in the same buffer, the usual case by far.
template <typename Record, typename Range>
void append_runs(const std::vector<Record>& records, const Range& range_of, bool write,
                 std::vector<Access>& out) {
  const std::size_t first = out.size();
  for (auto record = records.begin(); record != records.end();) {
    const RowRange range = range_of(*record);
    std::int64_t begin = range.row, end = begin + range.count;
    for (++record; record != records.end(); ++record) {
      const RowRange next = range_of(*record);
      if (next.buffer != range.buffer) break;
      begin = std::min(begin, next.row);
      end = std::max(end, next.row + next.count);
    }
    append_access(out, first, {range.buffer, begin, end - begin, write});
  }
}

void exchange_accesses(const Exchange& exchange, std::vector<Access>& out) {
  const auto range = [](const ExchangePart& part) { return RowRange{part.buffer, part.row, part.row_count}; };
  append_runs(exchange.sends, range, false, out);
  append_runs(exchange.receives, range, true, out);
}

void copy_accesses(const RankProgram& program, const std::vector<RowCopy>& copies, std::vector<Access>& out) {
  append_runs(
      copies,
      [&](const RowCopy& copy) {
        return RowRange{copy.source, copy.source_row, rows_touched(program, copy, copy.source)};
      },
      false, out);
  append_runs(
      copies,
      [&](const RowCopy& copy) {
        return RowRange{copy.target, copy.target_row, rows_touched(program, copy, copy.target)};
      },
      true, out);
}

/// The accesses of a list of blocks or ranges that each have one in every role. Neighbours in the list mostly
/// touch, so that few entries say what many would.
template <std::size_t Roles>
class RoleAccesses {
 public:
  explicit RoleAccesses(std::vector<Access>& out) : out_(out), last_{} {}

  /// Widens the role's last entry where it is the same buffer and leaves no rows between. A role always
  /// reads, or always writes.
  void add(std::size_t role, const Access& access) {
    Access* known = last_[role] > 0 ? &out_[last_[role] - 1] : nullptr;
    if (known != nullptr && known->buffer == access.buffer && known->row <= access.row + access.row_count &&
        access.row <= known->row + known->row_count) {
      const std::int64_t end = std::max(known->row + known->row_count, access.row + access.row_count);
      known->row = std::min(known->row, access.row);
      known->row_count = end - known->row;
    } else {
      out_.push_back(access);
      last_[role] = out_.size();
    }
  }

 private:
  std::vector<Access>& out_;
  std::array<std::size_t, Roles> last_;  ///< [role]: one behind its last entry, 0 for none
};

void attention_accesses(const std::vector<QueryBuffers>& queries, const std::vector<KeyBuffers>& keys,
                        const std::vector<AttentionBlock>& blocks, bool backward, std::vector<Access>& out) {
  enum Role : std::size_t { q, lse, kv, result, d_o, delta, dkv, roles };
  RoleAccesses<roles> accesses(out);
  for (const AttentionBlock& block : blocks) {
    const QueryBuffers& query = queries[static_cast<std::size_t>(block.query_source)];
    const KeyBuffers& key = keys[static_cast<std::size_t>(block.key_source)];
    const auto of_query = [&](Role role, std::int32_t buffer, bool write) {
      accesses.add(role, {buffer, block.query_begin, block.query_count, write});
    };
    of_query(q, query.q, false);
    of_query(lse, query.lse, !backward);
    accesses.add(kv, {key.kv, block.key_begin, block.key_count, false});
    of_query(result, backward ? query.dq : query.out, true);
    if (!backward) continue;
    of_query(d_o, query.d_o, false);
    of_query(delta, query.delta, false);
    accesses.add(dkv, {key.dkv, block.key_begin, block.key_count, true});
  }
}

void merge_accesses(const MergePartials& merge, std::vector<Access>& out) {
  enum Role : std::size_t { out_rows, lse_rows, part_out, part_lse, roles };
  RoleAccesses<roles> accesses(out);
  for (const MergeRange& range : merge.ranges) {
    accesses.add(out_rows, {merge.out, range.row, range.row_count, true});
    accesses.add(lse_rows, {merge.lse, range.row, range.row_count, true});
    for (const MergeRange::Part& part : range.parts) {
      accesses.add(part_out, {part.out, part.row, range.row_count, false});
      accesses.add(part_lse, {part.lse, part.row, range.row_count, false});
    }
  }
}

std::int64_t pairs_of(const std::vector<AttentionBlock>& blocks) {
  std::int64_t pairs = 0;
  for (const AttentionBlock& block : blocks) pairs += block.pairs() * block.heads.count();
  return pairs;
}

}  // namespace

std::string_view to_string(BufferRole role) {
  switch (role) {
    case BufferRole::q:
      return "q";
    case BufferRole::kv:
      return "kv";
    case BufferRole::o:
      return "o";
    case BufferRole::lse:
      return "lse";
    case BufferRole::d_o:
      return "do";
    case BufferRole::delta:
      return "delta";
    case BufferRole::dq:
      return "dq";
    case BufferRole::dkv:
      return "dkv";
    case BufferRole::o_acc:
      return "o_acc";
    case BufferRole::lse_acc:
      return "lse_acc";
    case BufferRole::dq_acc:
      return "dq_acc";
    case BufferRole::dkv_acc:
      return "dkv_acc";
    case BufferRole::message:
      return "message";
  }
  STRATA_CHECK(false, "buffer role {} has no name", static_cast<int>(role));
}

std::string_view to_string(TokenWorkKind kind) {
  switch (kind) {
    case TokenWorkKind::linear:
      return "TokenWork.linear";
    case TokenWorkKind::delta:
      return "TokenWork.delta";
    case TokenWorkKind::cast:
      return "TokenWork.cast";
    case TokenWorkKind::zero:
      return "TokenWork.zero";
  }
  STRATA_CHECK(false, "token work kind {} has no name", static_cast<int>(kind));
}

std::string_view to_string(Pass pass) { return pass == Pass::forward ? "forward" : "backward"; }

void place_buffers(RankProgram& program) {
  std::int64_t offset = 0;
  for (Buffer& buffer : program.buffers) {
    buffer.arena_offset = offset;
    offset += arena_aligned(buffer.bytes().count);
  }
  program.arena = {offset};
}

std::string_view kind_name(const Operation& op) {
  return std::visit(Overloaded{
                        [](const Exchange&) -> std::string_view { return "Exchange"; },
                        [](const Collective&) -> std::string_view { return "Collective"; },
                        [](const CopyRows&) -> std::string_view { return "CopyRows"; },
                        [](const Attention&) -> std::string_view { return "Attention"; },
                        [](const AttentionBackward&) -> std::string_view { return "AttentionBackward"; },
                        [](const MergePartials&) -> std::string_view { return "MergePartials"; },
                        [](const AccumulateGradient&) -> std::string_view { return "AccumulateGradient"; },
                        [](const TokenWork& work) { return to_string(work.kind); },
                    },
                    op);
}

const Exchange* exchange_of(const Operation& op) {
  if (const auto* exchange = std::get_if<Exchange>(&op)) return exchange;
  if (const auto* collective = std::get_if<Collective>(&op)) return &collective->exchange;
  return nullptr;
}

void append_accesses(const RankProgram& program, const Operation& op, std::vector<Access>& out) {
  const auto whole = [&](std::int32_t buffer, bool write) {
    if (buffer >= 0)
      out.push_back({buffer, 0, program.buffers[static_cast<std::size_t>(buffer)].rows, write});
  };
  std::visit(Overloaded{
                 [&](const Exchange& exchange) { exchange_accesses(exchange, out); },
                 [&](const Collective& collective) { exchange_accesses(collective.exchange, out); },
                 [&](const CopyRows& copy) { copy_accesses(program, copy.copies, out); },
                 [&](const Attention& attention) {
                   attention_accesses(attention.queries, attention.keys, attention.blocks, false, out);
                 },
                 [&](const AttentionBackward& attention) {
                   attention_accesses(attention.queries, attention.keys, attention.blocks, true, out);
                 },
                 [&](const MergePartials& merge) { merge_accesses(merge, out); },
                 [&](const AccumulateGradient& sum) { copy_accesses(program, sum.additions, out); },
                 [&](const TokenWork& work) {
                   whole(work.source, false);
                   whole(work.other, false);
                   whole(work.target, true);
                 },
             },
             op);
}

Bytes sent_bytes(const RankProgram& program, const Operation& op) {
  Bytes total;
  if (const Exchange* exchange = exchange_of(op)) {
    for (const ExchangePart& part : exchange->sends) {
      const Buffer& buffer = program.buffers[static_cast<std::size_t>(part.buffer)];
      total += {checked_product(part.row_count, buffer.row_bytes())};
    }
  }
  return total;
}

std::int64_t attention_pairs(const Operation& op) {
  if (const auto* attention = std::get_if<Attention>(&op)) return pairs_of(attention->blocks);
  if (const auto* attention = std::get_if<AttentionBackward>(&op)) return pairs_of(attention->blocks);
  return 0;
}

Flops operation_flops(const RankProgram& program, const Operation& op) {
  const auto width = [&](std::int32_t buffer) {
    return static_cast<double>(program.buffers[static_cast<std::size_t>(buffer)].width);
  };
  if (const auto* work = std::get_if<TokenWork>(&op)) return work->flops;
  if (const auto* attention = std::get_if<Attention>(&op);
      attention != nullptr && !attention->queries.empty()) {
    const QueryBuffers& query = attention->queries.front();
    return {static_cast<double>(pairs_of(attention->blocks)) * 2.0 * (width(query.q) + width(query.out))};
  }
  if (const auto* attention = std::get_if<AttentionBackward>(&op);
      attention != nullptr && !attention->queries.empty()) {
    const QueryBuffers& query = attention->queries.front();
    return {static_cast<double>(pairs_of(attention->blocks)) *
            (8.0 * width(query.q) + 6.0 * width(query.d_o))};
  }
  return {};
}

namespace {

std::string describe(const RankProgram& program, const Operation& op) {
  if (const Exchange* exchange = exchange_of(op)) {
    return fmt::format("step {} lane {}: {} sends, {} receives, {} bytes out", exchange->step, exchange->lane,
                       exchange->sends.size(), exchange->receives.size(), sent_bytes(program, op).count);
  }
  if (const auto* copy = std::get_if<CopyRows>(&op)) return fmt::format("{} ranges", copy->copies.size());
  if (const auto* sum = std::get_if<AccumulateGradient>(&op)) {
    return fmt::format("{} ranges", sum->additions.size());
  }
  if (const auto* merge = std::get_if<MergePartials>(&op)) {
    return fmt::format("{} ranges into b{}", merge->ranges.size(), merge->out);
  }
  if (const auto* work = std::get_if<TokenWork>(&op)) {
    return work->target < 0 ? fmt::format("{} tokens", work->tokens) : fmt::format("b{}", work->target);
  }
  const auto* forward = std::get_if<Attention>(&op);
  const auto& blocks = forward != nullptr ? forward->blocks : std::get<AttentionBackward>(op).blocks;
  return fmt::format("{} blocks, {} pairs{}", blocks.size(), pairs_of(blocks),
                     forward != nullptr && forward->merge ? ", merge" : "");
}

}  // namespace

std::string to_text(const RankProgram& program) {
  std::string text = fmt::format("rank {}: arena {} bytes\n", program.rank, program.arena.count);
  for (std::size_t i = 0; i < program.buffers.size(); ++i) {
    const Buffer& buffer = program.buffers[i];
    if (buffer.is_message()) {
      fmt::format_to(std::back_inserter(text), "  b{} message of {} bytes at {}\n", i, buffer.rows,
                     buffer.arena_offset);
      continue;
    }
    fmt::format_to(std::back_inserter(text), "  b{} {} [{}, {}-{}, {}] {} at {}{}\n", i,
                   to_string(buffer.role), buffer.rows, buffer.heads.begin, buffer.heads.end, buffer.width,
                   to_string(buffer.type), buffer.arena_offset, buffer.persistent ? " persistent" : "");
  }
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    fmt::format_to(std::back_inserter(text), "  {}\n", to_string(pass));
    const auto& instructions = program.instructions(pass);
    for (std::size_t i = 0; i < instructions.size(); ++i) {
      const Instruction& instruction = instructions[i];
      fmt::format_to(std::back_inserter(text), "    {} s{} {}: {}", i, instruction.stream,
                     kind_name(instruction.op), describe(program, instruction.op));
      for (std::size_t w = 0; w < instruction.wait_for.size(); ++w) {
        fmt::format_to(std::back_inserter(text), "{}{}", w == 0 ? " after " : ",", instruction.wait_for[w]);
      }
      text += '\n';
    }
  }
  return text;
}

}  // namespace strata
