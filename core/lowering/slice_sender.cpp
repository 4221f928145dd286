// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/slice_sender.hpp"

#include "core/base/check.hpp"

namespace strata::detail {

Slice SliceSender::locate(TensorKind tensor, const TokenSpan& span, HeadRange heads, CopyRows& pack) {
  const bool output = tensor == TensorKind::o || tensor == TensorKind::o_part;
  if (output && rows_.accumulates()) return emit_output(span, heads);
  const HeldRows& held = rows_.held(tensor);
  held.head_parts(heads, head_parts_);
  if (head_parts_.size() == 1) {
    runs_.clear();
    held.resolve(span, heads, runs_);
    const BufferList buffers = rows_.buffers_of(tensor, runs_.front().group);
    const bool whole = runs_.size() == 1 && buffers.index[0] >= 0;
    if (whole && rows_.buffer(buffers.index[0]).heads == heads) return {buffers, runs_.front().row};
  }
  const Slice packed{rows_.add_wire_buffers(tensor, span.length(), heads, false), 0};
  for (const HeadRange part : head_parts_) {
    runs_.clear();
    held.resolve(span, part, runs_);
    for (const HeldRun& run : runs_) {
      const BufferList sources = rows_.buffers_of(tensor, run.group);
      for (std::size_t i = 0; i < sources.count; ++i) {
        STRATA_CHECK(sources.index[i] >= 0, "rank {} has no {} of document {} to send", rows_.rank(),
                     to_string(tensor), span.document);
        STRATA_CHECK(contains(rows_.buffer(sources.index[i]).heads, part),
                     "rank {}: a packed slice needs heads {}..{} of b{}", rows_.rank(), part.begin, part.end,
                     sources.index[i]);
        pack.copies.push_back({sources.index[i], packed.buffers.index[i], run.row,
                               run.span.begin - span.begin, run.span.length(), part});
      }
    }
  }
  return packed;
}

Slice SliceSender::emit_output(const TokenSpan& span, HeadRange heads) {
  const BufferList buffers = rows_.add_wire_buffers(TensorKind::o, span.length(), heads, false);
  MergePartials merge{buffers.index[0], buffers.index[1], {}};
  rows_.queries().head_parts(heads, head_parts_);
  for (const HeadRange part : head_parts_) {
    runs_.clear();
    rows_.queries().resolve(span, part, runs_);
    for (const HeldRun& run : runs_) {
      const QueryBuffers& group = rows_.query_group(run.group);
      merge.ranges.push_back(
          {run.span.begin - span.begin, run.span.length(), part, {{group.out, group.lse, run.row}}});
    }
  }
  rows_.builder().emit(std::move(merge), kComputeStream);
  return {buffers, 0};
}

std::vector<SentSlice> SliceSender::collect(const ScheduleStep& step, const StepShare& share,
                                            CopyRows& pack) {
  std::vector<SentSlice> slices;
  slices.reserve(share.sent.size() + share.given.size());
  for (const std::int32_t position : share.sent) {
    const Transfer& transfer = step.transfers[static_cast<std::size_t>(position)];
    slices.push_back({SliceShape::of(transfer, position), transfer.targets, -1,
                      locate(transfer.tensor, transfer.span, transfer.heads, pack)});
  }
  for (const std::int32_t position : share.given) {
    const Reduction& reduction = step.reductions[static_cast<std::size_t>(position)];
    const std::optional<Slice> passed = gradients_.emit_passed(reduction);
    slices.push_back({SliceShape::of(reduction, position),
                      {},
                      reduction.target,
                      passed ? *passed : locate(reduction.tensor, reduction.span, reduction.heads, pack)});
  }
  return slices;
}

}  // namespace strata::detail
