// SPDX-License-Identifier: Apache-2.0
// Fuzzes Megatron's .idx together with its index cache: the input is the .idx, then the three arrays, each
// after four bytes of length. What is read rebuilds packs that hold what the .idx has, and equally many
// tokens each.
#include <algorithm>
#include <sstream>

#include "core/base/check.hpp"
#include "traces/lengths/index_cache.hpp"
#include "traces/lengths/megatron_index.hpp"

namespace {

/// Takes parts off the front of the input; the last may be short.
class Parts {
 public:
  explicit Parts(std::string bytes) : bytes_(std::move(bytes)) {}

  std::istringstream next() {
    std::size_t length = 0;
    for (int i = 0; i < 4 && at_ < bytes_.size(); ++i) {
      length |= static_cast<std::size_t>(static_cast<unsigned char>(bytes_[at_++])) << (8 * i);
    }
    const std::size_t begin = at_;
    at_ = std::min(bytes_.size(), begin + length);
    return std::istringstream(bytes_.substr(begin, at_ - begin));
  }

 private:
  std::string bytes_;
  std::size_t at_ = 0;
};

void read_packs(Parts parts) {
  std::istringstream index_bytes = parts.next();
  const strata::MegatronIndex index = strata::read_megatron_index(index_bytes, "index");
  std::istringstream documents = parts.next(), samples = parts.next(), shuffle = parts.next();
  const strata::IndexCache cache =
      strata::read_index_cache({&documents, &samples, &shuffle}, {"documents", "samples", "shuffle"});
  std::int64_t packs = 0;
  const std::int64_t tokens = strata::scan_packs(index, cache, [&](const strata::RecordedPack& pack) {
    STRATA_CHECK(pack.pieces.size() == pack.sequences.size() && !pack.pieces.empty(),
                 "pack {} has {} pieces of {} sequences", pack.batch, pack.pieces.size(),
                 pack.sequences.size());
    for (std::size_t i = 0; i < pack.pieces.size(); ++i) {
      const std::int64_t most = index.sequence_lengths[static_cast<std::size_t>(pack.sequences[i])];
      STRATA_CHECK(pack.pieces[i] > 0 && pack.pieces[i] <= most, "pack {} takes {} tokens of {}", pack.batch,
                   pack.pieces[i], most);
    }
    ++packs;
  });
  STRATA_CHECK(packs == std::ssize(cache.shuffle_index) && tokens > 0, "{} packs of {} tokens", packs,
               tokens);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    read_packs(Parts(std::string(reinterpret_cast<const char*>(data), size)));
  } catch (const strata::InputError&) {
    return 0;
  }
  return 0;
}
