// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/slice_sender.hpp"

#include <optional>
#include <utility>

#include "core/base/check.hpp"

namespace strata::detail {

BufferList SliceSender::buffers_of(TensorKind tensor, const HeldRun& run, HeadRange heads) const {
  const BufferList buffers = rows_.buffers_of(tensor, run.group);
  for (const std::int32_t buffer : buffers) {
    STRATA_CHECK(buffer >= 0, "rank {} has no {} of document {} to send", rows_.rank(), to_string(tensor),
                 run.span.document);
    STRATA_CHECK(contains(rows_.buffer(buffer).heads, heads), "rank {}: a slice needs heads {}..{} of b{}",
                 rows_.rank(), heads.begin, heads.end, buffer);
  }
  return buffers;
}

void SliceSender::locate(TensorKind tensor, const TokenSpan& span, HeadRange heads,
                         std::vector<SlicePiece>& pieces) {
  const bool output = tensor == TensorKind::o || tensor == TensorKind::o_part;
  if (output && rows_.accumulates()) {
    pieces.push_back({emit_output(span, heads), span.length()});
    return;
  }
  const HeldRows& held = rows_.held(tensor);
  held.head_parts(heads, head_parts_);
  if (head_parts_.size() > 1) {
    pieces.push_back({gather(tensor, span, heads), span.length()});
    return;
  }
  runs_.clear();
  held.resolve(span, heads, runs_);
  for (const HeldRun& run : runs_) {
    pieces.push_back({{buffers_of(tensor, run, heads), run.row}, run.span.length()});
  }
}

Slice SliceSender::gather(TensorKind tensor, const TokenSpan& span, HeadRange heads) {
  const Slice whole{rows_.add_wire_buffers(tensor, span.length(), heads, false), 0};
  for (const HeadRange part : head_parts_) {
    runs_.clear();
    rows_.held(tensor).resolve(span, part, runs_);
    for (const HeldRun& run : runs_) {
      const BufferList sources = buffers_of(tensor, run, part);
      for (std::size_t i = 0; i < sources.count; ++i) {
        gather_.copies.push_back({sources.index[i], whole.buffers.index[i], run.row,
                                  run.span.begin - span.begin, run.span.length(), part});
      }
    }
  }
  return whole;
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

const SentSlices& SliceSender::collect(const ScheduleStep& step, const StepShare& share) {
  sent_.slices.clear();
  sent_.pieces.clear();
  for (const std::int32_t position : share.sent) {
    const Transfer& transfer = step.transfers[static_cast<std::size_t>(position)];
    const std::size_t first = sent_.pieces.size();
    locate(transfer.tensor, transfer.span, transfer.heads, sent_.pieces);
    sent_.slices.push_back(
        {SliceShape::of(transfer, position), transfer.targets, -1, first, sent_.pieces.size()});
  }
  for (const std::int32_t position : share.given) {
    const Reduction& reduction = step.reductions[static_cast<std::size_t>(position)];
    const std::size_t first = sent_.pieces.size();
    if (const std::optional<Slice> passed = gradients_.emit_passed(reduction)) {
      sent_.pieces.push_back({*passed, reduction.span.length()});
    } else {
      locate(reduction.tensor, reduction.span, reduction.heads, sent_.pieces);
    }
    sent_.slices.push_back(
        {SliceShape::of(reduction, position), {}, reduction.target, first, sent_.pieces.size()});
  }
  if (!gather_.copies.empty()) rows_.builder().emit(std::exchange(gather_, {}), kComputeStream);
  return sent_;
}

}  // namespace strata::detail
