// SPDX-License-Identifier: Apache-2.0
// Rows of a file (JSON objects, records of a CSV), each with the documents that it holds, and how rows become
// a LengthSource. What a row's keys mean is in batch_keys.hpp.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/json/json_document.hpp"
#include "traces/lengths/document_lists.hpp"
#include "traces/lengths/length_source.hpp"

namespace strata {

enum class RowKind {
  document,        ///< one document, free
  maybe_pack,      ///< one document, a pack where other rows of the file hold several
  pack,            ///< the documents of a fixed pack
  free_documents,  ///< documents that may be packed anywhere
  step             ///< a whole step of fixed packs
};

struct LengthRow {
  RowKind kind = RowKind::document;
  /// One unless `kind` is step. The collector drops lengths of 0.
  std::vector<std::vector<std::int64_t>> packs;
  std::int64_t copies = 1;
  std::int64_t padding = 0;          ///< tokens
  std::vector<std::int64_t> padded;  ///< documents that have padding of their own
  /// Those of them whose padding is at least the last of four equal pieces. Frameworks that split a padded
  /// document zigzag give that piece to rank 0 of two, as its second half.
  std::vector<std::int64_t> idle_at_cp2;
  std::optional<std::int64_t> step, data_rank;
  std::optional<double> measured_ms;
  /// The key that numbers the row within its step; empty: none does.
  std::string_view row_key;
};

/// Keys in the order in which they were met.
class KeyLedger {
 public:
  void use(std::string_view key) { add(used_, key); }
  void leave(std::string_view key) { add(left_, key); }
  const std::vector<std::string>& used() const { return used_; }
  /// The keys that were left, without those that some row uses. Of very many there are the first, and "...".
  std::vector<std::string> unused() const;

 private:
  static void add(std::vector<std::string>& names, std::string_view key);
  std::vector<std::string> used_, left_;
};

/// Reads objects whose lengths all stand under the keys that the first one has.
class JsonRowReader {
 public:
  JsonRowReader(LengthReading reading, std::vector<std::string> ignored)
      : reading_(reading), ignored_(std::move(ignored)) {}

  /// InputError naming the key that is refused, missing, malformed, or that contradicts another.
  LengthRow read(const JsonValue& row);
  KeyLedger& ledger() { return ledger_; }
  /// "seq_start_id", "input_ids (their number)", ...
  std::string described() const;
  bool used_reading() const { return used_reading_; }
  /// Names to be ignored that rows had.
  const std::set<std::string>& ignored_met() const { return ignored_met_; }

 private:
  friend class JsonRow;
  bool ignores(std::string_view name);

  LengthReading reading_;
  std::vector<std::string> ignored_;
  std::set<std::string> ignored_met_;
  KeyLedger ledger_;
  std::string main_;    // the key of the lengths, the same in every row
  std::string source_;  // how it is described
  bool used_reading_ = false;
};

/// Puts rows together: documents into one list or by step, packs into steps.
class RowCollector {
 public:
  explicit RowCollector(std::string name) : name_(std::move(name)) {}
  /// `where` stands for the row in messages.
  void add(LengthRow row, const std::string& where);
  std::int64_t rows() const { return rows_; }
  /// Lengths, batches, padding and notes; the description and the keys are the caller's.
  LengthSource finish() &&;

 private:
  void drop_empty(LengthRow& row);
  void count(const LengthRow& row, const std::string& where);
  void hold(LengthRow row);
  void finish_documents(LengthSource& source);
  void finish_batches(LengthSource& source);
  std::vector<std::string> notes() const;

  std::string name_;
  /// A row of one document, of which a file may have many millions.
  struct Single {
    std::int64_t tokens, copies, step;
  };

  std::vector<Single> singles_;  // while no row is of another kind
  std::vector<LengthRow> held_;  // of the other kinds, those without documents left out
  std::optional<RowKind> first_;
  std::int64_t rows_ = 0, documents_ = 0;
  std::int64_t padding_ = 0, padded_ = 0, padded_document_ = 0;
  std::int64_t idle_ = 0, idle_document_ = 0;  ///< of LengthRow::idle_at_cp2
  std::int64_t empty_documents_ = 0, empty_rows_ = 0, empty_steps_ = 0;
  std::map<std::int64_t, std::int64_t> data_ranks_;  // rank -> rows
  std::int64_t measured_rows_ = 0;
  double least_ms_ = 0, most_ms_ = 0;
  std::string_view row_key_;
  std::optional<bool> numbered_;  // whether rows have the number of their step
  bool several_ = false;          // documents in a row that may be a pack
};

}  // namespace strata
