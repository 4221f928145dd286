// SPDX-License-Identifier: Apache-2.0
// The keys of one JSON object while they are put together: json_rows.cpp says which keys make a row,
// json_borders.cpp how keys that say something of the same documents are made to agree.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "core/json_document.hpp"
#include "traces/batch_keys.hpp"
#include "traces/length_rows.hpp"

namespace strata {

class JsonRow {
 public:
  struct Member {
    JsonValue value;
    const BatchKey* key;
  };
  JsonRow(JsonRowReader& reader, const JsonValue& object) : reader_(reader), object_(object) {}
  LengthRow read();

 private:
  using Meanings = std::initializer_list<KeyMeaning>;

  void collect();
  const Member* find(Meanings meanings) const;
  std::vector<std::int64_t> lengths_with_zeros(const JsonValue& list) const;
  void read_own_form();
  void read_tokens();
  void read_total();
  void read_masks();
  void read_lists();
  void read_per_token();
  std::vector<std::int64_t> offsets_of(const Member& member);
  void agree(DocumentList list, const JsonValue& from, bool is_pack);
  void read_twins();
  void read_labels();
  void read_one_document();
  void count_padding();
  void check_longest_and_flags();
  void read_count(const Member& member);
  void read_row_numbers();
  void leave_the_rest();
  void set_main(const std::string& key, const std::string& described);
  void use(const JsonValue& value) { reader_.ledger_.use(value.key()); }
  std::int64_t masked() const { return std::count(is_padding_.begin(), is_padding_.end(), true); }

  JsonRowReader& reader_;
  const JsonValue& object_;
  std::vector<Member> members_;
  LengthRow row_;
  std::optional<DocumentList> borders_;  // of a pack; documents of 0 tokens kept
  std::string borders_from_;
  std::vector<bool> is_padding_;        // by token, where a mask says so
  std::optional<std::int64_t> tokens_;  // that the row holds, padding included
  std::optional<JsonValue> tokens_from_;
};

/// A list, or the only list of a list: batches of size one keep their dimension. InputError for several.
JsonValue list_of(const JsonValue& value);
/// A number, or the only number of a list.
JsonValue number_of(const JsonValue& value);

}  // namespace strata
