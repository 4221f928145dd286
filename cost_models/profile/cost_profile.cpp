// SPDX-License-Identifier: Apache-2.0
#include "cost_models/profile/cost_profile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdlib>
#include <span>
#include <tuple>

#include "core/base/check.hpp"

namespace strata {
namespace {

/// log2 of a positive length, taken as linear between powers of two.
double octaves(std::int64_t length) {
  STRATA_CHECK(length >= 1, "a table has the length {}", length);
  const auto whole = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(length))) - 1;
  return whole - 1 + static_cast<double>(length) / static_cast<double>(std::int64_t{1} << whole);
}

/// Where a length falls between the points of an axis: value = (1 - part) * at[low] + part * at[low + 1].
struct AxisPosition {
  std::size_t low = 0;
  double part = 0;
  bool outside = false;
};

AxisPosition locate(std::span<const std::int64_t> axis, std::int64_t length) {
  if (length <= axis.front()) return {0, 0, length < axis.front()};
  if (length >= axis.back()) return {axis.size() - 1, 0, length > axis.back()};
  const auto above = std::upper_bound(axis.begin(), axis.end(), length);
  const double from = octaves(*(above - 1));
  const auto low = static_cast<std::size_t>(above - axis.begin()) - 1;
  return {low, (octaves(length) - from) / (octaves(*above) - from), false};
}

double blend(double a, double b, double part) { return part == 0 ? a : a + (b - a) * part; }

void check_axis(std::span<const std::int64_t> axis, const std::string& where) {
  if (axis.empty()) throw InputError(where, "no lengths", "at least one");
  for (std::size_t i = 0; i < axis.size(); ++i) {
    if (axis[i] < 1 || axis[i] > (std::int64_t{1} << 40)) {
      throw InputError(where, fmt::format("length {}", axis[i]), "lengths from 1 to 2^40");
    }
    if (i > 0 && axis[i - 1] >= axis[i]) {
      throw InputError(where, fmt::format("{} after {}", axis[i], axis[i - 1]), "ascending lengths");
    }
  }
}

void check_values(std::span<const double> values, std::size_t expected, const std::string& where) {
  if (values.size() != expected) {
    throw InputError(where, fmt::format("{} values", values.size()),
                     fmt::format("{}, one per combination of lengths", expected));
  }
  for (const double value : values) {
    if (!(value > 0)) throw InputError(where, fmt::format("{}", value), "times above 0");
  }
}

auto sort_key(const AttentionTable& table) {
  return std::tuple(table.pass, table.element_type, table.head_dim, table.value_head_dim);
}

void check_table(const AttentionTable& table, const std::string& where) {
  if (table.head_dim < 1 || table.value_head_dim < 1 || table.tile_rows < 1) {
    throw InputError(where,
                     fmt::format("head_dim {}, value_head_dim {}, tile_rows {}", table.head_dim,
                                 table.value_head_dim, table.tile_rows),
                     "positive sizes");
  }
  if (!(table.launch_ns >= 0) || !(table.tile_ns >= 0)) {
    throw InputError(where, fmt::format("launch_ns {}, tile_ns {}", table.launch_ns, table.tile_ns),
                     "times of at least 0");
  }
  check_axis(table.full.query_lengths, where + ".full.query_lengths");
  check_axis(table.full.key_lengths, where + ".full.key_lengths");
  check_values(table.full.ns_per_pair, table.full.query_lengths.size() * table.full.key_lengths.size(),
               where + ".full.ns_per_pair");
  check_axis(table.diagonal_lengths, where + ".diagonal.lengths");
  check_values(table.diagonal_ns_per_pair, table.diagonal_lengths.size(), where + ".diagonal.ns_per_pair");
}

void check_at_least(double value, double least, const std::string& where) {
  if (!(value >= least)) throw InputError(where, fmt::format("{}", value), fmt::format("at least {}", least));
}

void check_positive(double value, const std::string& where) {
  if (!(value > 0)) throw InputError(where, fmt::format("{}", value), "more than 0");
}

