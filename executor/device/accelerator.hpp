// SPDX-License-Identifier: Apache-2.0
// What the executor needs of a GPU: memory, streams, events, launches. Streams and events are numbers, given
// out from 0. Nothing but upload, download and elapsed_ns waits. Every function throws DeviceError when the
// device refuses, also for what an earlier launch did wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "executor/device/device_launch.hpp"

namespace strata {

class Accelerator {
 public:
  virtual ~Accelerator() = default;

  /// "NVIDIA H200, driver for CUDA 13.0"
  virtual std::string description() const = 0;
  virtual std::int64_t free_bytes() = 0;

  /// Aligned to 256 bytes; freed with the device. Throws std::bad_alloc when there is too little.
  virtual std::byte* allocate(std::int64_t bytes) = 0;
  /// Copies, and returns when the copy has ended. Nothing may run meanwhile.
  virtual void upload(std::byte* target, std::span<const std::byte> source) = 0;
  virtual void download(std::span<std::byte> target, const std::byte* source) = 0;

  /// Makes the tensor-core kernel for these head dimensions and this type ready; returns the rows of its
  /// tiles, or 0 where there is none and the plain kernel has to do. Its blocks leave `spare` multiprocessors
  /// free for what runs beside it.
  virtual std::int32_t prepare_attention(kernels::WorkKind kind, const kernels::AttentionShape& shape,
                                         std::int32_t spare) = 0;

  /// Adds a stream and returns its number. Work of one stream may run beside that of any other; work of an
  /// `urgent` one goes first.
  virtual std::int32_t add_stream(bool urgent) = 0;
  /// Appends `count` events and returns the first; only `timed` ones know when they happened.
  virtual std::int32_t add_events(std::int64_t count, bool timed) = 0;

  /// The event happens when everything issued to the stream before has ended. An earlier recording of it is
  /// forgotten, except by those that wait for it already.
  virtual void record(std::int32_t stream, std::int32_t event) = 0;
  /// What is issued to the stream from here on runs after the event as last recorded.
  virtual void wait(std::int32_t stream, std::int32_t event) = 0;
  /// `lists` is where the launch's lists lie on the device.
  virtual void launch(std::int32_t stream, const DeviceLaunch& launch, std::byte* lists) = 0;
  /// Sets every byte to `value`.
  virtual void fill(std::int32_t stream, std::byte* target, std::int64_t bytes, int value) = 0;

  /// A name for ranges, for a profiler that shows what the issuing thread is at.
  virtual std::int32_t add_range_name(const std::string& name) = 0;
  /// What is issued until the matching end_range belongs to it; `number` tells ranges of one name apart.
  /// Ranges nest.
  virtual void begin_range(std::int32_t name, std::int64_t number) = 0;
  virtual void end_range() = 0;

  /// Whether the event, as last recorded, has happened.
  virtual bool happened(std::int32_t event) = 0;
  /// The time from one timed event that has happened to another; its resolution is about a microsecond.
  virtual std::int64_t elapsed_ns(std::int32_t from, std::int32_t to) = 0;
};

}  // namespace strata
