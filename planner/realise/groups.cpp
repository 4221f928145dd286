// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/groups.hpp"

#include <numeric>

namespace strata {

namespace {

std::vector<GroupLayout> one_group(const WaveRequest& request, const char* dimension) {
  GroupLayout group;
  group.ranks.resize(static_cast<std::size_t>(request.rank_count));
  std::iota(group.ranks.begin(), group.ranks.end(), 0);
  group.dims = {{dimension, request.rank_count}};
  group.documents = request.documents;
  return {group};
}

}  // namespace

std::vector<GroupLayout> ring_group(const WaveRequest& request, const SequenceLayout&) {
  return one_group(request, "ring");
}

std::vector<GroupLayout> ulysses_group(const WaveRequest& request, const SequenceLayout&) {
  return one_group(request, "ulysses");
}

std::vector<GroupLayout> group_per_rank(const WaveRequest& request, const SequenceLayout& layout) {
  std::vector<GroupLayout> groups;
  for (std::int32_t rank = 0; rank < request.rank_count; ++rank) {
    GroupLayout group{{rank}, {{"ring", 1}}, {}};
    for (const TokenSpan& span : layout.spans[static_cast<std::size_t>(rank)]) {
      group.documents.push_back(span.document);
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

}  // namespace strata
