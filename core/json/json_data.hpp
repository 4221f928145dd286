// SPDX-License-Identifier: Apache-2.0
// How JsonDocument stores its values, shared by the parser and the handles; nobody else includes it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/json/json_document.hpp"

namespace strata {

/// Values stand in the order of the text; a container is followed by everything inside it.
struct JsonNode {
  /// By kind: the integer, the bits of the real, the boolean, where the string begins in `text`, or the
  /// number of children.
  std::int64_t value = 0;
  /// Bytes of a string; otherwise how many nodes to step over to reach the next sibling.
  std::uint32_t extent = 1;
  std::uint32_t key : 28 = 0;  ///< index into `keys`
  std::uint32_t kind : 4 = 0;

  JsonKind json_kind() const { return static_cast<JsonKind>(kind); }
  std::uint32_t step() const { return json_kind() == JsonKind::string ? 1 : extent; }
};
static_assert(sizeof(JsonNode) == 16);

struct JsonData {
  std::string name;
  std::int64_t line = 0;
  std::vector<JsonNode> nodes;
  std::vector<std::string> keys;
  std::string text;
};

/// "name" or "name: line 3", joined with a path where there is one.
std::string json_place(const JsonData& data, std::string_view path);

}  // namespace strata
