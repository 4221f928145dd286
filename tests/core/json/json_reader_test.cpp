// SPDX-License-Identifier: Apache-2.0
// Reading objects field by field: each broken expectation gives one line that names the place.
#include "core/json/json_reader.hpp"

#include <gtest/gtest.h>

#include "tests/core/json/bad_input.hpp"

namespace strata {
namespace {

using test::input_error;

enum class Fruit : std::uint8_t { apple, pear };

struct Basket {
  std::int32_t count = 0;
  double weight = 0;
  std::string owner;
  Fruit fruit = Fruit::apple;
  std::int64_t limit = 0;
};

Basket read_basket(const std::string& text) {
  const JsonDocument document = JsonDocument::parse_text(text, "b.json");
  ObjectReader reader(document.root());
  Basket basket;
  basket.count = reader.required_int<std::int32_t>("count", 1, 10);
  basket.weight = reader.required_number("weight", 0, 5.5);
  basket.owner = reader.required_string("owner");
  basket.fruit = reader.required_choice<Fruit>("fruit", {{"apple", Fruit::apple}, {"pear", Fruit::pear}});
  basket.limit = reader.optional_int<std::int64_t>("limit", 0, 7, 5);
  reader.finish();
  return basket;
}

TEST(ObjectReader, ReadsFieldsInAnyOrder) {
  const Basket basket = read_basket(R"({"fruit":"pear","owner":"Ada","weight":2,"count":3})");
  EXPECT_EQ(basket.count, 3);
  EXPECT_EQ(basket.weight, 2.0);
  EXPECT_EQ(basket.owner, "Ada");
  EXPECT_EQ(basket.fruit, Fruit::pear);
  EXPECT_EQ(basket.limit, 5);
}

std::string basket_error(const std::string& from, const std::string& to) {
  const std::string good = R"({"count":3,"weight":2.5,"owner":"Ada","fruit":"pear","limit":1})";
  return input_error([&] { read_basket(test::edited(good, from, to)); });
}

TEST(ObjectReader, NamesAMissingField) {
  EXPECT_EQ(basket_error("\"count\":3,", ""), "b.json: found no field 'count', expected an integer");
  EXPECT_EQ(basket_error("\"owner\":\"Ada\",", ""), "b.json: found no field 'owner', expected a string");
}

TEST(ObjectReader, NamesAnUnknownFieldAndTheNearestKnownOne) {
  EXPECT_EQ(basket_error("\"limit\"", "\"limits\""),
            "b.json: limits: found an unknown field, expected 'limit'");
  EXPECT_EQ(basket_error("\"limit\"", "\"price\""),
            "b.json: price: found an unknown field, expected one of count, weight, owner, fruit, limit");
  EXPECT_EQ(basket_error("\"limit\"", '"' + std::string(100'000, 'x') + '"').substr(0, 16),
            "b.json: xxxxxxxx");
}

TEST(ObjectReader, NamesAMistypedOrUnsuitableValue) {
  EXPECT_EQ(basket_error("3", "3.9"), "b.json: count: found 3.9, expected an integer from 1 to 10");
  EXPECT_EQ(basket_error("3", "-1"), "b.json: count: found -1, expected an integer from 1 to 10");
  EXPECT_EQ(basket_error("2.5", "6"), "b.json: weight: found 6, expected a number from 0 to 5.5");
  EXPECT_EQ(basket_error("2.5", "\"6\""), "b.json: weight: found \"6\", expected a number from 0 to 5.5");
  EXPECT_EQ(basket_error("\"Ada\"", "7"), "b.json: owner: found 7, expected a string");
  EXPECT_EQ(basket_error("\"pear\"", "\"pea\""),
            "b.json: fruit: found \"pea\", expected \"apple\" or \"pear\"");
  EXPECT_EQ(input_error([] { read_basket("[]"); }), "b.json: found a list, expected an object");
}

}  // namespace
}  // namespace strata
