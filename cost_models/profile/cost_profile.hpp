// SPDX-License-Identifier: Apache-2.0
// How fast one kind of device is: measured tables with their provenance. All times are nanoseconds of ONE
// execution unit (a CPU core; a whole GPU where Device::cores is 1); the simulator divides devices among
// ranks. A lookup outside the measured range answers with the nearest measured value and says so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/units.hpp"
#include "core/problem/model_shape.hpp"
#include "core/problem/topology.hpp"
#include "core/program/rank_program.hpp"

namespace strata {

inline constexpr std::int32_t kProfileFormatVersion = 2;

/// How well a measured profile predicts what it was not fitted to.
struct ProfileQuality {
  /// Absolute relative error of held-out attention instructions, 95th percentile; empty: none was held out.
  std::optional<double> held_out_p95;
  /// Load average of the minute before measuring, per hardware thread; empty: the system does not say.
  std::optional<double> load;
  bool operator==(const ProfileQuality&) const = default;
};

/// A profile whose held-out instructions are further off than this, or that held none out, is labelled
/// "measured, poor".
inline constexpr double kPoorHeldOutError = 0.5;

/// Where the numbers come from. Errors are median absolute relative errors per attention instruction of the
/// fitted and of the held-out measurements; -1: none was taken. `measured` is a claim: it needs a device, a
/// date, samples and a quality, or the reader refuses it.
struct ProfileProvenance {
  std::string device;  ///< name of the processor
  std::string date;    ///< YYYY-MM-DD
  std::string tool_version;
  std::string instruction_set;  ///< "AVX2", "AVX3", ...; "" when it does not apply
  std::int32_t threads = 1;     ///< used while measuring
  bool measured = false;        ///< false: constants from public sources; every output then says "unmeasured"
  double fit_error = -1;
  double held_out_error = -1;
  std::int64_t samples = 0;    ///< measurements behind the tables
  std::string samples_digest;  ///< of those measurements (core/base/digest.hpp); "": none
  std::optional<ProfileQuality> quality;
  std::string notes;
  bool operator==(const ProfileProvenance&) const = default;
};

/// What a profile speaks for. Devices are told by the words of their names (device_words.hpp). Types and head
/// dimensions are those of the tables.
struct ProfileCoverage {
  std::vector<std::string> devices;        ///< patterns: "h100", "h100*", "!pcie"
  std::vector<ElementType> element_types;  ///< ascending
  std::vector<std::int32_t> head_dims;     ///< of queries and keys, ascending
  bool operator==(const ProfileCoverage&) const = default;
};

/// Nanoseconds per allowed pair and query head over query length x key length, both ascending.
struct LengthGrid {
  std::vector<std::int64_t> query_lengths;
  std::vector<std::int64_t> key_lengths;
  std::vector<double> ns_per_pair;  ///< [query * key_lengths.size() + key]
  bool operator==(const LengthGrid&) const = default;
};

/// Attention of one pass, storage type and head dimension (see attention_cost.hpp for the formula). Backward
/// counts its grad_q and grad_kv work together.
struct AttentionTable {
  Pass pass = Pass::forward;
  ElementType element_type = ElementType::f32;
  std::int32_t head_dim = 0;
  std::int32_t value_head_dim = 0;
  std::int32_t tile_rows = 64;                 ///< query rows of one independent work item
  double launch_ns = 0;                        ///< per instruction, before any item
  double tile_ns = 0;                          ///< per item: query tile x KV head
  LengthGrid full;                             ///< blocks without masked pairs
  std::vector<std::int64_t> diagonal_lengths;  ///< causal triangles of n x n rows, ascending
  std::vector<double> diagonal_ns_per_pair;    ///< per allowed pair, that is n (n + 1) / 2 of them
  bool operator==(const AttentionTable&) const = default;
};

/// A memory-bound row operation: launch_ns per instruction, range_ns per contiguous range of rows, and the
/// rate at which one execution unit gets through its bytes, read plus written.
struct RowRate {
  double launch_ns = 0;
  double range_ns = 0;
  double bytes_per_second = 0;
  bool operator==(const RowRate&) const = default;
};

struct ExchangeRates {
  double launch_ns = 0;              ///< from posting an Exchange until its data may move
  double part_ns = 0;                ///< added to it per part, sent or received
  double peer_bytes_per_second = 0;  ///< cap of the flow from one rank to another; 0: none
  double copy_units = 1;             ///< execution units that one transfer inside a device occupies
  double communication_units = 0;    ///< execution units held by a posted Exchange until it ends
  bool operator==(const ExchangeRates&) const = default;
};

/// File form, in this order, every key required, unknown keys refused:
///   {"format_version": 2, "name": s,
///    "covers": {"devices": [s], "element_types": [s], "head_dims": [n]},
///    "provenance": {"device": s, "date": s, "tool_version": s, "instruction_set": s, "threads": n,
///                   "measured": b, "fit_error": x, "held_out_error": x,
///                   "samples": {"count": n, "digest": s},
///                   "quality": {"held_out_p95": x|null, "load": x|null}|null, "notes": s},
///    "attention": [{"pass": "forward"|"backward", "element_type": "f32"|"bf16"|"f16",
///                   "head_dim": n, "value_head_dim": n, "tile_rows": n, "launch_ns": x, "tile_ns": x,
///                   "full": {"query_lengths": [n], "key_lengths": [n], "ns_per_pair": [x]},
///                   "diagonal": {"lengths": [n], "ns_per_pair": [x]}}],
///    "rows": {"copy"|"merge"|"add"|"cast"|"delta"|"zero":
///               {"launch_ns": x, "range_ns": x, "bytes_per_second": x}, "chunk_bytes": n},
///    "linear_flops_per_second": x, "memory_bytes_per_second": x,
///    "exchange": {"launch_ns": x, "part_ns": x, "peer_bytes_per_second": x, "copy_units": x,
///                 "communication_units": x}}
struct CostProfile {
  std::string name;
  ProfileCoverage covers;
  ProfileProvenance provenance;
  std::vector<AttentionTable> attention;  ///< sorted by (pass, element_type, head_dim, value_head_dim)
  RowRate copy, merge, add, cast, delta, zero;
  /// Row operations split into independent items of this size; 0: one item.
  std::int64_t row_chunk_bytes = 0;
  double linear_flops_per_second = 0;  ///< one execution unit
  double memory_bytes_per_second = 0;  ///< whole device, read plus written; 0: never the limit
  ExchangeRates exchange;
  bool operator==(const CostProfile&) const = default;
};

/// A number from a table. `extrapolated` says that it was asked for outside what was measured.
struct Lookup {
  double value = 0;
  bool extrapolated = false;
};

/// The table for a model. Where there is none for the very shape and type, it is that of the nearest head
/// dimension, with `scale` = ratio of k_dim + v_dim, and extrapolated = true. It has the same pass, and the
/// same type if possible, else one of the same size.
struct AttentionTableChoice {
  const AttentionTable* table = nullptr;
  double scale = 1;
  bool extrapolated = false;
};
AttentionTableChoice find_attention_table(const CostProfile& profile, Pass pass, ElementType type,
                                          std::int32_t head_dim, std::int32_t value_head_dim);

/// Interpolates bilinearly between grid points in log2 of the lengths. The logarithm is taken as linear
/// between powers of two, so that no rounding of a math library enters a decision.
Lookup full_ns_per_pair(const AttentionTable& table, std::int64_t query_length, std::int64_t key_length);
Lookup diagonal_ns_per_pair(const AttentionTable& table, std::int64_t length);
/// The smallest entry of both tables: no block costs less per pair.
double best_ns_per_pair(const AttentionTable& table);

/// Throws InputError naming `where` unless lengths are positive and ascend, sizes are consistent, rates are
/// positive and both passes are there.
void validate(const CostProfile& profile, std::string_view where);
/// Reads and validates. Throws InputError naming `where`.
CostProfile read_profile(std::string_view text, std::string_view where);
/// The same for a file.
CostProfile read_profile_file(const std::string& path);
/// Canonical text: equal profiles give equal bytes.
std::string profile_text(const CostProfile& profile);

/// The element types and head dimensions of the tables.
ProfileCoverage table_coverage(const std::vector<AttentionTable>& tables);
/// Whether the tables hold this type.
bool covers_type(const CostProfile& profile, ElementType type);
/// The devices with ranks that the profile does not speak for, ascending.
std::vector<std::int32_t> uncovered_devices(const CostProfile& profile, const Topology& topology);
/// "devices named h100 in bf16 and f16, heads of 64, 96 and 128".
std::string coverage_text(const ProfileCoverage& coverage);

/// "cpu" or "h100", from public figures (measured = false). Throws InputError for another name.
CostProfile default_profile(std::string_view name);
/// The shipped profile that speaks for every device with ranks. Throws InputError naming a device for which
/// there is none, and what to do.
CostProfile default_profile(const Topology& topology);
/// Throws InputError naming `where` unless the profile speaks for every device with ranks.
void expect_covered(const CostProfile& profile, const Topology& topology, std::string_view where);

/// "unmeasured", "measured", or "measured, poor" above kPoorHeldOutError.
std::string provenance_label(const CostProfile& profile);
/// " (unmeasured profile cpu)" or "", for the end of a printed heading.
std::string unmeasured_note(const CostProfile& profile);

}  // namespace strata
