// SPDX-License-Identifier: Apache-2.0
#include "traces/lengths/line_reader.hpp"

#include <fmt/format.h>

#include <charconv>
#include <system_error>
#include <utility>

#include "core/base/check.hpp"

namespace strata {

namespace {

constexpr std::size_t kChunk = 1 << 16;

}  // namespace

std::ifstream open_input(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) throw InputError(path.string(), "no such file", "a readable file");
  if (std::filesystem::is_directory(status)) throw InputError(path.string(), "a folder", "a readable file");
  std::ifstream in(path, std::ios::binary);
  if (!in) throw InputError(path.string(), "a file that cannot be opened", "a readable file");
  return in;
}

std::int64_t remaining_bytes(std::istream& in, std::string_view name) {
  const std::streampos here = in.tellg();
  in.seekg(0, std::ios::end);
  const std::streampos end = in.tellg();
  in.seekg(here);
  if (!in || here < 0 || end < here) {
    throw InputError(std::string(name), "a stream that cannot seek", "a regular file");
  }
  return static_cast<std::int64_t>(end - here);
}

std::string quoted_excerpt(std::string_view text) {
  constexpr std::size_t kKept = 40;
  std::string result = "\"";
  for (const char raw : text.substr(0, kKept)) {
    const auto byte = static_cast<unsigned char>(raw);
    if (byte < 0x20 || byte > 0x7e) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      if (raw == '"' || raw == '\\') result += '\\';
      result += raw;
    }
  }
  result += text.size() > kKept ? "...\"" : "\"";
  return result;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::int64_t parse_tokens(std::string_view text, std::int64_t least, std::string_view what,
                          const std::string& where) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (!whole || value < least || value > kLongestDocument) {
    throw InputError(where, quoted_excerpt(text),
                     fmt::format("{}, an integer from {} to {}", what, least, kLongestDocument));
  }
  return value;
}

LineReader::LineReader(std::istream& in, std::string name, std::size_t longest)
    : in_(in), name_(std::move(name)), longest_(longest) {}

std::string LineReader::where() const { return fmt::format("{}:{}", name_, line_); }

bool LineReader::refill() {
  if (ended_) return false;
  buffer_.erase(0, begin_);
  begin_ = 0;
  const std::size_t kept = buffer_.size();
  buffer_.resize(kept + kChunk);
  in_.read(buffer_.data() + kept, static_cast<std::streamsize>(kChunk));
  if (in_.bad()) throw InputError(name_, "a read error", "a readable file");
  buffer_.resize(kept + static_cast<std::size_t>(in_.gcount()));
  ended_ = buffer_.size() - kept < kChunk;
  return buffer_.size() > kept;
}

std::optional<std::string_view> LineReader::next() {
  std::size_t searched = begin_;
  std::size_t end = buffer_.find('\n', searched);
  while (end == std::string::npos) {
    searched = buffer_.size() - begin_;  // where the unread part ends once it has moved to the front
    if (searched > longest_) break;
    if (!refill()) break;
    end = buffer_.find('\n', searched);
  }
  if (end == std::string::npos && begin_ == buffer_.size()) return std::nullopt;
  ++line_;
  const std::size_t stop = end == std::string::npos ? buffer_.size() : end;
  if (stop - begin_ > longest_) {
    throw InputError(where(), fmt::format("a line of more than {} bytes", longest_), "a shorter line");
  }
  std::string_view text(buffer_.data() + begin_, stop - begin_);
  begin_ = end == std::string::npos ? buffer_.size() : end + 1;
  if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
  if (text.find('\0') != std::string_view::npos) {
    throw InputError(where(), "a zero byte", "text (is this a binary file?)");
  }
  return text;
}

}  // namespace strata
