// SPDX-License-Identifier: Apache-2.0
// Properties that hold for whatever rapidcheck comes up with: spans behave as the sets of tokens they stand
// for, pair counts add up when a rectangle is cut, and what the JSON writer writes the reader gives back.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/json/json_document.hpp"
#include "core/json/json_writer.hpp"
#include "core/problem/mask.hpp"
#include "core/problem/token_span.hpp"

namespace strata {
namespace {

TokenSpan any_span(std::int64_t most) {
  const auto begin = *rc::gen::inRange<std::int64_t>(0, most);
  const auto end = *rc::gen::inRange<std::int64_t>(begin, most + 1);
  return {*rc::gen::inRange(0, 2), begin, end};
}

std::set<std::pair<std::int32_t, std::int64_t>> tokens_of(const TokenSpan& span) {
  std::set<std::pair<std::int32_t, std::int64_t>> tokens;
  for (std::int64_t token = span.begin; token < span.end; ++token) tokens.insert({span.document, token});
  return tokens;
}

RC_GTEST_PROP(TokenSpanProperty, IntersectAndContainsAreThoseOfTheSetsOfTokens, ()) {
  const TokenSpan a = any_span(12), b = any_span(12);
  const auto in_a = tokens_of(a), in_b = tokens_of(b);
  std::set<std::pair<std::int32_t, std::int64_t>> in_both;
  for (const auto& token : in_a) {
    if (in_b.contains(token)) in_both.insert(token);
  }
  RC_ASSERT(tokens_of(intersect(a, b)) == in_both);
  RC_ASSERT(intersect(a, b).empty() == in_both.empty());
  RC_ASSERT(tokens_of(intersect(b, a)) == in_both);
  RC_ASSERT(static_cast<std::size_t>(a.length()) == in_a.size());
  if (!b.empty()) RC_ASSERT(contains(a, b) == (in_both == in_b));
}

RC_GTEST_PROP(MaskProperty, PairsAddUpHoweverQueriesAndKeysAreCut, ()) {
  const Mask mask{*rc::gen::inRange<std::int64_t>(0, 1 << 20)};
  const auto length = *rc::gen::inRange<std::int64_t>(1, std::int64_t{1} << 31);
  const auto query_cut = *rc::gen::inRange<std::int64_t>(0, length + 1);
  const auto key_cut = *rc::gen::inRange<std::int64_t>(0, length + 1);
  std::int64_t pairs = 0;
  for (const TokenSpan& queries : {TokenSpan{0, 0, query_cut}, TokenSpan{0, query_cut, length}}) {
    for (const TokenSpan& keys : {TokenSpan{0, 0, key_cut}, TokenSpan{0, key_cut, length}}) {
      pairs += pair_count(mask, queries, keys);
    }
  }
  RC_ASSERT(pairs == document_pair_count(mask, length));
}

/// A JSON value and how it reads back.
struct Value {
  JsonKind kind = JsonKind::null;
  std::int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<Value> items;
  std::map<std::string, Value> members;
};

/// Characters of one to four bytes, the control characters and everything that must be escaped.
std::string any_text() {
  static const std::vector<std::string> kCharacters = {"a",
                                                       "Z",
                                                       "0",
                                                       " ",
                                                       "\"",
                                                       "\\",
                                                       "/",
                                                       "\b",
                                                       "\f",
                                                       "\n",
                                                       "\r",
                                                       "\t",
                                                       "\x01",
                                                       "\x1f",
                                                       "\x7f",
                                                       "{",
                                                       "[",
                                                       ":",
                                                       ",",
                                                       "\xc3\xa4",
                                                       "\xe2\x82\xac",
                                                       "\xef\xbb\xbf",
                                                       "\xf0\x9f\x98\x80"};
  std::string text;
  for (const std::size_t pick : *rc::gen::arbitrary<std::vector<std::uint8_t>>()) {
    text += kCharacters[pick % kCharacters.size()];
  }
  return text;
}

double any_real() {
  const auto mantissa = *rc::gen::arbitrary<std::int64_t>();
  return std::ldexp(static_cast<double>(mantissa), *rc::gen::inRange(-1100, 900));
}

Value any_value(int depth) {
  Value value;
  switch (*rc::gen::inRange(0, depth == 0 ? 5 : 7)) {
    case 0:
      break;
    case 1:
      value.kind = JsonKind::boolean;
      value.integer = *rc::gen::inRange(0, 2);
      break;
    case 2:
      value.kind = JsonKind::integer;
      value.integer = *rc::gen::arbitrary<std::int64_t>();
      break;
    case 3:
      value.kind = JsonKind::real;
      value.real = any_real();
      break;
    case 4:
      value.kind = JsonKind::string;
      value.text = any_text();
      break;
    case 5:
      value.kind = JsonKind::array;
      for (int i = *rc::gen::inRange(0, 4); i > 0; --i) value.items.push_back(any_value(depth - 1));
      break;
    default:
      value.kind = JsonKind::object;
      for (int i = *rc::gen::inRange(0, 4); i > 0; --i) value.members[any_text()] = any_value(depth - 1);
  }
  return value;
}

void write(JsonWriter& json, const Value& value, JsonLayout layout) {
  switch (value.kind) {
    case JsonKind::boolean:
      return json.value(value.integer != 0);
    case JsonKind::integer:
      return json.value(value.integer);
    case JsonKind::real:
      return json.value(value.real);
    case JsonKind::string:
      return json.value(std::string_view(value.text));
    case JsonKind::array:
      json.open_array(layout);
      for (const Value& item : value.items) write(json, item, layout);
      return json.close();
    case JsonKind::object:
      json.open_object(layout);
      for (const auto& [key, member] : value.members) {
        json.key(key);
        write(json, member, layout);
      }
      return json.close();
    default:
      return json.null();
  }
}

void expect_equal(const JsonValue& read, const Value& value) {
  switch (value.kind) {
    case JsonKind::boolean:
      RC_ASSERT(read.boolean() == (value.integer != 0));
      break;
    case JsonKind::integer:
      RC_ASSERT(read.integer(INT64_MIN, INT64_MAX) == value.integer);
      break;
    case JsonKind::real:  // a whole number may be written without a point
      RC_ASSERT(read.number() == value.real);
      break;
    case JsonKind::string:
      RC_ASSERT(read.string() == value.text);
      break;
    case JsonKind::array: {
      RC_ASSERT(read.size() == value.items.size());
      auto item = value.items.begin();
      for (const JsonValue each : read.items()) expect_equal(each, *item++);
      break;
    }
    case JsonKind::object: {
      RC_ASSERT(read.size() == value.members.size());
      for (const JsonValue each : read.members()) {
        const auto member = value.members.find(std::string(each.key()));
        RC_ASSERT(member != value.members.end());
        expect_equal(each, member->second);
      }
      break;
    }
    default:
      RC_ASSERT(read.is_null());
  }
}

RC_GTEST_PROP(JsonProperty, WhatTheWriterWritesTheReaderGivesBack, ()) {
  const Value value = any_value(3);
  for (const JsonLayout layout : {JsonLayout::lines, JsonLayout::compact}) {
    std::ostringstream out;
    JsonWriter json(out);
    write(json, value, layout);
    json.finish();
    const JsonDocument document = JsonDocument::parse_text(out.str(), "text");
    expect_equal(document.root(), value);
    // The canonical text is a fixed point, whatever the layout was.
    const std::string canonical = document.root().canonical_text();
    const JsonDocument again = JsonDocument::parse_text(canonical, "canonical");
    expect_equal(again.root(), value);
    RC_ASSERT(again.root().canonical_text() == canonical);
  }
}

}  // namespace
}  // namespace strata
