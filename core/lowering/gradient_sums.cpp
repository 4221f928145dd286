// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/gradient_sums.hpp"

#include <algorithm>
#include <limits>

#include "core/base/check.hpp"

namespace strata::detail {

namespace {

constexpr std::int32_t kNever = std::numeric_limits<std::int32_t>::max();

}  // namespace

void GradientSums::split_by_origin(const TokenSpan& span) {
  runs_.clear();
  rows_.own().find_held(span, rows_.query_heads(), runs_);
  std::int64_t row = span.begin;
  for (const HeldRun& run : runs_) {
    if (row < run.span.begin) {
      origins_.push_back({{span.document, row, run.span.begin}, Origin::relayed});
    }
    origins_.push_back({run.span, Origin::own});
    row = run.span.end;
  }
  if (row < span.end) origins_.push_back({{span.document, row, span.end}, Origin::relayed});
}

void GradientSums::begin_arrivals(std::int32_t step) {
  step_ = step;
  expected_.clear();
  origins_.clear();
}

void GradientSums::expect(const Reduction& reduction) {
  const std::size_t first = origins_.size();
  split_by_origin(reduction.span);
  expected_.push_back({&reduction, first, origins_.size()});
}

void GradientSums::add(std::size_t index, std::int32_t source, const Slice& place) {
  const Expected& expected = expected_[index];
  const Reduction& reduction = *expected.reduction;
  for (std::size_t i = expected.first_part; i < expected.end_part; ++i) {
    const OriginPart& part = origins_[i];
    waiting_.push_back({reduction.ready, step_, source, reduction.tensor, part.span, reduction.heads,
                        place.buffers.index[0], place.row + part.span.begin - reduction.span.begin,
                        part.origin});
  }
  next_ready_ = std::min(next_ready_, reduction.ready);
}

void GradientSums::emit_ready(std::int32_t step, Origin origin) {
  if (step < next_ready_) return;
  std::vector<Share> ready;
  next_ready_ = kNever;
  std::erase_if(waiting_, [&](const Share& share) {
    const bool taken = share.ready <= step && share.origin == origin;
    if (taken) ready.push_back(share);
    if (!taken) next_ready_ = std::min(next_ready_, share.ready);
    return taken;  // what is taken keeps the order of sums
  });
  AccumulateGradient sum;
  sum.additions.reserve(ready.size());
  for (const Share& share : ready) add_share(share, sum);
  if (!sum.additions.empty()) rows_.builder().emit(std::move(sum), kComputeStream);
}

void GradientSums::add_share(const Share& share, AccumulateGradient& sum) {
  const bool keys = share.tensor == TensorKind::dkv;
  const HeldRows& held = keys ? rows_.keys() : rows_.queries();
  held.head_parts(share.heads, head_parts_);
  for (const HeadRange part : head_parts_) {
    runs_.clear();
    held.find_held(share.span, part, runs_);
    std::int64_t row = share.span.begin;
    for (const HeldRun& run : runs_) {
      pass_on(share, part, row, run.span.begin);
      row = run.span.end;
      if (keys) rows_.create_key_gradient(run.group);
      const std::int32_t target = keys ? rows_.key_group(run.group).dkv : rows_.query_group(run.group).dq;
      STRATA_CHECK(target >= 0, "rank {} has no place for the gradient of document {}", rows_.rank(),
                   share.span.document);
      sum.additions.push_back({share.buffer, target, share.row + run.span.begin - share.span.begin, run.row,
                               run.span.length(), part});
    }
    pass_on(share, part, row, share.span.end);
  }
}

void GradientSums::pass_on(Share share, HeadRange heads, std::int64_t begin, std::int64_t end) {
  if (begin >= end) return;
  STRATA_CHECK(share.origin == Origin::relayed, "rank {} does not hold its rows {}..{} of document {}",
               rows_.rank(), begin, end, share.span.document);
  share.row += begin - share.span.begin;
  share.span.begin = begin;
  share.span.end = end;
  share.heads = heads;
  passed_[{share.tensor, share.span.document}].push_back(share);
}

std::optional<Slice> GradientSums::emit_passed(const Reduction& reduction) {
  const auto found = passed_.find({reduction.tensor, reduction.span.document});
  if (found == passed_.end()) return std::nullopt;
  std::vector<RowCopy> passed;
  for (const Share& share : found->second) {
    const TokenSpan rows = intersect(share.span, reduction.span);
    const HeadRange heads = intersect(share.heads, reduction.heads);
    if (rows.empty() || heads.count() <= 0) continue;
    passed.push_back({share.buffer, -1, share.row + rows.begin - share.span.begin,
                      rows.begin - reduction.span.begin, rows.length(), heads});
  }
  if (passed.empty()) return std::nullopt;
  const Slice packed{
      rows_.add_wire_buffers(reduction.tensor, reduction.span.length(), reduction.heads, false), 0};
  const std::int32_t target = packed.buffers.index[0];
  AccumulateGradient sum;
  append_own_sums(reduction, target, sum);
  for (RowCopy& addition : passed) {
    addition.target = target;
    sum.additions.push_back(addition);
  }
  rows_.emit_zero(target);
  rows_.builder().emit(std::move(sum), kComputeStream);
  return packed;
}

void GradientSums::append_own_sums(const Reduction& reduction, std::int32_t target, AccumulateGradient& sum) {
  rows_.keys().head_parts(reduction.heads, head_parts_);
  for (const HeadRange part : head_parts_) {
    runs_.clear();
    rows_.keys().find_held(reduction.span, part, runs_);
    for (const HeldRun& run : runs_) {
      const std::int32_t own_sum = rows_.key_group(run.group).dkv;
      if (own_sum < 0) continue;
      sum.additions.push_back(
          {own_sum, target, run.row, run.span.begin - reduction.span.begin, run.span.length(), part});
    }
  }
}

}  // namespace strata::detail
