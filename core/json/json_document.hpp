// SPDX-License-Identifier: Apache-2.0
// JSON as read from a stream, into flat arrays of 16-byte nodes, because a plan has millions of values.
// Reading is strict: no duplicate keys, no NaN, nothing after the value, bounded size, depth and strings.
// Every error is an InputError that names the file with the JSON path, or line and column where the text is
// not JSON.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace strata {

/// What a reader accepts before it gives up on a file.
struct JsonLimits {
  std::int64_t max_bytes = std::int64_t{4} << 30;
  std::int32_t max_depth = 64;
  std::int64_t max_string_bytes = std::int64_t{1} << 20;
};

enum class JsonKind : std::uint8_t { null, boolean, integer, big_integer, real, string, array, object };

struct JsonData;

/// A cheap handle on one value of a JsonDocument, which must outlive it.
class JsonValue {
 public:
  JsonValue(const JsonData& data, std::uint32_t node) : data_(&data), node_(node) {}
  JsonKind kind() const;
  bool is_null() const { return kind() == JsonKind::null; }

  /// The typed value; InputError naming the path when the type or the range is another.
  std::int64_t integer(std::int64_t min, std::int64_t max) const;
  std::uint64_t unsigned_integer() const;
  /// Integers count as numbers too.
  double number(double min = std::numeric_limits<double>::lowest(),
                double max = std::numeric_limits<double>::max()) const;
  bool boolean() const;
  /// Valid as long as the document.
  std::string_view string() const;
  /// A string of one line, for what is shown to people: there a second line could pass for the program's.
  std::string_view line() const;

  /// How many values an array or object has.
  std::size_t size() const;
  class Iterator {
   public:
    Iterator(const JsonData& data, std::uint32_t node) : data_(&data), node_(node) {}
    JsonValue operator*() const { return {*data_, node_}; }
    Iterator& operator++();
    bool operator==(const Iterator& other) const { return node_ == other.node_; }

   private:
    const JsonData* data_;
    std::uint32_t node_;
  };
  struct Children {
    Iterator first, last;
    Iterator begin() const { return first; }
    Iterator end() const { return last; }
  };
  /// The values of an array, in order. InputError unless it is an array.
  Children items() const;
  /// The values of an object, in order. InputError unless it is an object.
  Children members() const;
  /// The key of a member of an object.
  std::string_view key() const;

  /// Which of the document's values it is.
  std::uint32_t position() const { return node_; }
  /// "plan.json: waves[0].steps[3]": the file and the way from the root.
  std::string path() const;
  /// What the value is, for messages: `3.9`, `"abc"`, `a list`.
  std::string description() const;
  /// Throws InputError at this value's path; `found` defaults to the description.
  [[noreturn]] void fail(const std::string& expected) const;
  [[noreturn]] void fail(const std::string& found, const std::string& expected) const;

  /// One line, keys sorted, no spaces, shortest numbers that read back equal.
  std::string canonical_text() const;

 private:
  const JsonData* data_;
  std::uint32_t node_;
};

/// Lists whose elements are handed out while the text is read, so that a large document is never whole in
/// memory. They are the lists under one of `keys`, anywhere below the root's member `below`. An element that
/// was handed out is not in the document afterwards. There such a list has its size, but only the elements
/// that are neither lists nor objects.
struct JsonFold {
  std::string_view below;
  std::vector<std::string_view> keys;
  /// `element` is a list or an object and is valid during the call. Of `list`, `position` and `key` are
  /// valid. Their paths are not known yet: who gets an InputError reads the document again, without a fold,
  /// to learn where it is.
  std::function<void(JsonValue list, JsonValue element)> take;
};

class JsonDocument {
 public:
  /// `name` stands for the file in messages. `line` > 0 when the text is that line of a JSON lines file.
  static JsonDocument parse(std::istream& in, const std::string& name, const JsonLimits& limits = {},
                            std::int64_t line = 0);
  static JsonDocument parse_text(std::string_view text, const std::string& name,
                                 const JsonLimits& limits = {}, std::int64_t line = 0);
  static JsonDocument read_file(const std::string& path, const JsonLimits& limits = {});
  static JsonDocument read_file(const std::string& path, const JsonLimits& limits, const JsonFold& fold);
  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  JsonValue root() const;

 private:
  explicit JsonDocument(std::unique_ptr<const JsonData> data);
  static JsonDocument parse(std::istream& in, const std::string& name, const JsonLimits& limits,
                            std::int64_t line, const JsonFold* fold);
  static JsonDocument read_file(const std::string& path, const JsonLimits& limits, const JsonFold* fold);
  std::unique_ptr<const JsonData> data_;
};

}  // namespace strata
