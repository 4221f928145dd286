// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/output_gradients.hpp"

#include <initializer_list>

namespace strata::detail {

std::optional<HeldRun> OutputGradients::beside_queries(const Transfer& transfer) {
  for (const HeldRows* held : std::initializer_list<const HeldRows*>{&incoming_, &rows_.queries()}) {
    runs_.clear();
    held->find_held(transfer.span, transfer.heads, runs_);
    if (runs_.size() != 1 || runs_.front().span != transfer.span) continue;
    const QueryBuffers& group = rows_.query_group(runs_.front().group);
    if (rows_.buffer(group.q).heads == transfer.heads) return runs_.front();
  }
  return std::nullopt;
}

void OutputGradients::place(const AttentionTask& task, CopyRows& copies) {
  const auto found = strays_.find(task.query.document);
  if (found == strays_.end()) return;
  std::vector<Stray>& strays = found->second;
  for (std::size_t i = 0; i < strays.size();) {
    const Stray stray = strays[i];
    const TokenSpan rows = intersect(stray.run.span, task.query);
    const HeadRange heads = intersect(stray.heads, task.heads);
    if (rows.empty() || heads.count() <= 0) {
      ++i;
      continue;
    }
    strays.erase(strays.begin() + static_cast<std::ptrdiff_t>(i));
    const auto keep = [&](HeadRange left_heads, std::int64_t begin, std::int64_t end) {
      if (left_heads.count() <= 0 || begin >= end) return;
      const std::int64_t row = stray.run.row + begin - stray.run.span.begin;
      strays.push_back({left_heads, {stray.run.group, row, {rows.document, begin, end}}});
    };
    keep(stray.heads, stray.run.span.begin, rows.begin);
    keep(stray.heads, rows.end, stray.run.span.end);
    keep({stray.heads.begin, heads.begin}, rows.begin, rows.end);
    keep({heads.end, stray.heads.end}, rows.begin, rows.end);
    copy_beside_queries({stray.run.group, stray.run.row + rows.begin - stray.run.span.begin, rows}, heads,
                        copies);
  }
  if (strays.empty()) strays_.erase(found);
}

void OutputGradients::copy_beside_queries(const HeldRun& from, HeadRange heads, CopyRows& copies) {
  rows_.queries().head_parts(heads, head_parts_);
  for (const HeadRange part : head_parts_) {
    runs_.clear();
    rows_.queries().resolve(from.span, part, runs_);
    for (const HeldRun& run : runs_) {
      rows_.create_query_gradient(run.group);
      const BufferList sources = rows_.buffers_of(TensorKind::d_o, from.group);
      const BufferList targets = rows_.buffers_of(TensorKind::d_o, run.group);
      for (std::size_t i = 0; i < sources.count; ++i) {
        copies.copies.push_back({sources.index[i], targets.index[i],
                                 from.row + run.span.begin - from.span.begin, run.row, run.span.length(),
                                 part});
      }
    }
  }
}

}  // namespace strata::detail
