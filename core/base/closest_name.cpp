// SPDX-License-Identifier: Apache-2.0
#include "core/base/closest_name.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace strata {

namespace {

constexpr std::size_t kLongestName = 64;
constexpr std::size_t kShortestBeginning = 3;

std::string folded(std::string_view name) {
  std::string text(name);
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '-') c = '_';
  }
  return text;
}

/// Insertions, deletions, replacements and swaps of neighbours between two names, no part edited twice
/// (optimal string alignment: L. Boytsov, "Indexing methods for approximate dictionary searching", 2011).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before, last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  before = last;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({replaced, last[j] + 1, row[j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

/// Edits after which a name is still taken for the candidate: short names differ by little from many, as cpu
/// does from gpu.
std::size_t most_edits(std::size_t length, std::size_t candidate_length) {
  constexpr std::size_t kShortest = 4, kShort = 5;
  if (length < kShort) return std::max(length, candidate_length) < kShortest ? 0 : 1;
  return std::max<std::size_t>(2, length / 3);
}

}  // namespace

std::string_view closest_name(std::string_view name, const std::vector<std::string_view>& candidates) {
  if (name.empty() || name.size() > kLongestName) return {};
  const std::string meant = folded(name);
  std::string_view best, beginning;
  std::size_t least = kLongestName, begun = 0;
  for (const std::string_view candidate : candidates) {
    const std::string text = folded(candidate);
    if (meant.size() >= kShortestBeginning && text.starts_with(meant)) beginning = candidate, ++begun;
    const std::size_t distance = edit_distance(meant, text);
    if (distance > most_edits(meant.size(), text.size())) continue;
    // A name of other letters altogether is no misspelling, however short.
    if (distance < least && distance < text.size()) best = candidate, least = distance;
  }
  return best.empty() && begun == 1 ? beginning : best;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string_view>& candidates) {
  const std::string_view best = closest_name(name, candidates);
  return best.empty() ? std::string() : fmt::format("; did you mean '{}'?", best);
}

std::string did_you_mean_listed(std::string_view name, std::string_view listed) {
  constexpr std::string_view kBetween = ", ";
  std::vector<std::string_view> candidates;
  for (auto end = listed.find(kBetween); end != std::string_view::npos; end = listed.find(kBetween)) {
    candidates.push_back(listed.substr(0, end));
    listed.remove_prefix(end + kBetween.size());
  }
  candidates.push_back(listed);
  return did_you_mean(name, candidates);
}

}  // namespace strata