void check_rows(const RowRate& rate, const std::string& where) {
  check_at_least(rate.launch_ns, 0, where + ".launch_ns");
  check_at_least(rate.range_ns, 0, where + ".range_ns");
  check_positive(rate.bytes_per_second, where + ".bytes_per_second");
}

void check_coverage(const CostProfile& profile, const std::string& root) {
  const ProfileCoverage tables = table_coverage(profile.attention);
  const auto expect = [&](bool same, const char* what) {
    if (same) return;
    throw InputError(fmt::format("{}: covers.{}", root, what), coverage_text(profile.covers),
                     "what the attention tables hold: " + coverage_text(tables));
  };
  expect(profile.covers.element_types == tables.element_types, "element_types");
  expect(profile.covers.head_dims == tables.head_dims, "head_dims");
  const std::vector<std::string>& devices = profile.covers.devices;
  if (devices.empty()) throw InputError(root + ": covers.devices", "no pattern", "at least one");
  for (std::size_t i = 0; i < devices.size(); ++i) {
    std::string_view pattern = devices[i];
    if (pattern.starts_with('!')) pattern.remove_prefix(1);
    if (pattern.ends_with('*')) pattern.remove_suffix(1);
    if (!pattern.empty() &&
        pattern.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") == std::string_view::npos) {
      continue;
    }
    throw InputError(fmt::format("{}: covers.devices[{}]", root, i), fmt::format("'{}'", devices[i]),
                     "lower-case letters and digits, such as h100, h100* or !pcie");
  }
}

/// A day of the calendar, as YYYY-MM-DD.
bool is_date(std::string_view text) {
  constexpr std::string_view kForm = "dddd-dd-dd";
  if (text.size() != kForm.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kForm[i] == 'd' ? !digit : text[i] != kForm[i]) return false;
  }
  const auto number = [&](std::size_t begin, std::size_t count) {
    int value = 0;
    for (const char digit : text.substr(begin, count)) value = 10 * value + (digit - '0');
    return value;
  };
  const std::chrono::year year(number(0, 4));
  const std::chrono::month month(static_cast<unsigned>(number(5, 2)));
  return std::chrono::year_month_day(year, month, std::chrono::day(static_cast<unsigned>(number(8, 2)))).ok();
}

/// A claim of having measured says what, when, on how many samples and how well; nobody else can.
void check_provenance(const ProfileProvenance& provenance, const std::string& where) {
  const bool has_digest =
      provenance.samples_digest.size() == 32 &&
      provenance.samples_digest.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!provenance.samples_digest.empty() && !has_digest) {
    throw InputError(where + ".samples.digest", "'" + provenance.samples_digest + "'",
                     "32 hexadecimal digits");
  }
  if (!provenance.measured) return;
  const auto needs = [&](bool there, const char* field, const std::string& found, const char* expected) {
    if (there) return;
    throw InputError(fmt::format("{}.{}", where, field), found,
                     fmt::format("{}, because measured is true", expected));
  };
  needs(!provenance.device.empty(), "device", "an empty text", "the device that was measured");
  needs(is_date(provenance.date), "date", "'" + provenance.date + "'", "a date such as 2026-11-21");
  needs(provenance.samples > 0, "samples.count", fmt::format("{}", provenance.samples), "at least 1");
  needs(has_digest, "samples.digest", "'" + provenance.samples_digest + "'", "32 hexadecimal digits");
  needs(provenance.quality.has_value(), "quality", "null", "the error on held-out measurements and the load");
}

}  // namespace

AttentionTableChoice find_attention_table(const CostProfile& profile, Pass pass, ElementType type,
                                          std::int32_t head_dim, std::int32_t value_head_dim) {
  const AttentionTable* best = nullptr;
  const auto distance = [&](const AttentionTable& table) {
    return std::tuple(table.element_type != type, element_bytes(table.element_type) != element_bytes(type),
                      std::abs(table.head_dim - head_dim), std::abs(table.value_head_dim - value_head_dim));
  };
  for (const AttentionTable& table : profile.attention) {
    if (table.pass == pass && (best == nullptr || distance(table) < distance(*best))) best = &table;
  }
  STRATA_CHECK(best != nullptr, "profile '{}' has no table for {} attention", profile.name, to_string(pass));
  if (distance(*best) == std::tuple(false, false, 0, 0)) return {best, 1, false};
  const double scale = static_cast<double>(head_dim + value_head_dim) /
                       static_cast<double>(best->head_dim + best->value_head_dim);
  return {best, scale, true};
}

