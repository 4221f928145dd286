// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/partial_outputs.hpp"

#include <algorithm>
#include <tuple>

namespace strata::detail {

namespace {

template <typename Value>
void make_unique(std::vector<Value>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

/// Where `value`, which is one of the ascending `values`, stands among them.
template <typename Value>
std::size_t place_of(const std::vector<Value>& values, Value value) {
  return static_cast<std::size_t>(std::lower_bound(values.begin(), values.end(), value) - values.begin());
}

}  // namespace

void PartialOutputs::add(const TokenSpan& span, HeadRange heads, std::int32_t step, std::int32_t source,
                         const Slice& place) {
  parts_.push_back({span, heads, step, source, place.buffers.index[0], place.buffers.index[1], place.row});
}

void PartialOutputs::append_ranges(const TokenSpan& span, std::int64_t base,
                                   const std::vector<const Part*>& parts,
                                   std::vector<MergeRange>& ranges) const {
  std::vector<std::int64_t> rows{span.begin, span.end};
  std::vector<std::int32_t> heads{0, rows_.query_heads().end};
  for (const Part* part : parts) {
    const TokenSpan shared = intersect(part->span, span);
    rows.insert(rows.end(), {shared.begin, shared.end});
    heads.insert(heads.end(), {part->heads.begin, part->heads.end});
  }
  make_unique(rows);
  make_unique(heads);
  const QueryBuffers& own = rows_.query_group(0);
  const std::size_t first = ranges.size(), columns = heads.size() - 1;
  for (std::size_t r = 0; r + 1 < rows.size(); ++r) {
    for (std::size_t h = 0; h < columns; ++h) {
      const std::int64_t row = base + rows[r] - span.begin;
      ranges.push_back({row, rows[r + 1] - rows[r], {heads[h], heads[h + 1]}, {{own.out, own.lse, row}}});
    }
  }
  for (const Part* part : parts) {
    const TokenSpan shared = intersect(part->span, span);
    const std::size_t end_row = place_of(rows, shared.end), end_head = place_of(heads, part->heads.end);
    for (std::size_t r = place_of(rows, shared.begin); r < end_row; ++r) {
      for (std::size_t h = place_of(heads, part->heads.begin); h < end_head; ++h) {
        ranges[first + r * columns + h].parts.push_back(
            {part->out, part->lse, part->row + rows[r] - part->span.begin});
      }
    }
  }
}

std::vector<MergeRange> PartialOutputs::merge_ranges() {
  std::stable_sort(parts_.begin(), parts_.end(), [](const Part& a, const Part& b) {
    return std::tie(a.span.document, a.step, a.source) < std::tie(b.span.document, b.step, b.source);
  });
  std::vector<MergeRange> ranges;
  std::vector<const Part*> here;
  std::int64_t base = 0;
  for (const TokenSpan& span : rows_.wave().placement.spans[static_cast<std::size_t>(rows_.rank())]) {
    const auto before = [&](const Part& part) { return part.span.document < span.document; };
    here.clear();
    for (auto part = std::partition_point(parts_.begin(), parts_.end(), before);
         part != parts_.end() && part->span.document == span.document; ++part) {
      if (!intersect(part->span, span).empty()) here.push_back(&*part);
    }
    append_ranges(span, base, here, ranges);
    base += span.length();
  }
  return ranges;
}

CopyRows PartialOutputs::copies() const {
  CopyRows copies;
  std::vector<HeldRun> runs;
  const LocalBuffers& local = rows_.local();
  for (const Part& part : parts_) {
    runs.clear();
    rows_.own().resolve(part.span, rows_.query_heads(), runs);
    for (const HeldRun& run : runs) {
      const std::int64_t row = part.row + run.span.begin - part.span.begin;
      copies.copies.push_back({part.out, local.o, row, run.row, run.span.length(), part.heads});
      copies.copies.push_back({part.lse, local.lse, row, run.row, run.span.length(), part.heads});
    }
  }
  return copies;
}

void PartialOutputs::emit_result() {
  const LocalBuffers& local = rows_.local();
  if (rows_.accumulates() && rows_.local_rows() > 0) {
    rows_.builder().emit(MergePartials{local.o, local.lse, merge_ranges()}, kComputeStream);
  } else if (!parts_.empty()) {
    rows_.builder().emit(copies(), kComputeStream);
  }
}

}  // namespace strata::detail
