// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <new>

#include "core/base/check.hpp"
#include "executor/device/device_run.hpp"
#include "executor/device_error.hpp"
#include "executor/kernel_arguments.hpp"

namespace strata {

DeviceRun::DeviceRun(const Execution& execution, const DeviceOptions& options, Accelerator& device,
                     const DeviceJob* job)
    : execution_(execution),
      options_(options),
      device_(device),
      job_(job),
      deadline_(job == nullptr ? options.deadline : job->control.patience()),
      tracked_(options.record_timeline || deadline_.ns > 0) {
  STRATA_CHECK(options.layers > 0 && options.repeats > 0, "{} layers, {} repeats", options.layers,
               options.repeats);
  STRATA_CHECK(!execution.waves.empty(), "an execution without waves");
  const auto ranks = static_cast<std::int32_t>(execution.waves.front().programs.size());
  local_ = job == nullptr ? RankBlock{0, ranks} : job->control.block(job->control.process(), ranks);
  for (std::int32_t rank = local_.begin; rank < local_.end; ++rank) {
    local_ranks_.push_back(static_cast<std::size_t>(rank));
  }
  place_arenas();
  add_streams();
  compile();
  add_events();
}

std::byte* DeviceRun::allocate(std::int64_t bytes, const std::string& what) {
  const std::int64_t free = device_.free_bytes();
  try {
    if (bytes <= free) return device_.allocate(bytes);
  } catch (const std::bad_alloc&) {
    // Free, but not in one piece: the same message.
  }
  throw DeviceError(-1, fmt::format("{}: found {} bytes free, expected at least {} for {}",
                                    device_.description(), free, bytes, what));
}

void DeviceRun::place_arenas() {
  arena_bytes_.resize(execution_.waves.front().programs.size());
  for (const ExecutableWave& wave : execution_.waves) {
    STRATA_CHECK(wave.programs.size() == arena_bytes_.size(), "waves of {} and {} ranks", arena_bytes_.size(),
                 wave.programs.size());
    for (std::size_t r = 0; r < arena_bytes_.size(); ++r) {
      STRATA_CHECK(wave.programs[r].rank == static_cast<std::int32_t>(r), "program {} is rank {}'s", r,
                   wave.programs[r].rank);
      check_arena(wave.programs[r]);
      arena_bytes_[r] = std::max(arena_bytes_[r], wave.programs[r].arena);
    }
  }
  std::vector<std::int64_t> offsets;
  for (const std::size_t r : local_ranks_) {
    offsets.push_back(arena_total_);
    arena_total_ += std::max<std::int64_t>(arena_bytes_[r].count, kArenaAlignment);
  }
  arenas_.assign(arena_bytes_.size(), nullptr);
  std::byte* const base =
      allocate(arena_total_, local_.count() == 1 ? fmt::format("the arena of rank {}", local_.begin)
                                                 : fmt::format("the arenas of {} ranks", local_.count()));
  for (const std::size_t r : local_ranks_) {
    arenas_[r] = base + offsets[r - static_cast<std::size_t>(local_.begin)];
  }
}

void DeviceRun::add_streams() {
  const std::size_t ranks = arena_bytes_.size();
  streams_.serial = options_.serial;
  streams_.lanes.assign(ranks, 1);
  for (const ExecutableWave& wave : execution_.waves) {
    for (std::size_t r = 0; r < ranks; ++r) {
      streams_.lanes[r] = std::max(streams_.lanes[r], wave.programs[r].lane_count);
    }
  }
  streams_.first.assign(ranks, -1);
  for (const std::size_t r : local_ranks_) {
    if (options_.serial && !all_streams_.empty()) {
      streams_.first[r] = all_streams_.front();
      continue;
    }
    streams_.first[r] = device_.add_stream(false);
    all_streams_.push_back(streams_.first[r]);
    for (std::int32_t lane = 0; lane < streams_.lanes[r] && !options_.serial; ++lane) {
      all_streams_.push_back(device_.add_stream(true));
      STRATA_CHECK(all_streams_.back() == streams_.of(r, lane_stream(lane)), "streams out of order");
    }
  }
}

void DeviceRun::compile() {
  DeviceLists lists;
  DevicePassOptions settings;
  settings.stamps = tracked_;
  settings.poison = options_.poison;
  if (!options_.plain_attention) {
    const auto prepare = [&, shape = kernel_shape(execution_.model)](kernels::WorkKind kind) {
      return device_.prepare_attention(kind, shape, options_.spare_multiprocessors);
    };
    settings.tiles.forward = prepare(kernels::WorkKind::forward);
    settings.tiles.grad_q = prepare(kernels::WorkKind::grad_q);
    settings.tiles.grad_kv = prepare(kernels::WorkKind::grad_kv);
  }
  pass_ranges_ = {device_.add_range_name("forward of layer"), device_.add_range_name("backward of layer")};
  for (const ExecutableWave& wave : execution_.waves) {
    auto& passes = passes_.emplace_back();
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      DevicePass& compiled = passes[static_cast<std::size_t>(pass)];
      compiled =
          compile_pass(wave.programs, pass, execution_.model, arenas_, local_, streams_, settings, lists);
      name_ranges(wave, pass, compiled);
    }
  }
  if (lists.bytes().empty()) return;
  lists_ = allocate(std::ssize(lists.bytes()), "the work lists beside the arenas");
  device_.upload(lists_, lists.bytes());
}

void DeviceRun::name_ranges(const ExecutableWave& wave, Pass pass, DevicePass& compiled) {
  for (const std::size_t r : local_ranks_) {
    const std::vector<Instruction>& list = wave.programs[r].instructions(pass);
    for (std::size_t i = 0; i < list.size(); ++i) {
      compiled.ranks[r][i].range_name =
          device_.add_range_name(fmt::format("rank {} {} {}", r, to_string(pass), kind_name(list[i].op)));
    }
  }
}

void DeviceRun::add_events() {
  start_ = device_.add_events(1, true);
  finish_ = device_.add_events(1, true);
  if (job_ != nullptr) first_tie_ = device_.add_events(2, true);
  for (const auto& wave : passes_) {
    for (const DevicePass& pass : wave) events_per_pass_ = std::max(events_per_pass_, pass.events);
  }
  event_sets_ = tracked_ ? 2 * options_.layers : kPassesAhead;
  first_event_ = device_.add_events(std::int64_t{event_sets_} * events_per_pass_, options_.record_timeline);
}

}  // namespace strata
