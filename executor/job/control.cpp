// SPDX-License-Identifier: Apache-2.0
#include "executor/job/control.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace strata {

namespace {

constexpr std::int64_t kLongestGapNs = 1'000'000'000;
/// Between the moments at which neighbouring processes give up.
constexpr std::int64_t kStaggerNs = 250'000'000;
constexpr std::int32_t kStaggered = 16;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Texts behind each other, each after its length.
std::string packed(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) {
    const std::uint64_t size = text.size();
    char length[sizeof size];
    std::memcpy(length, &size, sizeof size);
    all.append(length, sizeof size);
    all += text;
  }
  return all;
}

std::vector<std::string> unpacked(std::string_view all) {
  std::vector<std::string> texts;
  while (!all.empty()) {
    std::uint64_t size = 0;
    STRATA_CHECK(all.size() >= sizeof size, "a gathered message breaks off");
    std::memcpy(&size, all.data(), sizeof size);
    all.remove_prefix(sizeof size);
    STRATA_CHECK(all.size() >= size, "a gathered message breaks off");
    texts.emplace_back(all.substr(0, size));
    all.remove_prefix(size);
  }
  return texts;
}

}  // namespace

bool Patience::exhausted(std::int64_t now_ns) {
  if (last_ns_ > 0) waited_ns_ += std::min(now_ns - last_ns_, kLongestGapNs);
  last_ns_ = now_ns;
  return waited_ns_ > deadline_.ns;
}

Control::Control(std::int32_t process, std::int32_t processes, Duration deadline)
    : process_(process), processes_(processes), deadline_(deadline) {
  STRATA_CHECK(0 <= process && process < processes && deadline.ns > 0, "process {} of {}, deadline {} ns",
               process, processes, deadline.ns);
}

void Control::abort(int code, const std::function<void()>& clean_up) {
  announce_end(code);
  if (clean_up) clean_up();
  end_job(code);
  std::_Exit(code);
}

Duration Control::patience() const {
  return deadline_ + Duration{kStaggerNs * std::min(process_, kStaggered)};
}

RankBlock Control::block(std::int32_t process, std::int32_t ranks) const {
  const auto first = [&](std::int64_t of) {
    return static_cast<std::int32_t>((of * ranks + processes_ - 1) / processes_);
  };
  return {first(process), first(std::int64_t{process} + 1)};
}

std::vector<std::string> Control::all_gather(std::string_view text, std::string_view what) {
  if (processes_ == 1) return {std::string(text)};
  if (process_ > 0) {
    send(0, bytes_of(text), what);
    return unpacked(text_of(receive(0, what)));
  }
  std::vector<std::string> texts{std::string(text)};
  for (std::int32_t other = 1; other < processes_; ++other) texts.push_back(text_of(receive(other, what)));
  const std::string all = packed(texts);
  for (std::int32_t other = 1; other < processes_; ++other) send(other, bytes_of(all), what);
  return texts;
}

std::string Control::name(std::int32_t process) const {
  const RankBlock own = block(process, ranks_);
  if (own.count() == 1) return fmt::format("rank {}", own.begin);
  if (own.count() > 1) return fmt::format("ranks {}-{}", own.begin, own.end - 1);
  return fmt::format("process {}", process);
}

std::string Control::names(const std::vector<std::int32_t>& processes) const {
  constexpr std::size_t kNamed = 8;
  if (std::ssize(processes) == processes_) return "all ranks";
  std::string text;
  for (std::size_t i = 0; i < std::min(processes.size(), kNamed); ++i) {
    text += (i == 0 ? "" : ", ") + name(processes[i]);
  }
  if (processes.size() > kNamed) text += fmt::format(" and {} more", processes.size() - kNamed);
  return text;
}

void Control::give_up(const std::string& peers, std::string_view what) const {
  throw TransportError(-1, fmt::format("{}: {}: no word from {} for {} s", name(process_), what, peers,
                                       deadline_.ns / 1'000'000'000));
}

}  // namespace strata
