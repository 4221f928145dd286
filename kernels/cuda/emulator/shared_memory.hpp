// SPDX-License-Identifier: Apache-2.0
// The shared memory of one emulated block, with a shadow of every 4-byte word that remembers who accessed it
// and between which barriers, so that races, early reads and stray addresses are errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace strata::kernels::emulator {

/// Who accesses, and the number of barriers of the block and of the warp passed before.
struct Accessor {
  static constexpr int kWholeWarp = -1;
  int thread = 0;  // kWholeWarp: all lanes together, as ldmatrix does
  int warp = 0;
  std::int64_t block_barriers = 0;
  std::int64_t warp_barriers = 0;
};

class SharedMemory {
 public:
  /// Addresses begin here rather than at 0, so that a forgotten base does not go unnoticed.
  static constexpr std::uint32_t kBegin = 4096;

  explicit SharedMemory(std::size_t bytes);

  /// All throw EmulationError, whose text the caller completes with the name of the thread.
  void read(const Accessor& who, std::uint32_t address, void* to, int bytes);
  void write(const Accessor& who, std::uint32_t address, const void* from, int bytes);
  /// Between the two the destination holds NaN and may not be touched.
  void begin_copy(const Accessor& who, std::uint32_t address, int bytes);
  void finish_copy(const Accessor& who, std::uint32_t address, const void* from, int bytes);

 private:
  struct Word {
    bool written = false;
    bool in_flight = false;
    bool several_readers = false;
    bool several_warps = false;
    Accessor writer;
    Accessor reader{-2, -2, -1, -1};  // the last; of several in one warp the last
  };

  std::size_t checked(std::uint32_t address, int bytes) const;
  void check_write(const Accessor& who, std::uint32_t address, int bytes);
  static void note_read(Word& word, const Accessor& who);

  std::vector<std::byte> bytes_;
  std::vector<Word> words_;
};

}  // namespace strata::kernels::emulator
