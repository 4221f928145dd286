// SPDX-License-Identifier: Apache-2.0
#include "executor/job/process_results.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <type_traits>

#include "executor/exchange_links.hpp"

namespace strata {

namespace {

constexpr std::string_view kWhat = "gathering results";
static_assert(std::is_trivially_copyable_v<TimelineEvent>, "events travel as they lie in memory");

template <typename Value>
void send_values(Control& control, const std::vector<Value>& values) {
  control.send(0, std::as_bytes(std::span(values)), kWhat);
}

template <typename Value>
std::vector<Value> receive_values(Control& control, std::int32_t from) {
  const std::vector<std::byte> bytes = control.receive(from, kWhat);
  std::vector<Value> values(bytes.size() / sizeof(Value));
  STRATA_CHECK(values.size() * sizeof(Value) == bytes.size(), "process {} sent {} bytes", from, bytes.size());
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// Local clock to process 0's, counted from `start_ns` of each section (on process 0's clock).
void align_events(LocalRecord& record, const std::vector<std::int64_t>& start_ns) {
  for (TimelineEvent& event : record.events) {
    const std::size_t section = record.section_of(event);
    for (std::int64_t* time : {&event.posted_ns, &event.matched_ns, &event.end_ns}) {
      const std::int64_t at = record.clock.to_reference(record.begin_ns[section] + *time);
      *time = std::max<std::int64_t>(0, at - start_ns[section]);
    }
  }
}

/// [section] when the first process started, on process 0's clock. Collective.
std::vector<std::int64_t> common_start(Control& control, const LocalRecord& record) {
  std::vector<std::int64_t> own;
  for (const std::int64_t begin : record.begin_ns) own.push_back(record.clock.to_reference(begin));
  const std::string_view text(reinterpret_cast<const char*>(own.data()), own.size() * sizeof own[0]);
  std::vector<std::int64_t> first = own;
  for (const std::string& other : control.all_gather(text, kWhat)) {
    STRATA_CHECK(other.size() == text.size(), "starts of {} and {} bytes", other.size(), text.size());
    for (std::size_t section = 0; section < first.size(); ++section) {
      std::int64_t begin = 0;
      std::memcpy(&begin, other.data() + section * sizeof begin, sizeof begin);
      first[section] = std::min(first[section], begin);
    }
  }
  return first;
}

std::vector<std::vector<std::byte>*> tensors_of(LocalResults& results) {
  return {&results.o, &results.lse, &results.dq, &results.dkv};
}

void send_results(Control& control, RunResult& result) {
  const auto ranks = static_cast<std::int32_t>(result.arena.size());
  const RankBlock block = control.block(control.process(), ranks);
  for (auto& wave : result.results) {
    for (std::int32_t rank = block.begin; rank < block.end; ++rank) {
      for (std::vector<std::byte>* tensor : tensors_of(wave[static_cast<std::size_t>(rank)])) {
        control.send(0, *tensor, kWhat);
        *tensor = {};
      }
    }
  }
}

void receive_results(Control& control, std::int32_t from, RunResult& result) {
  const RankBlock block = control.block(from, static_cast<std::int32_t>(result.arena.size()));
  for (auto& wave : result.results) {
    for (std::int32_t rank = block.begin; rank < block.end; ++rank) {
      for (std::vector<std::byte>* tensor : tensors_of(wave[static_cast<std::size_t>(rank)])) {
        *tensor = control.receive(from, kWhat);
      }
    }
  }
}

/// Position of every rank's first event in the events of one pass.
std::vector<std::size_t> first_events(const ExecutableWave& wave, Pass pass) {
  std::vector<std::size_t> first{0};
  for (const RankProgram& program : wave.programs) {
    first.push_back(first.back() + program.instructions(pass).size());
  }
  return first;
}

}  // namespace

std::int64_t match_exchanges(const Execution& execution, std::vector<TimelineEvent>& events) {
  struct PassExchanges {
    std::vector<ExchangePair> pairs;
    std::vector<std::size_t> first;
  };
  std::map<std::pair<std::int32_t, Pass>, PassExchanges> known;
  std::int64_t wrong_ns = 0;
  for (std::size_t begin = 0; begin < events.size();) {
    const auto wave_number = events[begin].wave;
    const Pass pass = events[begin].pass;
    const ExecutableWave& wave = execution.waves.at(static_cast<std::size_t>(wave_number));
    const auto [found, is_new] = known.try_emplace({wave_number, pass});
    PassExchanges& exchanges = found->second;
    if (is_new) exchanges = {pair_exchanges(wave.programs, pass), first_events(wave, pass)};
    const std::size_t end = begin + exchanges.first.back();
    STRATA_CHECK(end > begin && end <= events.size(), "{} events of a pass of {}", events.size() - begin,
                 exchanges.first.back());
    for (const ExchangePair& pair : exchanges.pairs) {
      const auto at = [&](std::int32_t rank, std::int32_t instruction) -> TimelineEvent& {
        return events[begin + exchanges.first[static_cast<std::size_t>(rank)] +
                      static_cast<std::size_t>(instruction)];
      };
      TimelineEvent& source = at(pair.source, pair.source_instruction);
      TimelineEvent& target = at(pair.target, pair.target_instruction);
      const std::int64_t met = std::max(source.posted_ns, target.posted_ns);
      for (TimelineEvent* event : {&source, &target}) {
        wrong_ns = std::max(wrong_ns, met - event->end_ns);
        event->matched_ns = std::max(event->matched_ns, std::min(met, event->end_ns));
      }
    }
    begin = end;
  }
  return wrong_ns;
}

void gather_results(Control& control, const Execution& execution, LocalRecord record, RunResult& result) {
  const std::vector<std::int64_t> start_ns = common_start(control, record);
  align_events(record, start_ns);
  std::vector<std::int64_t> numbers{record.sent.count, record.clock.error_ns() + record.device_error_ns};
  constexpr std::size_t kEnds = 2;
  for (const std::int64_t end : record.end_ns) numbers.push_back(record.clock.to_reference(end));
  if (control.process() > 0) {
    send_values(control, numbers);
    send_values(control, record.events);
    return send_results(control, result);
  }
  Timeline& timeline = result.timeline;
  timeline.events = std::move(record.events);
  for (std::int32_t other = 1; other < control.processes(); ++other) {
    const auto theirs = receive_values<std::int64_t>(control, other);
    STRATA_CHECK(theirs.size() == numbers.size(), "process {} sent {} numbers", other, theirs.size());
    numbers[0] += theirs[0];
    for (std::size_t i = 1; i < numbers.size(); ++i) numbers[i] = std::max(numbers[i], theirs[i]);
    const auto events = receive_values<TimelineEvent>(control, other);
    timeline.events.insert(timeline.events.end(), events.begin(), events.end());
    receive_results(control, other, result);
  }
  result.sent = {numbers[0]};
  timeline.clock_error_ns = numbers[1];
  // Sections follow each other without what lies between them.
  std::vector<std::int64_t> offsets;
  for (std::size_t section = 0; section < start_ns.size(); ++section) {
    if (section % static_cast<std::size_t>(record.sections) == 0) result.wall.emplace_back();
    offsets.push_back(result.wall.back().ns);
    result.wall.back().ns += numbers[kEnds + section] - start_ns[section];
  }
  for (TimelineEvent& event : timeline.events) {
    const std::int64_t offset = offsets[record.section_of(event)];
    for (std::int64_t* time : {&event.posted_ns, &event.matched_ns, &event.end_ns}) *time += offset;
  }
  std::sort(timeline.events.begin(), timeline.events.end(), key_less);
  timeline.clock_error_ns = std::max(timeline.clock_error_ns, match_exchanges(execution, timeline.events));
}

}  // namespace strata
