// SPDX-License-Identifier: Apache-2.0
#include "core/plan/plan_records_json.hpp"

#include <fmt/format.h>

#include <limits>
#include <string_view>
#include <utility>

#include "core/json/json_reader.hpp"

namespace strata::detail {

namespace {

constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();

void read_span_fields(ObjectReader& reader, TokenSpan& span) {
  span.document = reader.required_int<std::int32_t>("document", 0, kMaxInt32);
  span.begin = reader.required_int("begin", 0, kMaxInt32);
  span.end = reader.required_int("end", 0, kMaxInt32);
}

TokenSpan read_span(const JsonValue& value) {
  TokenSpan span;
  ObjectReader reader(value);
  read_span_fields(reader, span);
  reader.finish();
  return span;
}

HeadRange read_heads(ObjectReader& reader) {
  HeadRange heads;
  heads.begin = reader.required_int<std::int32_t>("head_begin", 0, kMaxInt32);
  heads.end = reader.required_int<std::int32_t>("head_end", 0, kMaxInt32);
  return heads;
}

RankRange read_range(const JsonValue& value) {
  const JsonValue::Children items = value.items();
  if (value.size() != 2) value.fail(fmt::format("{} numbers", value.size()), "the two ends of a range");
  JsonValue::Iterator at = items.first;
  RankRange range;
  range.begin = static_cast<std::int32_t>((*at).integer(0, kMaxInt32));
  range.end = static_cast<std::int32_t>((*++at).integer(0, kMaxInt32));
  return range;
}

/// A rank under `one`, or half-open ranges under `many`. The canonical form of a single rank is a number.
std::vector<RankRange> read_ranks(ObjectReader& reader, std::string_view one, std::string_view many) {
  std::vector<RankRange> ranks;
  if (const auto rank = reader.find(one)) {
    const auto number = static_cast<std::int32_t>(rank->integer(0, kMaxInt32 - 1));
    ranks.push_back({number, number + 1});
    return ranks;
  }
  const auto list = reader.find(many);
  if (!list) reader.value().fail(fmt::format("neither '{}' nor '{}'", one, many), "one of them");
  const JsonValue::Children items = list->items();
  ranks.reserve(list->size());
  for (const JsonValue item : items) ranks.push_back(read_range(item));
  if (ranks.size() == 1 && ranks[0].count() == 1) {
    list->fail("one rank as a range", fmt::format("'{}': {}", one, ranks[0].begin));
  }
  return ranks;
}

TensorKind read_tensor(ObjectReader& reader) {
  return reader.required_choice<TensorKind>("tensor", {{"kv", TensorKind::kv},
                                                       {"q", TensorKind::q},
                                                       {"o", TensorKind::o},
                                                       {"o_part", TensorKind::o_part},
                                                       {"do", TensorKind::d_o},
                                                       {"dq", TensorKind::dq},
                                                       {"dkv", TensorKind::dkv}});
}

/// `ready` is -1 where it is left out: the step after the movement's own.
template <typename Movement>
void read_slice(ObjectReader& reader, Movement& movement) {
  movement.tensor = read_tensor(reader);
  read_span_fields(reader, movement.span);
  movement.heads = read_heads(reader);
  movement.lane = reader.optional_int("lane", 0, kMaxInt32, 0);
  movement.ready = reader.optional_int("ready", 0, kMaxInt32, -1);
  reader.finish();
}

Transfer read_transfer(const JsonValue& value) {
  Transfer transfer;
  ObjectReader reader(value);
  transfer.source = reader.required_int<std::int32_t>("source", 0, kMaxInt32);
  transfer.targets = read_ranks(reader, "target", "targets");
  read_slice(reader, transfer);
  return transfer;
}

Reduction read_reduction(const JsonValue& value) {
  Reduction reduction;
  ObjectReader reader(value);
  reduction.sources = read_ranks(reader, "source", "sources");
  reduction.target = reader.required_int<std::int32_t>("target", 0, kMaxInt32);
  read_slice(reader, reduction);
  return reduction;
}

AttentionTask read_task(const JsonValue& value) {
  AttentionTask task;
  ObjectReader reader(value);
  task.rank = reader.required_int<std::int32_t>("rank", 0, kMaxInt32);
  task.query = read_span(reader.required("query", "a span"));
  task.key = read_span(reader.required("key", "a span"));
  task.heads = read_heads(reader);
  reader.finish();
  return task;
}

}  // namespace

JsonFold ReadRecords::fold() {
  return {"waves", {"transfers", "tasks", "reductions", "spans"}, [this](JsonValue list, JsonValue item) {
            const std::uint32_t at = list.position();
            const std::string_view key = list.key();
            if (key == "transfers") return add(transfers_, at, read_transfer(item));
            if (key == "tasks") return add(tasks_, at, read_task(item));
            if (key == "reductions") return add(reductions_, at, read_reduction(item));
            add(spans_, at, read_span(item));
          }};
}

std::vector<Transfer> ReadRecords::transfers(const JsonValue& list) {
  return take(transfers_, list, read_transfer);
}

std::vector<Reduction> ReadRecords::reductions(const JsonValue& list) {
  return take(reductions_, list, read_reduction);
}

std::vector<AttentionTask> ReadRecords::tasks(const JsonValue& list) { return take(tasks_, list, read_task); }

std::vector<TokenSpan> ReadRecords::spans(const JsonValue& list) { return take(spans_, list, read_span); }

/// Records come list by list, so the last list is the one that grows.
template <typename Record>
void ReadRecords::add(Lists<Record>& lists, std::uint32_t list, Record record) {
  if (lists.empty() || lists.rbegin()->first != list) lists.try_emplace(lists.end(), list);
  lists.rbegin()->second.push_back(std::move(record));
}

template <typename Record>
std::vector<Record> ReadRecords::take(Lists<Record>& lists, const JsonValue& list,
                                      Record (*read)(const JsonValue&)) {
  std::vector<Record> records;
  const JsonValue::Children items = list.items();
  if (auto early = lists.extract(list.position())) {
    records = std::move(early.mapped());
  } else {
    records.reserve(list.size());
  }
  for (const JsonValue item : items) records.push_back(read(item));
  return records;
}

}  // namespace strata::detail
