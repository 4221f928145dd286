// SPDX-License-Identifier: Apache-2.0
#include "traces/lengths/length_rows.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "traces/lengths/line_reader.hpp"

namespace strata {

namespace {

/// That a histogram may stand for: 2^25 lengths are 256 MiB, and there are some copies of them.
constexpr std::int64_t kMostDocuments = std::int64_t{1} << 25;
/// Rows may all have other keys.
constexpr std::size_t kMostNames = 256;

std::int64_t drop_zeros(std::vector<std::int64_t>& lengths) {
  return static_cast<std::int64_t>(std::erase(lengths, 0));
}

}  // namespace

void KeyLedger::add(std::vector<std::string>& names, std::string_view key) {
  if (names.size() > kMostNames || std::find(names.begin(), names.end(), key) != names.end()) return;
  names.emplace_back(names.size() == kMostNames ? "..." : key);
}

std::vector<std::string> KeyLedger::unused() const {
  std::vector<std::string> names;
  for (const std::string& key : left_) {
    if (std::find(used_.begin(), used_.end(), key) == used_.end()) names.push_back(key);
  }
  return names;
}

void RowCollector::drop_empty(LengthRow& row) {
  for (auto& pack : row.packs) empty_documents_ += drop_zeros(pack);
  empty_rows_ += static_cast<std::int64_t>(
      std::erase_if(row.packs, [](const std::vector<std::int64_t>& pack) { return pack.empty(); }));
}

void RowCollector::count(const LengthRow& row, const std::string& where) {
  if (row.data_rank) ++data_ranks_[*row.data_rank];
  if (!row.row_key.empty()) row_key_ = row.row_key;
  if (row.measured_ms) {
    least_ms_ = measured_rows_ == 0 ? *row.measured_ms : std::min(least_ms_, *row.measured_ms);
    most_ms_ = std::max(most_ms_, *row.measured_ms);
    ++measured_rows_;
  }
  for (const std::int64_t document : row.padded) padded_document_ = documents_ + document;
  idle_ += std::ssize(row.idle_at_cp2);
  for (const std::int64_t document : row.idle_at_cp2) idle_document_ = documents_ + document;
  padded_ += std::ssize(row.padded);
  padding_ += row.padding * row.copies;
  std::int64_t documents = 0;
  for (const auto& pack : row.packs) documents += std::ssize(pack);
  if (row.copies <= kMostDocuments) documents_ += documents * row.copies;
  if (row.copies > 1 && (row.copies > kMostDocuments || documents_ > kMostDocuments)) {
    throw InputError(where, fmt::format("more than {}", counted(kMostDocuments, "document")), "fewer");
  }
}

void RowCollector::add(LengthRow row, const std::string& where) {
  ++rows_;
  count(row, where);
  drop_empty(row);
  if (row.packs.empty()) {
    empty_steps_ += row.kind == RowKind::step || row.kind == RowKind::free_documents ? 1 : 0;
    return;
  }
  const auto differ = [](RowKind a, RowKind b) {
    const bool may_mix = a == RowKind::maybe_pack || b == RowKind::maybe_pack;
    return !may_mix && (a == RowKind::document) != (b == RowKind::document);
  };
  if (!first_) first_ = row.kind;
  if (differ(*first_, row.kind)) {
    throw InputError(where, "a row of packs among rows of a document each, or the other way round",
                     "rows of one kind");
  }
  const bool own_form = row.kind == RowKind::step || row.kind == RowKind::free_documents;
  if (!own_form && numbered_.value_or(row.step.has_value()) != row.step.has_value()) {
    throw InputError(where, row.step ? "a number of the step" : "no number of the step",
                     "it in every row or in none, as in the first");
  }
  if (!own_form) numbered_ = row.step.has_value();
  hold(std::move(row));
}

void RowCollector::hold(LengthRow row) {
  if (row.kind == RowKind::document && held_.empty()) {
    singles_.push_back({row.packs[0][0], row.copies, row.step.value_or(0)});
    return;
  }
  for (const Single& single : singles_) {
    LengthRow& before = held_.emplace_back();
    before.packs = {{single.tokens}};
    before.copies = single.copies;
    if (numbered_.value_or(false)) before.step = single.step;
  }
  singles_.clear();
  several_ |= row.kind == RowKind::maybe_pack && row.packs[0].size() > 1;
  held_.push_back(std::move(row));
}

/// Free documents: all in one list, or those with one number of the step together.
void RowCollector::finish_documents(LengthSource& source) {
  for (const LengthRow& row : held_) singles_.push_back({row.packs[0][0], row.copies, row.step.value_or(0)});
  std::map<std::int64_t, std::size_t> steps;
  source.whole_steps = numbered_.value_or(false);
  for (const Single& single : singles_) {
    std::vector<std::int64_t>* target = &source.lengths;
    if (source.whole_steps) {
      const auto [place, added] = steps.try_emplace(single.step, source.batches.size());
      if (added) source.batches.push_back({single.step, false, {{}}});
      target = &source.batches[place->second].packs[0];
    }
    target->insert(target->end(), static_cast<std::size_t>(single.copies), single.tokens);
  }
}

/// Packs of one number of the step form that step.
void RowCollector::finish_batches(LengthSource& source) {
  std::map<std::int64_t, std::size_t> steps;
  std::int64_t index = 0;
  for (LengthRow& row : held_) {
    const bool pack = row.kind != RowKind::step && row.kind != RowKind::free_documents;
    source.whole_steps |= !pack;
    const std::int64_t number = row.step.value_or(index++);
    if (pack && row.step) {
      const auto [place, added] = steps.try_emplace(number, source.batches.size());
      if (!added) {
        source.batches[place->second].packs.push_back(std::move(row.packs[0]));
        source.whole_steps = true;
        continue;
      }
    }
    source.batches.push_back({number, row.kind != RowKind::free_documents, std::move(row.packs)});
  }
}

std::vector<std::string> RowCollector::notes() const {
  std::vector<std::string> notes;
  if (padded_ == 1) {
    notes.push_back(
        fmt::format("padding: {}, all in document {}", counted(padding_, "token"), padded_document_));
  } else if (padded_ > 1) {
    notes.push_back(
        fmt::format("padding: {}, in {}", counted(padding_, "token"), counted(padded_, "document")));
  }
  if (idle_ > 0) {
    const std::string where =
        idle_ == 1 ? fmt::format("of document {}", idle_document_) : "of " + counted(idle_, "document");
    notes.push_back(fmt::format(
        "padding: second half of rank 0 {} is all padding at cp 2, split zigzag at the padded length",
        where));
  }
  if (empty_documents_ > 0) notes.push_back(counted(empty_documents_, "document") + " of 0 tokens skipped");
  if (empty_steps_ > 0) notes.push_back(counted(empty_steps_, "step") + " without documents skipped");
  if (empty_rows_ > 0) notes.push_back(counted(empty_rows_, "empty pack") + " skipped");
  if (!data_ranks_.empty()) {
    notes.push_back(fmt::format("dp_rank is not used: the rows of {} run one after another, not side by side",
                                counted(std::ssize(data_ranks_), "data-parallel rank")));
  }
  if (!row_key_.empty())
    notes.push_back(fmt::format("{} is not used: rows keep the order of the file", row_key_));
  if (measured_rows_ > 0) {
    const std::string range = least_ms_ == most_ms_ ? fmt::format("{} ms", least_ms_)
                                                    : fmt::format("{} to {} ms", least_ms_, most_ms_);
    notes.push_back(fmt::format("measured_ms is not compared with any prediction: {} in {}", range,
                                counted(measured_rows_, "row")));
  }
  return notes;
}

LengthSource RowCollector::finish() && {
  LengthSource source;
  const bool documents = std::all_of(held_.begin(), held_.end(), [&](const LengthRow& row) {
    return row.kind == RowKind::document || (row.kind == RowKind::maybe_pack && !several_);
  });
  documents ? finish_documents(source) : finish_batches(source);
  source.padding_tokens = padding_;
  source.notes = notes();
  return source;
}

}  // namespace strata
