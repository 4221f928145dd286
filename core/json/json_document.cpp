// SPDX-License-Identifier: Apache-2.0
// The one place where JSON text is parsed: nlohmann's event parser feeds the flat arrays of JsonData.
#include "core/json/json_document.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <istream>
#include <nlohmann/json.hpp>
#include <span>
#include <streambuf>
#include <unordered_map>
#include <utility>

#include "core/base/check.hpp"
#include "core/base/foreign_format.hpp"
#include "core/json/json_bytes.hpp"
#include "core/json/json_data.hpp"

namespace strata {

namespace {

/// Text of the parser as it may stand in a message: printable ASCII, of bounded length.
std::string printable(std::string_view text) {
  constexpr std::size_t kMax = 200;
  std::string clean;
  for (const char c : text.substr(0, kMax)) clean += c >= ' ' && c <= '~' ? c : '?';
  if (text.size() > kMax) clean += "...";
  return clean;
}

/// Receives the parser's events. Returning false would stop the parser silently, so errors are thrown.
class FlatBuilder {
 public:
  FlatBuilder(JsonData& data, const JsonLimits& limits, const JsonFold* fold)
      : data_(data), limits_(limits), fold_(fold) {}

  bool null() { return add(JsonKind::null, 0); }
  bool boolean(bool value) { return add(JsonKind::boolean, value ? 1 : 0); }
  bool number_integer(std::int64_t value) { return add(JsonKind::integer, value); }
  bool number_unsigned(std::uint64_t value) {
    const bool fits = std::in_range<std::int64_t>(value);
    return add(fits ? JsonKind::integer : JsonKind::big_integer, static_cast<std::int64_t>(value));
  }
  bool number_float(double value, const std::string& text) {
    // An integer beyond 64 bits arrives here too; as a double it would be silently rounded.
    if (text.find_first_of(".eE") == std::string::npos) {
      throw InputError(here(), printable(text), "an integer of at most 64 bits");
    }
    return add(JsonKind::real, std::bit_cast<std::int64_t>(value));
  }
  bool string(const std::string& value) {
    if (static_cast<std::int64_t>(value.size()) > limits_.max_string_bytes) {
      throw InputError(here(), fmt::format("a string of {} bytes", value.size()),
                       fmt::format("at most {}", limits_.max_string_bytes));
    }
    add(JsonKind::string, static_cast<std::int64_t>(data_.text.size()));
    data_.nodes.back().extent = static_cast<std::uint32_t>(value.size());
    data_.text += value;
    return true;
  }
  bool binary(const std::vector<std::uint8_t>&) { return false; }
  bool start_object(std::size_t) { return open(JsonKind::object); }
  bool start_array(std::size_t) { return open(JsonKind::array); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(const std::string& name) {
    const std::uint32_t id = intern(name);
    Frame& frame = frames_.back();
    if (last_object_[id] == frame.node + 1) {
      pending_key_ = id;
      throw InputError(here(), fmt::format("field '{}' twice", printable(name)), "every field once");
    }
    // What the enclosing objects have seen is restored when this one closes.
    hidden_.push_back({id, last_object_[id]});
    last_object_[id] = frame.node + 1;
    pending_key_ = id;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) {
    std::string_view text = error.what();
    constexpr std::string_view kAt = "parse error at ";
    const auto at = text.find(kAt);
    if (at == std::string_view::npos) {  // a number too large for a double has no position
      text.remove_prefix(std::min(text.size(), text.find("] ") + 2));
      throw InputError(here(), printable(text), "a finite number");
    }
    text.remove_prefix(at + kAt.size());
    const auto colon = text.find(": ");
    std::string place(text.substr(0, colon));
    if (data_.line > 0)
      place = fmt::format("line {}{}", data_.line, place.substr(std::min(place.size(), place.find(','))));
    text.remove_prefix(colon == std::string_view::npos ? text.size() : colon + 2);
    constexpr std::string_view kExpected = "; expected ";
    const auto expected = text.rfind(kExpected);
    throw InputError(
        fmt::format("{}: {}", data_.name, place), printable(text.substr(0, expected)),
        expected == std::string_view::npos ? "JSON" : printable(text.substr(expected + kExpected.size())));
  }

 private:
  struct Frame {
    std::uint32_t node;
    bool folds;          // its elements are handed out
    std::size_t hidden;  // of hidden_, when the frame was opened
    std::size_t text;    // of data_.text, likewise
  };
  struct Hidden {
    std::uint32_t key, object;
  };

  bool add(JsonKind kind, std::int64_t value) {
    if (data_.nodes.size() >= std::numeric_limits<std::uint32_t>::max()) {
      throw InputError(json_place(data_, ""), "more than 4294967294 values", "a smaller file");
    }
    if (!frames_.empty()) ++data_.nodes[frames_.back().node].value;
    JsonNode node;
    node.value = value;
    node.key = pending_key_ & 0xfffffffU;
    node.kind = static_cast<std::uint32_t>(kind) & 0xfU;
    data_.nodes.push_back(node);
    return true;
  }

  bool open(JsonKind kind) {
    if (static_cast<std::int32_t>(frames_.size()) >= limits_.max_depth) {
      throw InputError(json_place(data_, ""),
                       fmt::format("more than {} levels of nesting", limits_.max_depth),
                       fmt::format("at most {}", limits_.max_depth));
    }
    const bool folds = fold_ != nullptr && kind == JsonKind::array && is_folded();
    add(kind, 0);
    frames_.push_back(
        {static_cast<std::uint32_t>(data_.nodes.size() - 1), folds, hidden_.size(), data_.text.size()});
    return true;
  }

  bool close() {
    const Frame frame = frames_.back();
    frames_.pop_back();
    data_.nodes[frame.node].extent = static_cast<std::uint32_t>(data_.nodes.size()) - frame.node;
    for (; hidden_.size() > frame.hidden; hidden_.pop_back())
      last_object_[hidden_.back().key] = hidden_.back().object;
    if (!frames_.empty() && frames_.back().folds) {
      fold_->take({data_, frames_.back().node}, {data_, frame.node});
      data_.nodes.resize(frame.node);
      data_.text.resize(frame.text);
    }
    return true;
  }

  /// Whether the list that begins here, a member of the innermost object, is one that the fold names.
  bool is_folded() const {
    if (frames_.size() < 2 || data_.nodes[frames_.back().node].json_kind() != JsonKind::object) return false;
    const auto is_key = [&](std::uint32_t key, std::string_view name) { return data_.keys[key] == name; };
    if (!is_key(data_.nodes[frames_[1].node].key, fold_->below)) return false;
    return std::any_of(fold_->keys.begin(), fold_->keys.end(),
                       [&](std::string_view name) { return is_key(pending_key_, name); });
  }

  /// Keys repeat in the same order, so the key that followed this one last time is tried before the table.
  std::uint32_t intern(const std::string& name) {
    if (previous_key_ < following_.size()) {
      const std::uint32_t guess = following_[previous_key_];
      if (guess < data_.keys.size() && data_.keys[guess] == name) return previous_key_ = guess;
    }
    const auto [entry, added] = ids_.try_emplace(name, static_cast<std::uint32_t>(data_.keys.size()));
    if (added) {
      if (data_.keys.size() >= (1U << 28) - 1) {
        throw InputError(json_place(data_, ""), "more than 2^28 different fields", "a smaller file");
      }
      data_.keys.push_back(name);
      last_object_.push_back(0);
      following_.push_back(0);
    }
    if (previous_key_ < following_.size()) following_[previous_key_] = entry->second;
    return previous_key_ = entry->second;
  }

  /// The place of the value that is being read, or of the container around it.
  std::string here() const {
    std::string path;
    for (std::size_t depth = 0; depth < frames_.size(); ++depth) {
      const JsonNode& node = data_.nodes[frames_[depth].node];
      const bool last = depth + 1 == frames_.size();
      if (node.json_kind() == JsonKind::array) {
        path += fmt::format("[{}]", last ? node.value : node.value - 1);
      } else {
        const std::uint32_t key = last ? pending_key_ : data_.nodes[frames_[depth + 1].node].key;
        if (key >= data_.keys.size()) break;
        path += (path.empty() ? "" : ".") + printable(data_.keys[key]);
      }
    }
    return json_place(data_, path);
  }

  JsonData& data_;
  const JsonLimits& limits_;
  const JsonFold* fold_;  // null: nothing is handed out
  std::vector<Frame> frames_;
  std::vector<Hidden> hidden_;
  std::unordered_map<std::string, std::uint32_t> ids_;
  std::vector<std::uint32_t>
      last_object_;                       // [key] -> 1 + node of the innermost open object that has it, or 0
  std::vector<std::uint32_t> following_;  // [key] -> the key that came after it last time
  std::uint32_t previous_key_ = 0;
  std::uint32_t pending_key_ = 0;
};

/// A stream over text that is in memory already.
class TextBuffer : public std::streambuf {
 public:
  explicit TextBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // never written to: the buffer has no put area
    setg(begin, begin, begin + text.size());
  }
};

}  // namespace

std::string json_place(const JsonData& data, std::string_view path) {
  std::string place = data.name;
  if (data.line > 0) place += fmt::format("{}line {}", place.empty() ? "" : ": ", data.line);
  if (path.empty()) return place;
  return place.empty() ? std::string(path) : fmt::format("{}: {}", place, path);
}

JsonDocument JsonDocument::parse(std::istream& in, const std::string& name, const JsonLimits& limits,
                                 std::int64_t line) {
  return parse(in, name, limits, line, nullptr);
}

JsonDocument JsonDocument::parse(std::istream& in, const std::string& name, const JsonLimits& limits,
                                 std::int64_t line, const JsonFold* fold) {
  auto data = std::make_unique<JsonData>();
  data->name = name;
  data->line = line;
  FlatBuilder builder(*data, limits, fold);
  STRATA_CHECK(in.rdbuf() != nullptr, "the stream of {} must have a buffer", name);
  // A value takes about eleven characters in our files; memory that is not used is never touched.
  constexpr std::streamsize kMaxExpected = 64 << 20;
  const std::streamsize expected = std::min({in.rdbuf()->in_avail(), kMaxExpected, limits.max_bytes});
  if (expected > 0) data->nodes.reserve(static_cast<std::size_t>(expected) / 8);
  JsonBytes bytes(*in.rdbuf(), *data, limits.max_bytes);
  try {
    const bool complete = nlohmann::json::sax_parse(bytes.begin(), bytes.end(), &builder);
    STRATA_CHECK(complete, "the parser must report why it stopped reading {}", name);
  } catch (const std::ios_base::failure& error) {
    throw InputError(name, fmt::format("a read error ({})", error.what()), "a readable file");
  }
  return JsonDocument(std::move(data));
}

JsonDocument JsonDocument::parse_text(std::string_view text, const std::string& name,
                                      const JsonLimits& limits, std::int64_t line) {
  TextBuffer buffer(text);
  std::istream in(&buffer);
  return parse(in, name, limits, line);
}

JsonDocument JsonDocument::read_file(const std::string& path, const JsonLimits& limits) {
  return read_file(path, limits, nullptr);
}

JsonDocument JsonDocument::read_file(const std::string& path, const JsonLimits& limits,
                                     const JsonFold& fold) {
  return read_file(path, limits, &fold);
}

JsonDocument JsonDocument::read_file(const std::string& path, const JsonLimits& limits,
                                     const JsonFold* fold) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) throw InputError(path, "a directory", "a JSON file");
  std::ifstream in(path, std::ios::binary);
  if (!in) throw InputError(path, std::strerror(errno), "a readable JSON file");
  try {
    return parse(in, path, limits, 0, fold);
  } catch (const InputError&) {
    const auto foreign = foreign_file(path);  // what the file is helps more than the byte that is not JSON
    if (!foreign) throw;
    throw InputError(path, foreign->found, fmt::format("a JSON file ({})", foreign->advice));
  }
}

JsonDocument::JsonDocument(std::unique_ptr<const JsonData> data) : data_(std::move(data)) {}
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

JsonValue JsonDocument::root() const { return {*data_, 0}; }

}  // namespace strata
