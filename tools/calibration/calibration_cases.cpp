// SPDX-License-Identifier: Apache-2.0
#include "tools/calibration/calibration_cases.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "core/base/check.hpp"
#include "core/base/digest.hpp"
#include "core/lowering/lower.hpp"
#include "core/program/program_digest.hpp"
#include "cost_models/cost/instruction_cost.hpp"
#include "tools/calibration/calibration_waves.hpp"

namespace strata::tools {

namespace {

constexpr std::int64_t kShortest = 16;

/// first, first * factor, ... up to `last`.
std::vector<std::int64_t> ladder(std::int64_t first, std::int64_t last, std::int64_t factor) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t size = first; size <= last; size *= factor) sizes.push_back(size);
  return sizes;
}

double attention_flops(const ModelShape& model, std::int64_t queries, std::int64_t keys, bool causal) {
  const std::int64_t pairs =
      band_pair_count(queries, keys, -kUnbounded, causal ? keys - queries : kUnbounded);
  return 2.0 * (model.head_dim + model.value_head_dim) * model.query_heads * static_cast<double>(pairs);
}

/// Of the widest tensor.
std::int64_t f32_row_bytes(const ModelShape& model) {
  const std::int64_t query_side =
      std::int64_t{model.query_heads} * std::max(model.head_dim, model.value_head_dim);
  const std::int64_t key_side = std::int64_t{model.kv_heads} * (model.head_dim + model.value_head_dim);
  return 4 * std::max(query_side, key_side);
}

/// The first ranks of all devices.
std::vector<std::int32_t> computing_ranks(const RankPlaces& places) {
  std::vector<std::int32_t> ranks, devices;
  for (std::int32_t rank = 0; rank < places.count(); ++rank) {
    const std::int32_t device = places.device[static_cast<std::size_t>(rank)];
    if (std::find(devices.begin(), devices.end(), device) != devices.end()) continue;
    devices.push_back(device);
    ranks.push_back(rank);
  }
  return ranks;
}

/// Two ranks whose link is of a level, and all that are at most as far from the first.
struct Joined {
  std::int32_t first = 0, second = 0;
  std::vector<std::int32_t> ranks;
};
std::optional<Joined> joined_by(const RankPlaces& places, LinkLevel level) {
  for (std::int32_t first = 0; first < places.count(); ++first) {
    for (std::int32_t second = first + 1; second < places.count(); ++second) {
      if (places.level(first, second) != level) continue;
      Joined joined{first, second, {}};
      for (std::int32_t rank = 0; rank < places.count(); ++rank) {
        if (rank == first || places.level(first, rank) <= level) joined.ranks.push_back(rank);
      }
      return joined;
    }
  }
  return std::nullopt;
}

class PartWriter {
 public:
  PartWriter(const ModelShape& model, const RankPlaces& places, const CalibrationGrid& grid)
      : model_(model), places_(places), grid_(grid), computing_(computing_ranks(places)) {
    STRATA_CHECK(places.count() > 0 && places.device.size() == places.node.size(), "{} ranks on {} devices",
                 places.count(), places.device.size());
    part_.execution.model = model;
  }

  void attention() {
    const std::vector<std::int64_t> lengths = ladder(kShortest, grid_.longest, grid_.factor);
    for (const std::int64_t queries : lengths) {
      for (const std::int64_t keys : lengths) {
        for (const bool causal : {false, true}) {
          if (queries > keys || attention_flops(model_, queries, keys, causal) > grid_.attention.count) {
            continue;
          }
          attention(queries, keys, causal);
        }
      }
    }
  }

  void rows() {
    const std::int64_t row_bytes =
        4 * std::max(std::int64_t{model_.query_heads} * model_.value_head_dim,
                     std::int64_t{model_.kv_heads} * (model_.head_dim + model_.value_head_dim));
    for (const std::int64_t rows : ladder(1, grid_.rows.count / row_bytes, grid_.factor)) this->rows(rows);
  }

  void exchanges() {
    for (const LinkLevel level : {LinkLevel::device, LinkLevel::node, LinkLevel::network}) {
      const std::optional<Joined> joined = joined_by(places_, level);
      if (!joined) continue;
      for (const std::int64_t bytes : messages(1)) pair(*joined, level, {bytes});
      const auto peers = std::ssize(joined->ranks) - 1;
      for (const std::int64_t bytes : messages(peers)) all_to_all(*joined, level, {bytes});
    }
  }

