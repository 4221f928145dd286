// SPDX-License-Identifier: Apache-2.0
// What a misspelt name was probably meant to be, for messages that say "did you mean".
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace strata {

/// The candidate that `name` is most likely a misspelling of; empty when none is near enough to be offered.
/// Upper case, '-' and '_' make no difference. Of equally near candidates the first one is taken. A name that
/// is the beginning of one candidate, at least three characters of it, stands for that one.
std::string_view closest_name(std::string_view name, const std::vector<std::string_view>& candidates);

/// "; did you mean 'ring'?", to stand behind what was expected, or nothing.
std::string did_you_mean(std::string_view name, const std::vector<std::string_view>& candidates);

/// The same for candidates that a message lists, separated by ", ".
std::string did_you_mean_listed(std::string_view name, std::string_view listed);

/// Views of a list of names, which must outlive them.
template <typename Names>
std::vector<std::string_view> names_of(const Names& names) {
  return {std::begin(names), std::end(names)};
}

}  // namespace strata
