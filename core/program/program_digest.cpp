// SPDX-License-Identifier: Apache-2.0
#include "core/program/program_digest.hpp"

#include <bit>
#include <cstdint>

#include "core/base/digest.hpp"
#include "core/base/parallel_for.hpp"

namespace strata {

namespace {

/// Two numbers below 2^32, as buffers, ranks, heads and rows are, in one word.
std::uint64_t both(std::int64_t a, std::int64_t b) {
  return std::rotl(static_cast<std::uint64_t>(a), 32) ^ static_cast<std::uint64_t>(b);
}

void add(Digest& digest, HeadRange heads) {
  digest.add(heads.begin);
  digest.add(heads.end);
}

void add(Digest& digest, const Exchange& exchange) {
  digest.add(exchange.step);
  digest.add(exchange.lane);
  for (const auto* parts : {&exchange.sends, &exchange.receives}) {
    digest.add(parts->size());
    for (const ExchangePart& part : *parts) {
      digest.add_pair(both(part.peer, part.buffer), both(part.row, part.row_count));
    }
  }
}

void add(Digest& digest, const Collective& collective) {
  digest.add(collective.kind);
  add(digest, collective.exchange);
}

void add(Digest& digest, const std::vector<RowCopy>& copies) {
  digest.add(copies.size());
  for (const RowCopy& copy : copies) {
    digest.add_pair(both(copy.source, copy.target), both(copy.source_row, copy.target_row));
    digest.add_pair(static_cast<std::uint64_t>(copy.row_count), both(copy.heads.begin, copy.heads.end));
  }
}

void add(Digest& digest, const CopyRows& copy) { add(digest, copy.copies); }
void add(Digest& digest, const AccumulateGradient& sum) { add(digest, sum.additions); }

template <typename AttentionLike>
void add_attention(Digest& digest, const AttentionLike& attention) {
  for (const QueryBuffers& query : attention.queries) {
    for (const std::int32_t b : {query.q, query.out, query.lse, query.d_o, query.delta, query.dq})
      digest.add(b);
  }
  for (const KeyBuffers& key : attention.keys) {
    digest.add(key.kv);
    digest.add(key.dkv);
  }
  digest.add(attention.blocks.size());
  for (const AttentionBlock& block : attention.blocks) {
    digest.add(both(block.query_source, block.key_source));
    for (const std::int64_t value : {block.query_begin, block.query_count, block.key_begin, block.key_count,
                                     block.lo, block.hi, block.key_stride}) {
      digest.add(value);
    }
    add(digest, block.heads);
  }
}

void add(Digest& digest, const Attention& attention) {
  digest.add(attention.merge);
  add_attention(digest, attention);
}
void add(Digest& digest, const AttentionBackward& attention) { add_attention(digest, attention); }

void add(Digest& digest, const MergePartials& merge) {
  digest.add(merge.out);
  digest.add(merge.lse);
  digest.add(merge.ranges.size());
  for (const MergeRange& range : merge.ranges) {
    digest.add(range.row);
    digest.add(range.row_count);
    add(digest, range.heads);
    digest.add(range.parts.size());
    for (const MergeRange::Part& part : range.parts) {
      digest.add(part.out);
      digest.add(part.lse);
      digest.add(part.row);
    }
  }
}

void add(Digest& digest, const TokenWork& work) {
  digest.add(work.kind);
  digest.add(work.tokens);
  digest.add(static_cast<std::int64_t>(work.flops.count));
  for (const std::int32_t buffer : {work.target, work.source, work.other}) digest.add(buffer);
}

}  // namespace

std::string program_digest(const RankProgram& program) {
  Digest digest;
  digest.add(program.rank);
  digest.add(program.lane_count);
  digest.add(program.element_type);
  digest.add(program.arena.count);
  for (const Buffer& buffer : program.buffers) {
    digest.add(buffer.role);
    digest.add(buffer.type);
    digest.add(buffer.rows);
    add(digest, buffer.heads);
    digest.add(buffer.width);
    digest.add(buffer.persistent);
    digest.add(buffer.arena_offset);
  }
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    const auto& instructions = program.instructions(pass);
    digest.add(instructions.size());
    for (const Instruction& instruction : instructions) {
      digest.add(instruction.op.index());
      std::visit([&](const auto& op) { add(digest, op); }, instruction.op);
      digest.add(instruction.stream);
      digest.add(instruction.wait_for.size());
      for (const std::int32_t wait : instruction.wait_for) digest.add(wait);
    }
  }
  return digest.text();
}

std::vector<std::string> program_digests(const std::vector<RankProgram>& programs) {
  std::vector<std::string> digests(programs.size());
  parallel_for(static_cast<std::int64_t>(programs.size()), 0, [&](std::int64_t rank) {
    digests[static_cast<std::size_t>(rank)] = program_digest(programs[static_cast<std::size_t>(rank)]);
  });
  return digests;
}

}  // namespace strata
