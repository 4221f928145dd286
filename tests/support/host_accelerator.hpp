// SPDX-License-Identifier: Apache-2.0
// A device without a GPU. Streams are queues, and a seeded scheduler runs the head of one that may run. So
// whatever the executor forgot to order happens in another order under some seed. Launches run the very
// functions that a GPU's threads run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "executor/device/accelerator.hpp"

namespace strata::testing {

struct HostAcceleratorOptions {
  std::uint64_t seed = 0;
  std::int64_t memory = std::int64_t{1} << 32;
  bool tensor_cores = false;    ///< emulated, for 16-bit types and head dimension 64
  std::int64_t hang_at = -1;    ///< this launch, counted from 0, never ends
  std::int64_t refuse_at = -1;  ///< this launch is refused
  /// Actions that a stream holds at most; the thread that issues one more waits for its turn.
  std::size_t queue_limit = std::numeric_limits<std::size_t>::max();
};

class HostAccelerator : public Accelerator {
 public:
  explicit HostAccelerator(const HostAcceleratorOptions& options)
      : options_(options), engine_(options.seed) {}

  std::string description() const override { return "host device"; }
  std::int64_t free_bytes() override { return options_.memory - used_; }
  std::byte* allocate(std::int64_t bytes) override;
  void upload(std::byte* target, std::span<const std::byte> source) override;
  void download(std::span<std::byte> target, const std::byte* source) override;
  std::int32_t prepare_attention(kernels::WorkKind kind, const kernels::AttentionShape& shape,
                                 std::int32_t spare) override;
  std::int32_t add_range_name(const std::string& name) override;
  void begin_range(std::int32_t name, std::int64_t number) override;
  void end_range() override;
  std::int32_t add_stream(bool urgent) override;
  std::int32_t add_events(std::int64_t count, bool timed) override;
  void record(std::int32_t stream, std::int32_t event) override;
  void wait(std::int32_t stream, std::int32_t event) override;
  void launch(std::int32_t stream, const DeviceLaunch& launch, std::byte* lists) override;
  void fill(std::int32_t stream, std::byte* target, std::int64_t bytes, int value) override;
  bool happened(std::int32_t event) override;
  std::int64_t elapsed_ns(std::int32_t from, std::int32_t to) override;

  std::int64_t launches() const { return launches_; }
  /// How many recordings of events there were so far.
  std::int64_t recordings() const;
  /// [launch] the names of the ranges that it was issued in, outermost first, as "name number / ..."
  const std::vector<std::string>& launch_ranges() const { return launch_ranges_; }
  std::size_t open_ranges() const { return ranges_.size(); }

  /// Work of somebody else: when the stream gets there, `advance` is called again and again until it says
  /// that the work has ended.
  void push_external(std::int32_t stream, std::function<bool()> advance);

 private:
  struct Action {
    enum class Kind : std::uint8_t { wait, record, launch, fill, hang, external };
    Kind kind = Kind::launch;
    std::int32_t event = 0;
    std::int64_t ticket = 0;  ///< which recording of the event
    const DeviceLaunch* launch = nullptr;
    std::byte* lists = nullptr;
    std::byte* target = nullptr;
    std::int64_t bytes = 0;
    int value = 0;
    std::shared_ptr<std::function<bool()>> advance = nullptr;
  };
  struct Event {
    bool timed = false;
    std::int64_t recorded = 0;  ///< recordings issued; 0: never
    std::int64_t reached = 0;   ///< recordings that have happened
    std::int64_t time_ns = 0;
  };
  struct Release {
    void operator()(std::byte* data) const;
  };

  void push(std::int32_t stream, const Action& action);
  bool ready(const Action& action) const;
  void run(const Action& action);
  /// Runs one action of a stream that may go on; false when none may.
  bool step();
  Event& event_at(std::int32_t event) { return events_.at(static_cast<std::size_t>(event)); }

  HostAcceleratorOptions options_;
  std::mt19937_64 engine_;
  std::vector<std::unique_ptr<std::byte, Release>> memory_;
  std::vector<std::deque<Action>> streams_;
  std::vector<std::size_t> order_;  ///< in which step() looks at the streams
  std::vector<Event> events_;
  std::vector<std::string> range_names_, launch_ranges_;
  std::vector<std::string> ranges_;
  std::int64_t used_ = 0, launches_ = 0, now_ns_ = 0;
};

}  // namespace strata::testing
