// SPDX-License-Identifier: Apache-2.0
// What kind of a file of Strata an object is. The options of a command take files that look alike from the
// outside, and naming the one that was given helps more than the first field that is missing in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/json/json_document.hpp"

namespace strata {

enum class DocumentKind : std::uint8_t {
  batch,
  lengths,
  plan,
  topology,
  model,
  foreign_model,
  profile,
  timeline
};

/// "a batch", "a cost profile".
std::string_view described(DocumentKind kind);

/// The kind, told by the fields that no other kind has. Nothing for other values and for objects without such
/// fields.
std::optional<DocumentKind> kind_of(const JsonValue& value);

/// Throws InputError when the object is of another kind than `expected`. An object with the fields of both
/// kinds, or of none, is left to the reader.
void expect_kind(const JsonValue& value, DocumentKind expected);

}  // namespace strata
