// SPDX-License-Identifier: Apache-2.0
// What one record of a schedule moves or computes: the one definition of each. The verifier counts a second
// time, by itself, on purpose (core/verify/verify_numbers.cpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/base/units.hpp"
#include "core/problem/mask.hpp"
#include "core/problem/model_shape.hpp"
#include "core/schedule/comm_schedule.hpp"

namespace strata {

/// `rows` are the tensor's own; the others are one number a row and head.
enum class WireContent : std::uint8_t { rows, log_sum_exp, delta };

struct WireField {
  WireContent content = WireContent::rows;
  ElementType type = ElementType::f32;
  std::int32_t width = 1;  ///< elements per row and head
};

/// What a row and head of a tensor is on the wire: `count` fields, the tensor's own rows first.
struct WireForm {
  std::array<WireField, 3> fields;
  std::size_t count = 1;
};

/// The formats that TensorKind states.
WireForm wire_form(TensorKind tensor, const ModelShape& model);
/// Bytes of one row and head of `tensor` on the wire.
std::int64_t wire_bytes(TensorKind tensor, const ModelShape& model);
/// Bytes of a slice on the wire, to one receiver.
Bytes slice_bytes(TensorKind tensor, const TokenSpan& span, HeadRange heads, const ModelShape& model);

/// Allowed pairs x query heads that a task computes.
std::int64_t task_pairs(const AttentionTask& task, const Mask& mask);

}  // namespace strata
