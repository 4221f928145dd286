// SPDX-License-Identifier: Apache-2.0
#include "traces/lengths/index_cache.hpp"

#include <fmt/format.h>

#include <fstream>
#include <string_view>
#include <system_error>

#include "core/base/check.hpp"
#include "traces/lengths/line_reader.hpp"
#include "traces/lengths/npy.hpp"

namespace strata {

namespace {

constexpr std::array<std::string_view, 3> kNames = {"-document_index.npy", "-sample_index.npy",
                                                    "-shuffle_index.npy"};
constexpr std::array<std::string_view, 3> kOldNames = {"_doc_idx.npy", "_sample_idx.npy", "_shuffle_idx.npy"};

std::string without_ending(std::string prefix) {
  for (const auto& names : {kNames, kOldNames}) {
    for (const std::string_view ending : names) {
      if (prefix.ends_with(ending)) return prefix.substr(0, prefix.size() - ending.size());
    }
  }
  return prefix;
}

/// Where one sample begins.
struct Cut {
  std::int64_t place = 0, offset = 0;
  auto operator<=>(const Cut&) const = default;
};

class PackBuilder {
 public:
  PackBuilder(const MegatronIndex& index, const IndexCache& cache) : index_(index), cache_(cache) {
    const auto sequences = std::ssize(index.sequence_lengths);
    for (std::size_t i = 0; i < cache.document_index.size(); ++i) {
      const std::int64_t sequence = cache.document_index[i];
      if (sequence < 0 || sequence >= sequences) {
        throw InputError(cache.name, fmt::format("document index entry {} = {}", i, sequence),
                         fmt::format("0 to {}, a sequence of the .idx", sequences - 1));
      }
    }
  }

  /// The sample between two cuts, without its label token.
  RecordedPack pack(std::int64_t batch, std::int64_t sample) const {
    const Cut begin = cut(sample), end = cut(sample + 1);
    if (begin >= end) {
      throw InputError(cache_.name,
                       fmt::format("sample index entry {} at ({}, {}), the one before at ({}, {})",
                                   sample + 1, end.place, end.offset, begin.place, begin.offset),
                       "a later place");
    }
    RecordedPack pack{batch, sample, {}, {}, begin.offset > 0, false};
    for (std::int64_t place = begin.place; place <= end.place; ++place) {
      const std::int64_t sequence = cache_.document_index[static_cast<std::size_t>(place)];
      const std::int64_t tokens = length_of(place);
      const std::int64_t from = place == begin.place ? begin.offset : 0;
      const std::int64_t to = place == end.place ? end.offset : tokens;
      if (to == from)
        continue;  // the next sample begins with a sequence: here only its first token, the label
      pack.pieces.push_back(to - from);
      pack.sequences.push_back(sequence);
      pack.last_is_partial = to < tokens;
    }
    return pack;
  }

 private:
  std::int64_t length_of(std::int64_t place) const {
    return index_
        .sequence_lengths[static_cast<std::size_t>(cache_.document_index[static_cast<std::size_t>(place)])];
  }

  Cut cut(std::int64_t entry) const {
    const auto at = static_cast<std::size_t>(2 * entry);
    const Cut cut{cache_.sample_index[at], cache_.sample_index[at + 1]};
    const auto places = std::ssize(cache_.document_index);
    if (cut.place < 0 || cut.place >= places || cut.offset < 0 || cut.offset >= length_of(cut.place)) {
      throw InputError(cache_.name,
                       fmt::format("sample index entry {} = ({}, {})", entry, cut.place, cut.offset),
                       fmt::format("a place from 0 to {} and an offset inside its sequence", places - 1));
    }
    return cut;
  }

