// SPDX-License-Identifier: Apache-2.0
#include "traces/lengths/npy.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstring>
#include <limits>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "traces/lengths/line_reader.hpp"
#include "traces/lengths/little_endian.hpp"

namespace strata {

namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr std::uint32_t kLongestHeader = 1 << 16;
constexpr std::int64_t kMostDimensions = 8;

struct Header {
  std::string item_type;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

/// Reads the header's text, a Python dictionary with exactly the keys descr, fortran_order and shape.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : rest_(text), name_(name) {}

  Header parse() {
    Header header;
    unsigned seen = 0;
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      unsigned bit = 0;
      if (key == "descr") {
        bit = 1;
        header.item_type = item_type();
      } else if (key == "fortran_order") {
        bit = 2;
        header.fortran_order = boolean();
      } else if (key == "shape") {
        bit = 4;
        header.shape = tuple();
      } else {
        fail(fmt::format("the key {}", quoted_excerpt(key)), "descr, fortran_order or shape");
      }
      if ((seen & bit) != 0) fail(fmt::format("the key {} twice", quoted_excerpt(key)), "each key once");
      seen |= bit;
      if (!accept(',') && !peek('}')) fail(quoted_excerpt(rest_), "',' or '}'");
    }
    skip_blanks();
    if (rest_ != "\n") fail(quoted_excerpt(rest_), "a line end after the header");
    if (seen != 7) fail("a header with missing keys", "descr, fortran_order and shape");
    return header;
  }

 private:
  [[noreturn]] void fail(const std::string& found, const std::string& expected) const {
    throw InputError(name_, fmt::format(".npy header: {}", found), expected);
  }
  void skip_blanks() {
    while (!rest_.empty() && rest_.front() == ' ') rest_.remove_prefix(1);
  }
  bool peek(char wanted) {
    skip_blanks();
    return !rest_.empty() && rest_.front() == wanted;
  }
  bool accept(char wanted) {
    if (!peek(wanted)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) fail(quoted_excerpt(rest_), fmt::format("'{}'", wanted));
  }
  std::string string() {
    const char quote = peek('"') ? '"' : '\'';
    expect(quote);
    const std::size_t end = rest_.find(quote);
    if (end == std::string_view::npos) fail(quoted_excerpt(rest_), "a closed string");
    std::string text(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return text;
  }
  std::string item_type() {
    if (peek('[')) fail("a record type", "plain integers");
    return string();
  }
  bool boolean() {
    skip_blanks();
    for (const auto& [word, value] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}}) {
      if (rest_.starts_with(word)) {
        rest_.remove_prefix(word.size());
        return value;
      }
    }
    fail(quoted_excerpt(rest_), "True or False");
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    expect('(');
    while (!accept(')')) {
      skip_blanks();
      std::int64_t value = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
      if (error != std::errc() || value < 0) fail(quoted_excerpt(rest_), "a shape of integers from 0");
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      values.push_back(value);
      if (std::ssize(values) > kMostDimensions) fail("a shape of many dimensions", "at most 8");
      if (!accept(',') && !peek(')')) fail(quoted_excerpt(rest_), "',' or ')'");
    }
    return values;
  }

  std::string_view rest_;
  const std::string& name_;
};

std::string read_exactly(std::istream& in, std::size_t size, const std::string& name, std::string_view part) {
  std::string bytes(size, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(size));
  if (static_cast<std::size_t>(in.gcount()) != size) {
    throw InputError(name,
                     fmt::format("the end of the file after {} of {} bytes of {}", in.gcount(), size, part),
                     "a complete .npy file");
  }
  return bytes;
}

Header read_header(std::istream& in, const std::string& name) {
  const std::string start = read_exactly(in, 8, name, "the magic and version");
  if (!is_npy(start))
    throw InputError(name, quoted_excerpt(start.substr(0, 6)), "the .npy magic \"\\x93NUMPY\"");
  const int major = static_cast<unsigned char>(start[6]);
  const int minor = static_cast<unsigned char>(start[7]);
  if (major < 1 || major > 3 || minor != 0) {
    throw InputError(name, fmt::format(".npy version {}.{}", major, minor), "1.0, 2.0 or 3.0");
  }
  const std::string size_bytes = read_exactly(in, major == 1 ? 2 : 4, name, "the header size");
  const std::uint32_t size = major == 1 ? load_little_endian<std::uint16_t>(size_bytes.data())
                                        : load_little_endian<std::uint32_t>(size_bytes.data());
  if (size > kLongestHeader) {
    throw InputError(name, fmt::format(".npy header: {} bytes", size),
                     fmt::format("at most {}", kLongestHeader));
  }
  const std::string text = read_exactly(in, size, name, "the header");
  return HeaderParser(text, name).parse();
}

