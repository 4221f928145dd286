// SPDX-License-Identifier: Apache-2.0
#include "tests/support/host_accelerator.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>
#include <stdexcept>

#include "core/base/check.hpp"
#include "executor/device_error.hpp"
#include "kernels/cuda/attention_forward.cuh"
#include "kernels/cuda/attention_grad_kv.cuh"
#include "kernels/cuda/attention_grad_q.cuh"
#include "kernels/cuda/attention_reference.hpp"

namespace strata::testing {

namespace {

constexpr std::align_val_t kPage{4096};

template <typename Functor>
void run_rows(const RowsLaunch<Functor>& launch, const Functor& functor, std::byte* lists) {
  kernels::run_ranges_on_host(functor, launch.ranges.in(lists), launch.ranges.count, launch.tiles);
}

template <typename Rows, typename Visit>
void for_each_row(const Rows* sources, std::int32_t count, const Visit& visit) {
  for (std::int32_t s = 0; s < count; ++s) {
    for (std::int64_t row = 0; row < sources[s].rows; ++row) {
      for (std::int32_t head = 0; head < sources[s].head_count; ++head) {
        visit(s, row, sources[s].head_begin + head);
      }
    }
  }
}

void run_reference(const ReferenceLaunch& launch, std::byte* lists) {
  const kernels::ReferenceAttention work{launch.shape,
                                         launch.mode,
                                         launch.blocks.in(lists),
                                         launch.blocks.count,
                                         launch.queries.in(lists),
                                         launch.keys.in(lists)};
  const auto on_queries = [&](auto function) {
    for_each_row(work.queries, launch.queries.count,
                 [&](std::int32_t s, std::int64_t row, std::int32_t head) { function(work, s, row, head); });
  };
  if (!launch.backward) return on_queries(kernels::reference_forward_row);
  on_queries(kernels::reference_grad_q_row);
  for_each_row(work.keys, launch.keys.count, [&](std::int32_t s, std::int64_t row, std::int32_t head) {
    kernels::reference_grad_kv_row(work, s, row, head);
  });
}

template <typename Kernel>
void emulate(const kernels::AttentionArguments& arguments) {
  kernels::emulator::Launch launch;
  launch.blocks = 2;
  launch.threads = Kernel::kShape.threads();
  launch.shared_bytes = static_cast<std::size_t>(Kernel::kShape.shared_bytes());
  kernels::emulator::run(launch, [&] { Kernel::run(arguments); });
}

constexpr int kEmulatedDim = 64;

template <kernels::Element kElement>
void emulate_kind(kernels::WorkKind kind, const kernels::AttentionArguments& arguments) {
  using kernels::WorkKind;
  switch (kind) {
    case WorkKind::forward:
      return emulate<kernels::AttentionForward<kElement, kEmulatedDim, kEmulatedDim>>(arguments);
    case WorkKind::grad_q:
      return emulate<kernels::AttentionGradQ<kElement, kEmulatedDim, kEmulatedDim>>(arguments);
    case WorkKind::grad_kv:
      return emulate<kernels::AttentionGradKv<kElement, kEmulatedDim, kEmulatedDim>>(arguments);
  }
}

void run_tiled(const TiledLaunch& launch, std::byte* lists) {
  using kernels::Element;
  *launch.tickets.in(lists) = {};
  const kernels::AttentionArguments arguments = launch.arguments(lists);
  if (launch.shape.element == Element::bf16) return emulate_kind<Element::bf16>(launch.kind, arguments);
  emulate_kind<Element::f16>(launch.kind, arguments);
}

struct Runner {
  std::byte* lists;
  template <typename Functor>
  void operator()(const RowsLaunch<Functor>& launch) const {
    run_rows(launch, Functor{}, lists);
  }
  void operator()(const AddLaunch& launch) const {
    kernels::AddFunctor functor;
    functor.parts = launch.parts.in(lists);
    run_rows(launch.rows, functor, lists);
  }
  void operator()(const MergeLaunch& launch) const {
    kernels::MergeFunctor functor;
    functor.parts = launch.parts.in(lists);
    run_rows(launch.rows, functor, lists);
  }
  void operator()(const ReferenceLaunch& launch) const { run_reference(launch, lists); }
  void operator()(const TiledLaunch& launch) const { run_tiled(launch, lists); }
};

}  // namespace

void HostAccelerator::Release::operator()(std::byte* data) const { ::operator delete(data, kPage); }

std::byte* HostAccelerator::allocate(std::int64_t bytes) {
  if (bytes > free_bytes()) throw std::bad_alloc();
  const auto size = static_cast<std::size_t>(bytes);
  memory_.emplace_back(static_cast<std::byte*>(::operator new(size, kPage)));
  std::memset(memory_.back().get(), 0xff, size);
  used_ += bytes;
  return memory_.back().get();
}

void HostAccelerator::upload(std::byte* target, std::span<const std::byte> source) {
  if (!source.empty()) std::memcpy(target, source.data(), source.size());
}

void HostAccelerator::download(std::span<std::byte> target, const std::byte* source) {
  if (!target.empty()) std::memcpy(target.data(), source, target.size());
}

std::int32_t HostAccelerator::prepare_attention(kernels::WorkKind kind, const kernels::AttentionShape& shape,
                                                std::int32_t) {
  const bool has = options_.tensor_cores && shape.element != kernels::Element::f32 &&
                   shape.k_dim == kEmulatedDim && shape.v_dim == kEmulatedDim;
  if (!has) return 0;
  switch (kind) {
    case kernels::WorkKind::forward:
      return kernels::forward_shape(kEmulatedDim, kEmulatedDim).rows;
    case kernels::WorkKind::grad_q:
      return kernels::grad_q_shape(kEmulatedDim, kEmulatedDim).rows;
    case kernels::WorkKind::grad_kv:
      return kernels::grad_kv_shape(kEmulatedDim, kEmulatedDim).rows;
  }
  return 0;
}

std::int32_t HostAccelerator::add_range_name(const std::string& name) {
  range_names_.push_back(name);
  return static_cast<std::int32_t>(range_names_.size()) - 1;
}

void HostAccelerator::begin_range(std::int32_t name, std::int64_t number) {
  ranges_.push_back(range_names_.at(static_cast<std::size_t>(name)) + " " + std::to_string(number));
}

void HostAccelerator::end_range() {
  if (ranges_.empty()) throw std::logic_error("the end of a range that never began");
  ranges_.pop_back();
}

std::int32_t HostAccelerator::add_stream(bool) {
  streams_.emplace_back();
  return static_cast<std::int32_t>(streams_.size()) - 1;
}

std::int32_t HostAccelerator::add_events(std::int64_t count, bool timed) {
  const auto first = static_cast<std::int32_t>(events_.size());
  events_.resize(events_.size() + static_cast<std::size_t>(count), Event{timed});
  return first;
}

void HostAccelerator::record(std::int32_t stream, std::int32_t event) {
  Action action{Action::Kind::record};
  action.event = event;
  action.ticket = ++event_at(event).recorded;
  push(stream, action);
}

std::int64_t HostAccelerator::recordings() const {
  std::int64_t count = 0;
  for (const Event& event : events_) count += event.recorded;
  return count;
}

void HostAccelerator::wait(std::int32_t stream, std::int32_t event) {
  // A GPU would not wait at all; the executor must never rely on that.
  if (event_at(event).recorded == 0) throw std::logic_error("wait for an event that was never recorded");
  Action action{Action::Kind::wait};
  action.event = event;
  action.ticket = event_at(event).recorded;
  push(stream, action);
}

void HostAccelerator::launch(std::int32_t stream, const DeviceLaunch& launch, std::byte* lists) {
  if (launches_ == options_.refuse_at) throw DeviceError(-1, "launch refused");
  Action action{launches_ == options_.hang_at ? Action::Kind::hang : Action::Kind::launch};
  ++launches_;
  std::string& names = launch_ranges_.emplace_back();
  for (const std::string& range : ranges_) names += (names.empty() ? "" : " / ") + range;
  action.launch = &launch;
  action.lists = lists;
  push(stream, action);
}

void HostAccelerator::fill(std::int32_t stream, std::byte* target, std::int64_t bytes, int value) {
  Action action{Action::Kind::fill};
  action.target = target;
  action.bytes = bytes;
  action.value = value;
  push(stream, action);
}

void HostAccelerator::push_external(std::int32_t stream, std::function<bool()> advance) {
  Action action{Action::Kind::external};
  action.advance = std::make_shared<std::function<bool()>>(std::move(advance));
  push(stream, action);
}

/// Under some seeds something runs while the host still issues.
void HostAccelerator::push(std::int32_t stream, const Action& action) {
  while (streams_.at(static_cast<std::size_t>(stream)).size() >= options_.queue_limit) {
    if (!step()) throw std::logic_error("a full queue blocks the thread that issues for ever");
  }
  streams_.at(static_cast<std::size_t>(stream)).push_back(action);
  if (options_.seed % 2 == 1 && engine_() % 2 == 0) step();
}

bool HostAccelerator::ready(const Action& action) const {
  if (action.kind == Action::Kind::hang) return false;
  if (action.kind == Action::Kind::external) return (*action.advance)();
  if (action.kind != Action::Kind::wait) return true;
  return events_[static_cast<std::size_t>(action.event)].reached >= action.ticket;
}

bool HostAccelerator::step() {
  // The first stream in a random order that may go on; an order holds for a while, so that one end of the
  // device gets far ahead of the other.
  if (order_.size() != streams_.size() || engine_() % 32 == 0) {
    order_.resize(streams_.size());
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::shuffle(order_.begin(), order_.end(), engine_);
  }
  for (const std::size_t number : order_) {
    std::deque<Action>& stream = streams_[number];
    if (stream.empty() || !ready(stream.front())) continue;
    const Action action = stream.front();
    stream.pop_front();
    run(action);
    return true;
  }
  return false;
}

void HostAccelerator::run(const Action& action) {
  now_ns_ += 1000;
  switch (action.kind) {
    case Action::Kind::wait:
    case Action::Kind::hang:
    case Action::Kind::external:
      return;
    case Action::Kind::record: {
      Event& event = event_at(action.event);
      event.reached = std::max(event.reached, action.ticket);
      event.time_ns = now_ns_;
      return;
    }
    case Action::Kind::launch:
      return std::visit(Runner{action.lists}, *action.launch);
    case Action::Kind::fill:
      std::memset(action.target, action.value, static_cast<std::size_t>(action.bytes));
      return;
  }
}

bool HostAccelerator::happened(std::int32_t event) {
  for (int i = 0; i < 16; ++i) {
    if (!step()) break;
  }
  const Event& what = event_at(event);
  return what.recorded > 0 && what.reached == what.recorded;
}

std::int64_t HostAccelerator::elapsed_ns(std::int32_t from, std::int32_t to) {
  for (const std::int32_t event : {from, to}) {
    const Event& what = event_at(event);
    if (!what.timed || what.recorded == 0 || what.reached != what.recorded) {
      throw std::logic_error("time of an event that has none");
    }
  }
  return event_at(to).time_ns - event_at(from).time_ns;
}

}  // namespace strata::testing
