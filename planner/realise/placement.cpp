// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/placement.hpp"

#include <algorithm>

#include "core/base/check.hpp"

namespace strata {

void append_span(SequenceLayout& layout, std::int32_t rank, const TokenSpan& span) {
  if (span.empty()) return;
  auto& spans = layout.spans[static_cast<std::size_t>(rank)];
  if (!spans.empty() && spans.back().document == span.document && spans.back().end == span.begin) {
    spans.back().end = span.end;
  } else {
    spans.push_back(span);
  }
}

void PackedRow::give(SequenceLayout& layout, std::int32_t rank, std::int64_t tokens) {
  while (tokens > 0) {
    STRATA_CHECK(index_ < request_.documents.size(), "{} tokens more than the wave holds were given out",
                 tokens);
    const std::int64_t taken = std::min(tokens, request_.lengths[index_] - offset_);
    append_span(layout, rank, {request_.documents[index_], offset_, offset_ + taken});
    tokens -= taken;
    offset_ += taken;
    if (offset_ == request_.lengths[index_]) {
      ++index_;
      offset_ = 0;
    }
  }
}

}  // namespace strata
