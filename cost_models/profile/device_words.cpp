// SPDX-License-Identifier: Apache-2.0
#include "cost_models/profile/device_words.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

namespace strata {

namespace {

bool is_digit(char letter) { return std::isdigit(static_cast<unsigned char>(letter)) != 0; }

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false;
  for (const char letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    if (std::isalnum(byte) == 0) {
      inside = false;
      continue;
    }
    if (!inside) words.emplace_back();
    words.back() += static_cast<char>(std::tolower(byte));
    inside = true;
  }
  return words;
}

/// "gpu3", "device", "7": a number among its like, whatever they are.
bool only_counts(const std::string& word) {
  constexpr std::array<std::string_view, 5> kCounters = {"", "gpu", "device", "dev", "accelerator"};
  std::string_view letters = word;
  while (!letters.empty() && is_digit(letters.back())) letters.remove_suffix(1);
  return std::find(kCounters.begin(), kCounters.end(), letters) != kCounters.end();
}

bool word_matches(std::string_view word, std::string_view pattern) {
  const bool open = pattern.ends_with('*');
  if (open) pattern.remove_suffix(1);
  if (!word.starts_with(pattern)) return false;
  word.remove_prefix(pattern.size());
  return open || std::all_of(word.begin(), word.end(), is_digit);
}

bool any_word_matches(const std::vector<std::string>& words, std::string_view pattern) {
  return std::any_of(words.begin(), words.end(),
                     [&](const std::string& word) { return word_matches(word, pattern); });
}

}  // namespace

std::vector<std::string> device_words(const Topology& topology, std::int32_t device) {
  const std::string& name = topology.devices[static_cast<std::size_t>(device)].name;
  const std::size_t dot = name.rfind('.');
  std::vector<std::string> words = words_of(dot == std::string::npos ? name : name.substr(dot + 1));
  return std::all_of(words.begin(), words.end(), only_counts) ? words_of(topology.name) : words;
}

bool words_match(const std::vector<std::string>& words, const std::vector<std::string>& patterns) {
  bool matched = false;
  for (const std::string& pattern : patterns) {
    const bool refuses = pattern.starts_with('!');
    if (!any_word_matches(words, std::string_view(pattern).substr(refuses ? 1 : 0))) continue;
    if (refuses) return false;
    matched = true;
  }
  return matched;
}

bool is_cpu(const Topology& topology, std::int32_t device) {
  return words_match(device_words(topology, device), {"cpu"});
}

}  // namespace strata