  CalibrationPart finish() {
    Digest digest;
    for (const ExecutableWave& wave : part_.execution.waves) {
      for (const std::string& program : program_digests(wave.programs)) digest.add(std::string_view(program));
    }
    part_.execution.plan_digest = digest.text();
    return std::move(part_);
  }

 private:
  std::vector<std::int64_t> messages(std::int64_t peers) const {
    return ladder(WaveWriter::kMessageRow, grid_.sent.count / peers, grid_.factor);
  }

  WaveWriter new_wave() const { return {model_, places_.count()}; }
  std::int32_t wave_number() const { return static_cast<std::int32_t>(part_.execution.waves.size()); }

  CalibrationCase& add_case(CaseOperation operation, const WrittenCase& written,
                            const std::vector<std::int32_t>& ranks) {
    CalibrationCase& added = part_.cases.emplace_back();
    added.operation = operation;
    added.wave = wave_number();
    added.pass = written.pass;
    added.instruction = written.instruction;
    added.ranks = ranks;
    return added;
  }

  const Operation& operation_of(const WaveWriter& wave, const WrittenCase& written) const {
    const auto& list = wave.program(computing_.front()).instructions(written.pass);
    return list[static_cast<std::size_t>(written.instruction)].op;
  }

  void attention(std::int64_t queries, std::int64_t keys, bool causal) {
    WaveWriter wave = new_wave();
    std::array<WrittenCase, 2> written;
    for (const std::int32_t rank : computing_) {
      std::tie(written[0], written[1]) = write_attention(wave, model_, rank, queries, keys, causal);
    }
    for (const WrittenCase& each : written) {
      CalibrationCase& added = add_case(CaseOperation::attention, each, computing_);
      added.query_length = queries;
      added.key_length = keys;
      added.causal = causal;
      added.flops = operation_flops(wave.program(computing_.front()), operation_of(wave, each));
    }
    part_.execution.waves.push_back(wave.finish());
  }

  void rows(std::int64_t rows) {
    WaveWriter wave = new_wave();
    WrittenRows written;
    for (const std::int32_t rank : computing_) written = write_rows(wave, model_, rank, rows);
    // The traffic of an instruction does not depend on what it costs.
    const CostProfile any = default_profile("cpu");
    for (const auto& [operation, each] :
         {std::pair(CaseOperation::zero, written.zero), std::pair(CaseOperation::cast, written.cast),
          std::pair(CaseOperation::copy, written.copy), std::pair(CaseOperation::add, written.add),
          std::pair(CaseOperation::merge, written.merge), std::pair(CaseOperation::delta, written.delta)}) {
      CalibrationCase& added = add_case(operation, each, computing_);
      added.rows = rows;
      added.bytes = {instruction_cost(wave.program(computing_.front()), operation_of(wave, each), each.pass,
                                      model_, any, false)
                         .memory_bytes};
    }
    part_.execution.waves.push_back(wave.finish());
  }

  CalibrationCase& add_exchange(CaseOperation operation, const WrittenCase& written,
                                const std::vector<std::int32_t>& ranks, LinkLevel level, Bytes message) {
    CalibrationCase& added = add_case(operation, written, ranks);
    added.level = level;
    added.message = added.bytes = message;
    return added;
  }

  void pair(const Joined& joined, LinkLevel level, Bytes message) {
    WaveWriter wave = new_wave();
    const auto [one_way, both_ways] = write_pair(wave, joined.first, joined.second, message);
    const std::vector<std::int32_t> ranks{joined.first, joined.second};
    add_exchange(CaseOperation::point_to_point, one_way, ranks, level, message);
    add_exchange(CaseOperation::point_to_point, both_ways, ranks, level, message).both_ways = true;
    part_.execution.waves.push_back(wave.finish());
  }

  void all_to_all(const Joined& joined, LinkLevel level, Bytes message) {
    WaveWriter wave = new_wave();
    const WrittenCase written = write_all_to_all(wave, joined.ranks, message);
    add_exchange(CaseOperation::all_to_all, written, joined.ranks, level, message).bytes =
        message * (std::ssize(joined.ranks) - 1);
    part_.execution.waves.push_back(wave.finish());
  }