  const MegatronIndex& index_;
  const IndexCache& cache_;
};

void check_permutation(const IndexCache& cache) {
  std::vector<bool> served(cache.shuffle_index.size(), false);
  for (std::size_t i = 0; i < cache.shuffle_index.size(); ++i) {
    const std::int64_t sample = cache.shuffle_index[i];
    if (sample < 0 || sample >= std::ssize(cache.shuffle_index)) {
      throw InputError(cache.name, fmt::format("shuffle index entry {} = {}", i, sample),
                       fmt::format("0 to {}", cache.shuffle_index.size() - 1));
    }
    if (served[static_cast<std::size_t>(sample)]) {
      throw InputError(cache.name, fmt::format("shuffle index entry {} = {} again", i, sample),
                       "every sample once");
    }
    served[static_cast<std::size_t>(sample)] = true;
  }
}

}  // namespace

IndexCache read_index_cache(const std::filesystem::path& prefix) {
  const std::string base = without_ending(prefix.string());
  std::error_code error;
  const bool present = std::filesystem::exists(base + std::string(kNames[0]), error);
  const bool old = !present && std::filesystem::exists(base + std::string(kOldNames[0]), error);
  if (!present && !old) {
    throw InputError(
        base, "no index cache",
        fmt::format("files {}{} or {}{}, and their companions", base, kNames[0], base, kOldNames[0]));
  }
  std::array<std::string, 3> names;
  std::array<std::ifstream, 3> files;
  std::array<std::istream*, 3> arrays{};
  for (std::size_t i = 0; i < names.size(); ++i) {
    names[i] = base + std::string((present ? kNames : kOldNames)[i]);
    files[i] = open_input(names[i]);
    arrays[i] = &files[i];
  }
  IndexCache cache = read_index_cache(arrays, names);
  cache.name = base;
  return cache;
}

IndexCache read_index_cache(const std::array<std::istream*, 3>& arrays,
                            const std::array<std::string, 3>& names) {
  IndexCache cache;
  cache.name = names[0];
  cache.document_index = read_npy_integers(*arrays[0], names[0], 1).values;
  NpyIntegers samples = read_npy_integers(*arrays[1], names[1], 2);
  cache.shuffle_index = read_npy_integers(*arrays[2], names[2], 1).values;
  if (samples.shape[0] < 2 || samples.shape[1] != 2) {
    throw InputError(names[1], fmt::format("an array of shape ({}, {})", samples.shape[0], samples.shape[1]),
                     "shape (samples + 1, 2)");
  }
  if (samples.shape[0] != std::ssize(cache.shuffle_index) + 1) {
    throw InputError(names[2], fmt::format("{} entries", cache.shuffle_index.size()),
                     fmt::format("{}, one for each sample", samples.shape[0] - 1));
  }
  cache.sample_index = std::move(samples.values);
  return cache;
}

std::int64_t scan_packs(const MegatronIndex& index, const IndexCache& cache,
                        const std::function<void(const RecordedPack&)>& visit) {
  check_permutation(cache);
  const PackBuilder builder(index, cache);
  std::int64_t tokens_each = 0;
  for (std::size_t batch = 0; batch < cache.shuffle_index.size(); ++batch) {
    const RecordedPack pack = builder.pack(static_cast<std::int64_t>(batch), cache.shuffle_index[batch]);
    std::int64_t tokens = 0;
    for (const std::int64_t piece : pack.pieces) tokens += piece;
    if (batch == 0) tokens_each = tokens;
    if (tokens != tokens_each) {
      throw InputError(cache.name, fmt::format("sample {} of {} tokens", pack.sample, tokens),
                       fmt::format("{}, as the sample served first", tokens_each));
    }
    visit(pack);
  }
  return tokens_each;
}

std::vector<Batch> read_recorded_batches(const std::filesystem::path& index_file,
                                         const std::filesystem::path& cache_prefix) {
  const MegatronIndex index = read_megatron_index(index_file);
  const IndexCache cache = read_index_cache(cache_prefix);
  std::vector<Batch> batches;
  scan_packs(index, cache, [&](const RecordedPack& pack) {
    Batch batch;
    batch.step = pack.batch;
    batch.fixed_packs = true;
    batch.packs.push_back(pack.pieces);
    batches.push_back(std::move(batch));
  });
  return batches;
}

}  // namespace strata