Lookup full_ns_per_pair(const AttentionTable& table, std::int64_t query_length, std::int64_t key_length) {
  const AxisPosition query = locate(table.full.query_lengths, query_length);
  const AxisPosition key = locate(table.full.key_lengths, key_length);
  const std::size_t keys = table.full.key_lengths.size();
  const auto row = [&](std::size_t q) {
    const double* values = table.full.ns_per_pair.data() + q * keys + key.low;
    return blend(values[0], key.part == 0 ? 0 : values[1], key.part);
  };
  return {blend(row(query.low), query.part == 0 ? 0 : row(query.low + 1), query.part),
          query.outside || key.outside};
}

Lookup diagonal_ns_per_pair(const AttentionTable& table, std::int64_t length) {
  const AxisPosition position = locate(table.diagonal_lengths, length);
  const double* values = table.diagonal_ns_per_pair.data() + position.low;
  return {blend(values[0], position.part == 0 ? 0 : values[1], position.part), position.outside};
}

double best_ns_per_pair(const AttentionTable& table) {
  return std::min(*std::min_element(table.full.ns_per_pair.begin(), table.full.ns_per_pair.end()),
                  *std::min_element(table.diagonal_ns_per_pair.begin(), table.diagonal_ns_per_pair.end()));
}

void validate(const CostProfile& profile, std::string_view where) {
  const std::string root(where);
  bool passes[2] = {false, false};
  for (std::size_t i = 0; i < profile.attention.size(); ++i) {
    const AttentionTable& table = profile.attention[i];
    const std::string place = fmt::format("{}: attention[{}]", root, i);
    check_table(table, place);
    if (i > 0 && !(sort_key(profile.attention[i - 1]) < sort_key(table))) {
      throw InputError(place, "a table out of order or given twice",
                       "tables sorted by pass, element type, head_dim, value_head_dim");
    }
    passes[static_cast<int>(table.pass)] = true;
  }
  if (!passes[0] || !passes[1]) {
    throw InputError(root + ": attention", passes[0] ? "no backward table" : "no forward table",
                     "at least one table per pass");
  }
  check_coverage(profile, root);
  check_provenance(profile.provenance, root + ": provenance");
  check_rows(profile.copy, root + ": rows.copy");
  check_rows(profile.merge, root + ": rows.merge");
  check_rows(profile.add, root + ": rows.add");
  check_rows(profile.cast, root + ": rows.cast");
  check_rows(profile.delta, root + ": rows.delta");
  check_rows(profile.zero, root + ": rows.zero");
  check_at_least(static_cast<double>(profile.row_chunk_bytes), 0, root + ": rows.chunk_bytes");
  check_positive(profile.linear_flops_per_second, root + ": linear_flops_per_second");
  check_at_least(profile.memory_bytes_per_second, 0, root + ": memory_bytes_per_second");
  constexpr double kMostBytesPerSecond = 1e17;  // more than the simulator can share out
  if (profile.memory_bytes_per_second > kMostBytesPerSecond) {
    throw InputError(root + ": memory_bytes_per_second", fmt::format("{}", profile.memory_bytes_per_second),
                     fmt::format("at most {}", kMostBytesPerSecond));
  }
  check_at_least(profile.exchange.launch_ns, 0, root + ": exchange.launch_ns");
  check_at_least(profile.exchange.part_ns, 0, root + ": exchange.part_ns");
  check_at_least(profile.exchange.peer_bytes_per_second, 0, root + ": exchange.peer_bytes_per_second");
  check_positive(profile.exchange.copy_units, root + ": exchange.copy_units");
  check_at_least(profile.exchange.communication_units, 0, root + ": exchange.communication_units");
}

}  // namespace strata
