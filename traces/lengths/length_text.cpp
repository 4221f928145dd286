// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "core/base/counts.hpp"
#include "traces/lengths/length_statistics.hpp"

namespace strata {

namespace {

constexpr std::int64_t kBarWidth = 18;

/// part / total x `scale`, rounded half up.
std::int64_t scaled(SquaredTokens part, SquaredTokens total, std::int64_t scale) {
  const auto factor = static_cast<SquaredTokens>(scale);
  return static_cast<std::int64_t>((part * factor + total / 2) / total);
}

/// "12.3 %".
std::string percent(SquaredTokens part, SquaredTokens total) {
  const std::int64_t per_mille = scaled(part, total, 1000);
  return fmt::format("{}.{} %", per_mille / 10, per_mille % 10);
}

std::string one_decimal(SquaredTokens value, SquaredTokens divisor) {
  const std::int64_t tenths = scaled(value, divisor, 10);
  return fmt::format("{}.{}", human_count(tenths / 10), tenths % 10);
}

std::string short_tokens(std::int64_t tokens) {
  return tokens % 1024 == 0 ? fmt::format("{}K", tokens / 1024) : human_count(tokens);
}

SquaredTokens wide(std::int64_t value) { return static_cast<SquaredTokens>(value); }

/// Relative to the largest of its column; a dot when there is something but too little to draw.
std::string bar(SquaredTokens part, SquaredTokens largest) {
  const std::int64_t length = scaled(part, largest, kBarWidth);
  return length == 0 && part > 0 ? "." : std::string(static_cast<std::size_t>(length), '#');
}

std::string without_trailing_blanks(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

std::string to_text(const LengthStatistics& statistics) {
  const LengthStatistics& s = statistics;
  std::string text =
      fmt::format("documents {}   tokens {}\n", human_count(s.documents), human_count(s.tokens));
  text += fmt::format("shortest {}   longest {}   mean {}\n", human_count(s.shortest), human_count(s.longest),
                      one_decimal(wide(s.tokens), wide(s.documents)));
  text += fmt::format("p50 {}   p90 {}   p99 {}   p99.9 {}\n", human_count(s.p50), human_count(s.p90),
                      human_count(s.p99), human_count(s.p999));
  text += fmt::format("the longest 1 % ({}) hold {} of the attention work (sum of squares)\n",
                      counted(s.top_documents, "document"), percent(s.top_work, s.work));
  text +=
      fmt::format("{:<22}{:>14}{:>12}{:>12}{:>12}\n", "tokens", "documents", "documents", "tokens", "work");
  for (const LengthBand& band : s.bands) {
    const bool last = &band == &s.bands.back();
    const std::string range = last ? fmt::format("over {}", short_tokens(band.from - 1))
                                   : fmt::format("{} to {}", human_count(band.from), short_tokens(band.to));
    text += fmt::format("{:<22}{:>14}{:>12}{:>12}{:>12}\n", range, human_count(band.documents),
                        percent(wide(band.documents), wide(s.documents)),
                        percent(wide(band.tokens), wide(s.tokens)), percent(band.work, s.work));
  }
  return text;
}

std::string to_text(const PackingPreview& preview) {
  const PackingPreview& p = preview;
  std::string text =
      fmt::format("packs {} of up to {}   pieces per pack {} to {}, mean {}\n", human_count(p.packs),
                  counted(p.pack_tokens, "token"), human_count(p.fewest_pieces), human_count(p.most_pieces),
                  one_decimal(wide(p.pieces), wide(p.packs)));
  text += fmt::format("longest piece of a pack: p50 {}   p90 {}   max {}\n", human_count(p.longest_piece_p50),
                      human_count(p.longest_piece_p90), human_count(p.longest_piece));
  text += fmt::format("attention work: heaviest pack {} times the lightest\n",
                      one_decimal(p.heaviest_work, p.lightest_work));
  for (const GroupImbalance& group : p.imbalance) {
    if (group.groups == 0) continue;
    text +=
        fmt::format("of {} packs side by side the heaviest has {:.2f} times the mean work (worst {:.2f})\n",
                    group.group_packs, group.mean, group.worst);
  }
  if (p.cut_documents > 0 || p.leftover_tokens > 0) {
    text += fmt::format("documents cut at a pack's end: {}   tokens left over: {}\n",
                        human_count(p.cut_documents), human_count(p.leftover_tokens));
  }
  return text;
}

std::string histogram_text(const LengthStatistics& statistics) {
  const LengthStatistics& s = statistics;
  LengthBand largest;
  for (const LengthBand& octave : s.octaves) {
    largest.documents = std::max(largest.documents, octave.documents);
    largest.tokens = std::max(largest.tokens, octave.tokens);
    largest.work = std::max(largest.work, octave.work);
  }
  const auto column = [](SquaredTokens part, SquaredTokens total, SquaredTokens most) {
    return fmt::format("{:>8} {:<18}", percent(part, total), bar(part, most));
  };
  std::string text = fmt::format("{:>11}  {:>9}{:<18} {:>6}{:<21} attention work\n", "tokens from",
                                 "documents", "", "tokens", "");
  for (const LengthBand& octave : s.octaves) {
    const std::string line =
        fmt::format("{:>11}  {} {} {}", short_tokens(octave.from),
                    column(wide(octave.documents), wide(s.documents), wide(largest.documents)),
                    column(wide(octave.tokens), wide(s.tokens), wide(largest.tokens)),
                    column(octave.work, s.work, largest.work));
    text += without_trailing_blanks(line) + '\n';
  }
  return text;
}

}  // namespace strata
