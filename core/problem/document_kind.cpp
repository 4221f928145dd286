// SPDX-License-Identifier: Apache-2.0
#include "core/problem/document_kind.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace strata {

namespace {

/// Fields that together make the kind; no file of another kind has both.
struct Signature {
  DocumentKind kind;
  std::array<std::string_view, 2> fields;
  std::string_view text;
};

constexpr std::array<Signature, 8> kSignatures = {{
    {DocumentKind::batch, {"packs", "packs"}, "a batch"},
    {DocumentKind::lengths, {"documents", "documents"}, "a batch"},
    {DocumentKind::plan, {"inputs", "waves"}, "a plan"},
    {DocumentKind::topology, {"devices", "ranks"}, "a topology"},
    {DocumentKind::model, {"hidden", "query_heads"}, "a model"},
    {DocumentKind::foreign_model, {"model_type", "model_type"}, "a model's config.json"},
    {DocumentKind::profile, {"provenance", "attention"}, "a cost profile"},
    {DocumentKind::timeline, {"plan_digest", "events"}, "a timeline"},
}};

bool has(const JsonValue& value, std::string_view field) {
  for (const JsonValue member : value.members()) {
    if (member.key() == field) return true;
  }
  return false;
}

bool fits(const JsonValue& value, const Signature& signature) {
  return std::all_of(signature.fields.begin(), signature.fields.end(),
                     [&](std::string_view field) { return has(value, field); });
}

}  // namespace

std::string_view described(DocumentKind kind) {
  for (const Signature& signature : kSignatures) {
    if (signature.kind == kind) return signature.text;
  }
  return "a file of an unknown kind";
}

std::optional<DocumentKind> kind_of(const JsonValue& value) {
  if (value.kind() != JsonKind::object) return std::nullopt;
  for (const Signature& signature : kSignatures) {
    if (fits(value, signature)) return signature.kind;
  }
  return std::nullopt;
}

void expect_kind(const JsonValue& value, DocumentKind expected) {
  if (value.kind() != JsonKind::object) return;
  for (const Signature& signature : kSignatures) {
    if (signature.kind == expected && fits(value, signature)) return;
  }
  const std::optional<DocumentKind> found = kind_of(value);
  if (!found || *found == expected) return;
  value.fail(fmt::format("what looks like {}", described(*found)), std::string(described(expected)));
}

}  // namespace strata
