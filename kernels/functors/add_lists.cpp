// SPDX-License-Identifier: Apache-2.0
#include "kernels/functors/add_lists.hpp"

#include <algorithm>
#include <cstddef>
#include <map>

namespace strata::kernels {
namespace {

using Members = std::vector<const Addition*>;  // in the order listed

/// Calls visit(begin, end, members) for every maximal interval between two ends that some member covers.
template <class Begin, class Count, class Visit>
void for_each_piece(const Members& members, const Begin& begin, const Count& count, const Visit& visit) {
  std::map<std::int64_t, Members> starts;
  for (const Addition* each : members) {
    starts[begin(*each)].push_back(each);
    starts[begin(*each) + count(*each)];
  }
  Members active;
  for (auto here = starts.begin(); here != starts.end(); ++here) {
    const auto next = std::next(here);
    if (next == starts.end()) break;
    std::erase_if(active, [&](const Addition* a) { return begin(*a) + count(*a) <= here->first; });
    active.insert(active.end(), here->second.begin(), here->second.end());
    std::sort(active.begin(), active.end());  // addresses in one array: the order listed
    if (!active.empty()) visit(here->first, next->first, active);
  }
}

}  // namespace

AddList compile_additions(std::span<const Addition> additions, std::span<const AddTarget> targets) {
  std::map<std::int32_t, Members> by_array;
  for (const Addition& each : additions) {
    if (each.rows > 0 && each.columns > 0) by_array[each.array].push_back(&each);
  }
  AddList list;
  const auto column = [](const Addition& a) { return a.column; };
  const auto columns = [](const Addition& a) { return a.columns; };
  const auto row = [](const Addition& a) { return a.row; };
  const auto rows = [](const Addition& a) { return a.rows; };
  for (const auto& [array, members] : by_array) {
    const AddTarget& target = targets[static_cast<std::size_t>(array)];
    for_each_piece(members, column, columns, [&](std::int64_t left, std::int64_t right, const Members& some) {
      for_each_piece(some, row, rows, [&](std::int64_t top, std::int64_t bottom, const Members& parts) {
        AddRange range;
        range.target = reinterpret_cast<float*>(at_byte(target.data, top * target.stride + left * 4));
        range.target_stride = target.stride;
        range.columns = right - left;
        range.rows = bottom - top;
        range.part_begin = std::ssize(list.parts);
        range.part_count = static_cast<std::int32_t>(parts.size());
        for (const Addition* each : parts) {
          AddPart part = each->part;
          part.source = at_byte(part.source, (top - each->row) * part.source_stride +
                                                 (left - each->column) * bytes_of(part.element));
          list.parts.push_back(part);
        }
        list.ranges.push_back(range);
      });
    });
  }
  return list;
}

}  // namespace strata::kernels
