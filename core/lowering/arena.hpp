// SPDX-License-Identifier: Apache-2.0
// Which bytes of the arena the scratch buffers of one pass get, and who used these bytes before. Time is the
// pass's issue order, counted in instructions.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace strata::detail {

/// The last instruction on one stream that uses a buffer.
struct LastUse {
  std::int32_t stream = 0;
  std::int32_t instruction = 0;
  bool operator==(const LastUse&) const = default;
};

/// A buffer that needs its bytes from instruction `first` to instruction `last`, both included.
struct Lifetime {
  std::int32_t buffer = 0;
  std::int32_t first = 0;
  std::int32_t last = 0;
  std::int64_t bytes = 0;
  std::int64_t offset = 0;         ///< bytes from the start of the pass's space
  std::span<const LastUse> users;  ///< one for each stream that uses the buffer
};

/// Gives every buffer the lowest offset at which it overlaps none that is alive with it, in the order listed,
/// which is sorted by `first`. Returns the bytes that all of them take together. n buffers take O(n log n).
std::int64_t place_by_first_fit(std::vector<Lifetime>& lives);

/// The instructions that an instruction waits for. Of several on one stream it keeps the latest.
class Waits {
 public:
  void add(std::int32_t stream, std::int32_t instruction);
  bool empty() const { return streams_.empty(); }
  /// What was added since the last call, ascending, without the instructions of `own_stream`.
  std::vector<std::int32_t> take(std::int32_t own_stream);

 private:
  std::vector<std::int32_t> latest_;   ///< [stream], -1 for none
  std::vector<std::int32_t> streams_;  ///< those that have one
};

/// Calls `heir(first, waits)` for every `first` at which buffers get bytes that others used before, in
/// ascending order. `waits` holds the last users of these bytes; `heir` takes them out. `lives` are placed
/// and sorted by `first`. n buffers and s streams take O(n s log n).
void hand_over_bytes(const std::vector<Lifetime>& lives, std::int32_t stream_count,
                     const std::function<void(std::int32_t, Waits&)>& heir);

}  // namespace strata::detail
