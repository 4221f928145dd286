// SPDX-License-Identifier: Apache-2.0
// The .npy reader takes exactly little-endian integers in C order, and says what else it was given. Files are
// made byte by byte here; real ones are read by the index tests.
#include "traces/lengths/npy.hpp"

#include <gtest/gtest.h>

#include <sstream>

#include "tests/core/json/bad_input.hpp"
#include "tests/traces/lengths/made_files.hpp"

namespace strata {
namespace {

using test::input_error;
using test::little;
using test::made_npy;

NpyIntegers read(const std::string& bytes, std::size_t dimensions) {
  std::istringstream in(bytes);
  return read_npy_integers(in, "a.npy", dimensions);
}

std::string error_of(const std::string& bytes, std::size_t dimensions = 1) {
  return input_error([&] { read(bytes, dimensions); });
}

std::string header(const std::string& type, const std::string& shape) {
  return "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }";
}

TEST(Npy, ReadsEveryIntegerTypeAndSign) {
  EXPECT_EQ(
      read(made_npy(header("<i4", "(3,)"), little(7, 4) + little(0xffffffff, 4) + little(0x7fffffff, 4)), 1)
          .values,
      (std::vector<std::int64_t>{7, -1, 2147483647}));
  EXPECT_EQ(read(made_npy(header("<u4", "(1,)"), little(0xffffffff, 4)), 1).values,
            (std::vector<std::int64_t>{4294967295}));
  EXPECT_EQ(read(made_npy(header("<i8", "(1,)"), little(0xfffffffffffffffe, 8)), 1).values,
            (std::vector<std::int64_t>{-2}));
  EXPECT_EQ(read(made_npy(header("<u8", "(1,)"), little(0x7fffffffffffffff, 8)), 1).values,
            (std::vector<std::int64_t>{INT64_MAX}));
  EXPECT_EQ(read(made_npy(header("<i2", "(2,)"), little(0xffff, 2) + little(300, 2)), 1).values,
            (std::vector<std::int64_t>{-1, 300}));
  EXPECT_EQ(read(made_npy(header("<u2", "(1,)"), little(0xffff, 2)), 1).values,
            (std::vector<std::int64_t>{65535}));
  EXPECT_EQ(read(made_npy(header("|i1", "(1,)"), "\xff"), 1).values, (std::vector<std::int64_t>{-1}));
  EXPECT_EQ(read(made_npy(header("|u1", "(1,)"), "\xff"), 1).values, (std::vector<std::int64_t>{255}));
}

TEST(Npy, ReadsShapesAndTheThreeVersions) {
  for (const int version : {1, 2, 3}) {
    const NpyIntegers array =
        read(made_npy(header("<u2", "(2, 3)"), std::string("\1\0\2\0\3\0\4\0\5\0\6\0", 12), version), 2);
    EXPECT_EQ(array.shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(array.values, (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(array.item_type, "<u2");
  }
  EXPECT_EQ(read(made_npy("{\"shape\":(1,),\"descr\":\"|u1\",\"fortran_order\":True}", "\5"), 1).values,
            (std::vector<std::int64_t>{5}))
      << "any order of keys, and one dimension has no order";
  EXPECT_TRUE(read(made_npy(header("<i4", "(0,)"), ""), 1).values.empty());
}

TEST(Npy, ArraysLongerThanTheReadersPiecesComeWhole) {
  std::vector<std::int64_t> values(20'000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int64_t>(i * 7919 % 65536);
  EXPECT_EQ(read(made_npy(values), 1).values, values);
}

TEST(Npy, RefusesWhatIsNotAnIntegerArray) {
  EXPECT_EQ(error_of(""),
            "a.npy: found the end of the file after 0 of 8 bytes of the magic and version, expected a "
            "complete .npy file");
  EXPECT_EQ(error_of("not an array at all"),
            "a.npy: found \"not an\", expected the .npy magic \"\\x93NUMPY\"");
  EXPECT_EQ(error_of(made_npy(header("<i4", "(1,)"), "1234", 4)),
            "a.npy: found .npy version 4.0, expected 1.0, 2.0 or 3.0");
  EXPECT_EQ(error_of(made_npy(header("<f8", "(1,)"), "12345678")),
            "a.npy: found .npy items of type \"<f8\", expected little-endian integers: |i1 |u1 <i2 <u2 <i4 "
            "<u4 <i8 <u8");
  EXPECT_EQ(error_of(made_npy(header(">i4", "(1,)"), "1234")),
            "a.npy: found .npy items of type \">i4\", expected little-endian integers: |i1 |u1 <i2 <u2 <i4 "
            "<u4 <i8 <u8");
  EXPECT_EQ(error_of(made_npy(header("|O", "(1,)"), "1234")),
            "a.npy: found .npy items of type \"|O\" (pickled objects), expected little-endian integers: |i1 "
            "|u1 <i2 "
            "<u2 <i4 <u4 <i8 <u8");
  EXPECT_EQ(error_of(made_npy("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1,), }", "1234")),
            "a.npy: found .npy header: a record type, expected plain integers");
  EXPECT_EQ(error_of(made_npy(header("<i4", "(2, 2)"), std::string(16, '\1')), 1),
            "a.npy: found a .npy array of shape (2, 2), expected 1 dimension");
  EXPECT_EQ(
      error_of(made_npy("{'descr': '<i4', 'fortran_order': True, 'shape': (2, 2), }", std::string(16, '\1')),
               2),
      "a.npy: found a .npy array in Fortran order, expected C order");
  EXPECT_EQ(error_of(made_npy(header("<u8", "(2,)"), little(1, 8) + little(0x8000000000000000, 8))),
            "a.npy: item 1: found 9223372036854775808, expected at most 2^63 - 1");
}

TEST(Npy, RefusesADamagedHeader) {
  EXPECT_EQ(error_of(made_npy("{'descr': '<i4', 'fortran_order': False, }", "")),
            "a.npy: found .npy header: a header with missing keys, expected descr, fortran_order and shape");
  EXPECT_EQ(
      error_of(made_npy("{'descr': '<i4', 'descr': '<i8', 'fortran_order': False, 'shape': (1,)}", "1234")),
      "a.npy: found .npy header: the key \"descr\" twice, expected each key once");
  EXPECT_EQ(error_of(made_npy("{'descr': '<i4', 'order': 'C', 'shape': (1,)}", "1234")),
            "a.npy: found .npy header: the key \"order\", expected descr, fortran_order or shape");
  EXPECT_EQ(error_of(made_npy(header("<i4", "(-1,)"), "1234")),
            "a.npy: found .npy header: \"-1,), }\\x0a\", expected a shape of integers from 0");
  EXPECT_EQ(
      error_of(made_npy(header("<i4", "(99999999999999999999,)"), "1234")),
      "a.npy: found .npy header: \"99999999999999999999,), }\\x0a\", expected a shape of integers from 0");
  EXPECT_EQ(error_of(made_npy("{'descr': '<i4'", "")),
            "a.npy: found .npy header: \"\\x0a\", expected ',' or '}'");
  EXPECT_EQ(error_of(made_npy("{'descr': '<i4", "")),
            "a.npy: found .npy header: \"<i4\\x0a\", expected a closed string");
  EXPECT_EQ(error_of(made_npy("{'descr': '<i4', 'fortran_order': 0, 'shape': (1,)}", "1234")),
            "a.npy: found .npy header: \"0, 'shape': (1,)}\\x0a\", expected True or False");
  EXPECT_EQ(error_of(made_npy(header("<i4", "(1,)") + "x", "1234")),
            "a.npy: found .npy header: \"x\\x0a\", expected a line end after the header");
  EXPECT_EQ(error_of(std::string("\x93NUMPY\2\0", 8) + little(0xffffffff, 4) + "{"),
            "a.npy: found .npy header: 4294967295 bytes, expected at most 65536");
  EXPECT_EQ(
      error_of(std::string("\x93NUMPY\1\0", 8) + little(100, 2) + "{'descr'"),
      "a.npy: found the end of the file after 8 of 100 bytes of the header, expected a complete .npy file");
}

TEST(Npy, TheSizeMustBeExactlyWhatTheShapeNeeds) {
  EXPECT_EQ(error_of(made_npy(header("<i4", "(3,)"), std::string(11, '\1'))),
            "a.npy: found 11 bytes of items for shape (3), expected 3 items of 4 bytes");
  EXPECT_EQ(error_of(made_npy(header("<i4", "(3,)"), std::string(13, '\1'))),
            "a.npy: found 13 bytes of items for shape (3), expected 3 items of 4 bytes");
  // A hostile shape is refused by comparing, before anything is allocated.
  EXPECT_EQ(error_of(made_npy(header("<i4", "(9223372036854775807,)"), std::string(4, '\1'))),
            "a.npy: found 4 bytes of items for shape (9223372036854775807), expected 9223372036854775807 "
            "items of 4 bytes");
  EXPECT_EQ(error_of(made_npy(header("<i4", "(4294967296, 4294967296)"), std::string(4, '\1')), 2),
            "a.npy: found 4 bytes of items for shape (4294967296, 4294967296), expected as many as the shape "
            "needs");
}

}  // namespace
}  // namespace strata
