// SPDX-License-Identifier: Apache-2.0
// The bytes of a JSON text, block by block, as an iterator pair: the parser takes a byte with a comparison
// and a load. The size is bounded. Not for use outside core/json/json_document.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <streambuf>
#include <vector>

#include "core/json/json_data.hpp"

namespace strata {

class JsonBytes {
 public:
  JsonBytes(std::streambuf& source, const JsonData& data, std::int64_t max_bytes);
  JsonBytes(const JsonBytes&) = delete;
  JsonBytes& operator=(const JsonBytes&) = delete;

  /// All iterators of one JsonBytes share its position; the end has no text.
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = char;
    using difference_type = std::ptrdiff_t;
    using pointer = const char*;
    using reference = const char&;

    explicit Iterator(JsonBytes* text) : text_(text) {}
    reference operator*() const { return *text_->at_; }
    Iterator& operator++() {
      ++text_->at_;
      return *this;
    }
    /// Only comparisons with the end mean anything.
    bool operator==(const Iterator&) const { return text_->at_ == text_->end_ && !text_->refill(); }

   private:
    JsonBytes* text_;
  };

  Iterator begin() { return Iterator(this); }
  Iterator end() { return Iterator(this); }

 private:
  /// Throws InputError where a NUL byte stands, because the parser takes it for the end of the text, and when
  /// the text is too large.
  bool refill();
  [[noreturn]] void fail_at_nul() const;
  /// Bytes between the last newline and `place`, a place of the block.
  std::int64_t column_at(const char* place) const;

  std::streambuf& source_;
  const JsonData& data_;
  std::int64_t left_, max_bytes_;
  std::vector<char> block_;
  const char* at_;
  /// The end of what may be read: the next NUL byte, or the end of what the block holds.
  const char* end_;
  const char* read_end_;                 ///< the end of what the block holds
  std::int64_t lines_ = 0, column_ = 0;  ///< complete lines before the block, bytes after them
};

}  // namespace strata
