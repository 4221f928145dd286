// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/emulator/shared_memory.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/cuda/emulator/emulator.hpp"

namespace strata::kernels::emulator {
namespace {

constexpr std::size_t kWordBytes = 4;

/// Whether nothing orders an earlier access before one by `who`.
bool unordered(const Accessor& earlier, const Accessor& who) {
  if (earlier.block_barriers != who.block_barriers) return false;
  if (earlier.warp != who.warp) return true;
  const bool same_thread = earlier.thread == who.thread && who.thread != Accessor::kWholeWarp;
  return !same_thread && earlier.warp_barriers == who.warp_barriers;
}

std::string name_of(const Accessor& who) {
  return who.thread == Accessor::kWholeWarp ? "warp " + std::to_string(who.warp)
                                            : "thread " + std::to_string(who.thread);
}

}  // namespace

SharedMemory::SharedMemory(std::size_t bytes) : bytes_(bytes, std::byte{0xFF}), words_(bytes / kWordBytes) {}

std::size_t SharedMemory::checked(std::uint32_t address, int bytes) const {
  const auto size = static_cast<std::size_t>(bytes);
  if (address < kBegin || address - kBegin + size > bytes_.size()) {
    throw EmulationError("accesses " + std::to_string(bytes) + " bytes of shared memory at offset " +
                         std::to_string(static_cast<std::int64_t>(address) - kBegin) + " of " +
                         std::to_string(bytes_.size()));
  }
  if (address % size != 0) {
    throw EmulationError("accesses " + std::to_string(bytes) + " bytes of shared memory at offset " +
                         std::to_string(address - kBegin) + ", which is not aligned");
  }
  return address - kBegin;
}

void SharedMemory::note_read(Word& word, const Accessor& who) {
  const bool first = word.reader.block_barriers != who.block_barriers;
  word.several_warps = !first && (word.several_warps || word.reader.warp != who.warp);
  const bool same =
      word.reader.thread == who.thread && word.reader.warp == who.warp && who.thread != Accessor::kWholeWarp;
  // An earlier reader behind a barrier of the same warp no longer counts.
  const bool forgotten = first || word.reader.warp_barriers != who.warp_barriers;
  word.several_readers = !forgotten && (word.several_readers || !same);
  word.reader = who;
}

void SharedMemory::read(const Accessor& who, std::uint32_t address, void* to, int bytes) {
  const std::size_t begin = checked(address, bytes);
  const std::size_t end = (begin + static_cast<std::size_t>(bytes)) / kWordBytes;
  for (std::size_t w = begin / kWordBytes; w < end; ++w) {
    Word& word = words_[w];
    const bool race = word.written && unordered(word.writer, who);
    if (word.in_flight || !word.written || race) {
      const std::string what = "reads shared memory at offset " + std::to_string(w * kWordBytes);
      if (word.in_flight) throw EmulationError(what + " while a copy is on its way there");
      if (!word.written) throw EmulationError(what + ", which nothing has written");
      throw EmulationError(what + ", written by " + name_of(word.writer) + " without a barrier between");
    }
    note_read(word, who);
  }
  std::memcpy(to, bytes_.data() + begin, static_cast<std::size_t>(bytes));
}

void SharedMemory::check_write(const Accessor& who, std::uint32_t address, int bytes) {
  const std::size_t begin = checked(address, bytes);
  const std::size_t end = (begin + static_cast<std::size_t>(bytes)) / kWordBytes;
  for (std::size_t w = begin / kWordBytes; w < end; ++w) {
    Word& word = words_[w];
    const char* problem = nullptr;
    const Accessor* other = nullptr;
    const bool read_since = word.reader.block_barriers == who.block_barriers;
    if (word.in_flight) {
      problem = "a destination of an unfinished copy by ";
      other = &word.writer;
    } else if (word.written && unordered(word.writer, who)) {
      problem = "written without a barrier between by ";
      other = &word.writer;
    } else if (read_since && (word.several_warps || unordered(word.reader, who) ||
                              (word.several_readers && word.reader.warp_barriers == who.warp_barriers))) {
      problem = "read without a barrier between by ";
      other = &word.reader;
    }
    if (problem != nullptr) {
      throw EmulationError("writes shared memory at offset " + std::to_string(w * 4) + ", " + problem +
                           name_of(*other));
    }
    word.written = true;
    word.writer = who;
  }
}

void SharedMemory::write(const Accessor& who, std::uint32_t address, const void* from, int bytes) {
  check_write(who, address, bytes);
  std::memcpy(bytes_.data() + (address - kBegin), from, static_cast<std::size_t>(bytes));
}

void SharedMemory::begin_copy(const Accessor& who, std::uint32_t address, int bytes) {
  check_write(who, address, bytes);
  const std::size_t begin = address - kBegin;
  std::fill_n(bytes_.begin() + static_cast<std::ptrdiff_t>(begin), bytes, std::byte{0xFF});
  for (std::size_t w = 0; w < static_cast<std::size_t>(bytes) / kWordBytes; ++w) {
    words_[begin / kWordBytes + w].in_flight = true;
  }
}

void SharedMemory::finish_copy(const Accessor& who, std::uint32_t address, const void* from, int bytes) {
  const std::size_t begin = checked(address, bytes);
  for (std::size_t w = 0; w < static_cast<std::size_t>(bytes) / kWordBytes; ++w) {
    words_[begin / kWordBytes + w].in_flight = false;
    words_[begin / kWordBytes + w].writer = who;
  }
  std::memcpy(bytes_.data() + begin, from, static_cast<std::size_t>(bytes));
}

}  // namespace strata::kernels::emulator
