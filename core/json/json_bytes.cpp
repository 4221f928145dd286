// SPDX-License-Identifier: Apache-2.0
#include "core/json/json_bytes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/base/check.hpp"

namespace strata {

namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 16;

std::int64_t count_lines(const char* at, const char* end) {
  std::int64_t lines = 0;
  while (at != end) {
    const void* newline = std::memchr(at, '\n', static_cast<std::size_t>(end - at));
    if (newline == nullptr) break;
    at = static_cast<const char*>(newline) + 1;
    ++lines;
  }
  return lines;
}

}  // namespace

JsonBytes::JsonBytes(std::streambuf& source, const JsonData& data, std::int64_t max_bytes)
    : source_(source),
      data_(data),
      left_(max_bytes),
      max_bytes_(max_bytes),
      block_(kBlockBytes),
      at_(block_.data()),
      end_(at_),
      read_end_(at_) {}

std::int64_t JsonBytes::column_at(const char* place) const {
  const char* begin = block_.data();
  const auto reversed_end = std::make_reverse_iterator(begin);
  const auto newline = std::find(std::make_reverse_iterator(place), reversed_end, '\n');
  return newline == reversed_end ? column_ + (place - begin) : place - newline.base();
}

bool JsonBytes::refill() {
  if (end_ != read_end_) fail_at_nul();
  const char* begin = block_.data();
  column_ = column_at(end_);
  lines_ += count_lines(begin, end_);
  const std::streamsize count = source_.sgetn(block_.data(), static_cast<std::streamsize>(block_.size()));
  at_ = end_ = read_end_ = begin;
  if (count <= 0) return false;
  left_ -= count;
  if (left_ < 0) {
    throw InputError(data_.name, fmt::format("more than {} bytes", max_bytes_), "a smaller file");
  }
  read_end_ = begin + count;
  const auto* nul = static_cast<const char*>(std::memchr(begin, 0, static_cast<std::size_t>(count)));
  end_ = nul == nullptr ? read_end_ : nul;
  if (at_ == end_) fail_at_nul();
  return true;
}

void JsonBytes::fail_at_nul() const {
  const char* begin = block_.data();
  const std::int64_t line = data_.line > 0 ? data_.line : 1 + lines_ + count_lines(begin, end_);
  throw InputError(fmt::format("{}: line {}, column {}", data_.name, line, column_at(end_) + 1), "a NUL byte",
                   "JSON");
}

}  // namespace strata
