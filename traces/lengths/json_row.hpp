// SPDX-License-Identifier: Apache-2.0
// The keys of one JSON object while they are put together. json_rows.cpp says which keys make a row.
// json_borders.cpp says how keys that speak of the same documents are made to agree.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json/json_document.hpp"
#include "traces/lengths/batch_keys.hpp"
#include "traces/lengths/length_rows.hpp"

namespace strata {

class JsonRow {
 public:
  struct Member {
    JsonValue value;
    const BatchKey* key;
    bool from_zero = false;  ///< numbers of documents that begin with 0
  };
  /// A number of tokens that the row gives: a length, a pair or a total.
  struct Stated {
    JsonValue at;
    std::string name;
    std::int64_t tokens;
    const Member* second;  ///< of a pair
  };
  JsonRow(JsonRowReader& reader, const JsonValue& object) : reader_(reader), object_(object) {}
  LengthRow read();

 private:
  using Meanings = std::initializer_list<KeyMeaning>;

  void collect();
  const Member* find(Meanings meanings) const;
  const Member* named(std::string_view name) const;
  std::vector<std::int64_t> lengths_with_zeros(const JsonValue& list) const;
  void read_own_form(const Member& list);
  void read_tokens();
  void read_total();
  void read_masks();
  void read_mask(Member& member);
  bool counts_from_zero(const JsonValue& value, const std::vector<std::int64_t>& numbers) const;
  std::vector<std::int64_t> unmasked(const std::vector<std::int64_t>& numbers) const;
  void read_lists();
  void read_per_token();
  std::vector<std::int64_t> offsets_of(const Member& member);
  void agree(DocumentList list, const JsonValue& from, bool is_pack);
  void read_twins();
  void read_labels();
  void read_one_document();
  void count_padding();
  std::vector<Stated> stated() const;
  void check_size(const JsonValue& list, std::int64_t numbers) const;
  void check_unknown() const;
  void check_unknown(const JsonValue& value, std::string_view outer,
                     const std::vector<std::int64_t>& documents) const;
  void check_objects(const JsonValue& list, std::string_view outer,
                     const std::vector<std::int64_t>& documents) const;
  void check_stated();
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
  std::vector<JsonValue> unknown_;  // lists and objects of keys that the table does not list
  LengthRow row_;
  std::optional<DocumentList> borders_;  // of a pack; documents of 0 tokens kept
  std::string borders_from_;
  std::vector<bool> is_padding_;  // by token, where a mask says so
  std::string is_padding_from_;
  std::optional<std::int64_t> listed_;  // how many numbers lists with one per token have
  std::optional<std::int64_t> tokens_;  // tokens that the row holds, padding included
  std::optional<JsonValue> tokens_from_;
};

/// A list, or the only list of a list: batches of size one keep their dimension. InputError for several.
JsonValue list_of(const JsonValue& value);
/// A number, or the only number of a list.
JsonValue number_of(const JsonValue& value);
/// Objects inside a row are not read. So nothing inside one, or inside a list of them, may carry borders,
/// padding or ranks: InputError otherwise. `outer` is the key of the row. With `one_of_several` the object is
/// one of a list.
void refuse_inside(const JsonValue& value, std::string_view outer, bool one_of_several = false);

}  // namespace strata