  const ModelShape& model_;
  const RankPlaces& places_;
  const CalibrationGrid& grid_;
  const std::vector<std::int32_t> computing_;
  CalibrationPart part_;
};

}  // namespace

std::string_view to_string(CaseOperation operation) {
  constexpr std::array<std::string_view, 9> kNames{
      "attention", "copy", "merge", "add", "cast", "zero", "delta", "point_to_point", "all_to_all"};
  return kNames.at(static_cast<std::size_t>(operation));
}

LinkLevel RankPlaces::level(std::int32_t a, std::int32_t b) const {
  const auto first = static_cast<std::size_t>(a), second = static_cast<std::size_t>(b);
  if (device[first] == device[second]) return LinkLevel::device;
  return node[first] == node[second] ? LinkLevel::node : LinkLevel::network;
}

RankPlaces RankPlaces::on_hosts(const std::vector<std::string>& hosts) {
  RankPlaces places;
  std::vector<std::string> names;
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    const auto known = std::find(names.begin(), names.end(), hosts[rank]);
    places.node.push_back(static_cast<std::int32_t>(known - names.begin()));
    places.device.push_back(static_cast<std::int32_t>(rank));
    if (known == names.end()) names.push_back(hosts[rank]);
  }
  return places;
}

RankPlaces RankPlaces::on_one_device(std::int32_t ranks) {
  RankPlaces places;
  places.node.assign(static_cast<std::size_t>(ranks), 0);
  places.device = places.node;
  return places;
}

CalibrationGrid cpu_grid(Fineness fineness) {
  constexpr std::int64_t kMiB = std::int64_t{1} << 20;
  switch (fineness) {
    case Fineness::quick:
      return {16, 256, {1e9}, {kMiB / 4}, {kMiB / 4}};
    case Fineness::normal:
      return {4, 4096, {2e9}, {64 * kMiB}, {64 * kMiB}};
    case Fineness::thorough:
      return {2, 16384, {1.6e10}, {256 * kMiB}, {256 * kMiB}};
  }
  STRATA_CHECK(false, "fineness {}", static_cast<int>(fineness));
}

CalibrationGrid gpu_grid(Fineness fineness, const ModelShape& model, Bytes free, std::string_view kernel) {
  CalibrationGrid grid = cpu_grid(fineness);
  if (fineness == Fineness::quick) return grid;
  const bool thorough = fineness == Fineness::thorough;
  // The rank that computes holds up to ten tensors of the largest size, three others two each.
  constexpr std::int64_t kLargest = std::int64_t{1} << 30, kShare = 20;
  grid.rows = grid.sent = {std::min(kLargest, free.count / kShare)};
  grid.longest =
      std::min<std::int64_t>(thorough ? 131072 : 65536, free.count / kShare / f32_row_bytes(model));
  constexpr double kPlainShare = 0.01;  // of what tensor cores do in the same time, roughly
  grid.attention.count = (thorough ? 1e14 : 2e13) * (kernel == "plain" ? kPlainShare : 1.0);
  return grid;
}

std::vector<ModelShape> calibrated_models(const ModelShape& model, Fineness fineness) {
  std::vector<ModelShape> models{model};
  if (fineness == Fineness::normal) return models;
  const int halvings = fineness == Fineness::quick ? 1 : 3;
  ModelShape fewer = model;
  for (int half = 0; half < halvings && fewer.query_heads % 2 == 0 && fewer.kv_heads % 2 == 0; ++half) {
    fewer.query_heads /= 2;
    fewer.kv_heads /= 2;
    models.push_back(fewer);
  }
  if (fineness == Fineness::quick) return models;
  for (const std::int32_t dim : {64, 128, 192, 256}) {
    ModelShape other = model;
    other.head_dim = other.value_head_dim = dim;
    if (other != model) models.push_back(other);
  }
  return models;
}

CalibrationPart attention_part(const ModelShape& model, const RankPlaces& places,
                               const CalibrationGrid& grid) {
  PartWriter part(model, places, grid);
  part.attention();
  return part.finish();
}

CalibrationPart whole_part(const ModelShape& model, const RankPlaces& places, const CalibrationGrid& grid) {
  PartWriter part(model, places, grid);
  part.attention();
  part.rows();
  part.exchanges();
  return part.finish();
}

}  // namespace strata::tools
