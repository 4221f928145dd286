// SPDX-License-Identifier: Apache-2.0
#include "core/base/digest.hpp"

#include <fmt/format.h>

namespace strata {

namespace {

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
std::uint64_t avalanche(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

void Digest::add_bytes(const void* data, std::size_t size) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  while (size >= 8) {
    std::uint64_t word = 0;
    for (int i = 0; i < 8; ++i) word |= std::uint64_t{bytes[i]} << (8 * i);
    add_word(word);
    bytes += 8;
    size -= 8;
  }
  std::uint64_t tail = std::uint64_t{size} << 56;
  for (std::size_t i = 0; i < size; ++i) tail |= std::uint64_t{bytes[i]} << (8 * i);
  if (size > 0) add_word(tail);
}

void Digest::add(std::string_view text) {
  add_word(text.size());
  add_bytes(text.data(), text.size());
}

std::string Digest::text() const {
  return fmt::format("{:016x}{:016x}", avalanche(first_ ^ (second_ >> 7)), avalanche(second_ + first_));
}

std::string digest_of(std::string_view text) {
  Digest digest;
  digest.add(text);
  return digest.text();
}

}  // namespace strata