template <typename Stored>
void append_values(std::istream& in, std::int64_t count, const std::string& name,
                   std::vector<std::int64_t>& values) {
  constexpr std::int64_t kItemsAtOnce = 1 << 13;
  std::array<char, kItemsAtOnce * sizeof(Stored)> bytes;
  values.reserve(static_cast<std::size_t>(count));
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t items = std::min(kItemsAtOnce, count - done);
    in.read(bytes.data(), static_cast<std::streamsize>(items * std::int64_t{sizeof(Stored)}));
    if (in.gcount() != items * std::int64_t{sizeof(Stored)})
      throw InputError(name, "a read error", "a readable file");
    for (std::int64_t i = 0; i < items; ++i) {
      const auto value =
          load_little_endian<Stored>(bytes.data() + static_cast<std::size_t>(i) * sizeof(Stored));
      if constexpr (sizeof(Stored) == 8 && std::is_unsigned_v<Stored>) {
        if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
          throw InputError(fmt::format("{}: item {}", name, done + i), fmt::to_string(value),
                           "at most 2^63 - 1");
        }
      }
      values.push_back(static_cast<std::int64_t>(value));
    }
    done += items;
  }
}

struct ItemType {
  std::string_view name;
  std::int64_t bytes;
  void (*append)(std::istream&, std::int64_t, const std::string&, std::vector<std::int64_t>&);
};

constexpr std::array<ItemType, 8> kItemTypes = {{{"<i4", 4, append_values<std::int32_t>},
                                                 {"<u4", 4, append_values<std::uint32_t>},
                                                 {"<i8", 8, append_values<std::int64_t>},
                                                 {"<u8", 8, append_values<std::uint64_t>},
                                                 {"<i2", 2, append_values<std::int16_t>},
                                                 {"<u2", 2, append_values<std::uint16_t>},
                                                 {"|i1", 1, append_values<std::int8_t>},
                                                 {"|u1", 1, append_values<std::uint8_t>}}};

const ItemType& item_type_named(const std::string& item_type, const std::string& name) {
  for (const ItemType& known : kItemTypes) {
    if (known.name == item_type) return known;
  }
  const bool objects = item_type.ends_with("O");
  throw InputError(
      name,
      fmt::format(".npy items of type {}{}", quoted_excerpt(item_type), objects ? " (pickled objects)" : ""),
      "little-endian integers: |i1 |u1 <i2 <u2 <i4 <u4 <i8 <u8");
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

}  // namespace

bool is_npy(std::string_view prefix) { return prefix.starts_with(kMagic); }

NpyIntegers read_npy_integers(std::istream& in, const std::string& name, std::size_t dimensions) {
  Header header = read_header(in, name);
  const ItemType& item = item_type_named(header.item_type, name);
  if (header.shape.size() != dimensions) {
    throw InputError(name, fmt::format("a .npy array of shape {}", shape_text(header.shape)),
                     plain_count(dimensions, "dimension"));
  }
  if (header.fortran_order && dimensions > 1)
    throw InputError(name, "a .npy array in Fortran order", "C order");
  const std::int64_t bytes = remaining_bytes(in, name);
  std::int64_t count = 1;
  for (const std::int64_t extent : header.shape) {
    // The product is compared with the file before anything is allocated: a header may announce any size.
    if (extent != 0 && count > bytes / extent + 1) {
      throw InputError(name, fmt::format("{} bytes of items for shape {}", bytes, shape_text(header.shape)),
                       "as many as the shape needs");
    }
    count *= extent;
  }
  if (count > bytes / item.bytes + 1 || count * item.bytes != bytes) {
    throw InputError(name, fmt::format("{} bytes of items for shape {}", bytes, shape_text(header.shape)),
                     fmt::format("{} items of {} bytes", count, item.bytes));
  }
  NpyIntegers array{header.item_type, std::move(header.shape), {}};
  item.append(in, count, name, array.values);
  return array;
}

NpyIntegers read_npy_integers(const std::filesystem::path& path, std::size_t dimensions) {
  std::ifstream in = open_input(path);
  return read_npy_integers(in, path.string(), dimensions);
}

}  // namespace strata
