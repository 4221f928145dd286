// SPDX-License-Identifier: Apache-2.0
#include "executor/job/agreement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "core/base/digest.hpp"
#include "core/base/version.hpp"
#include "core/lowering/lower.hpp"
#include "core/program/program_digest.hpp"

namespace strata {

namespace {

constexpr std::string_view kWhat = "comparing plans";

std::string digest_of_programs(const Execution& execution) {
  Digest digest;
  for (const ExecutableWave& wave : execution.waves) {
    for (const std::string& program : program_digests(wave.programs)) digest.add(std::string_view(program));
  }
  return digest.text();
}

/// Who meets whom in which order, which a transport relies on without asking again.
std::string digest_of_exchanges(const Execution& execution) {
  Digest digest;
  for (const ExecutableWave& wave : execution.waves) {
    for (const RankProgram& program : wave.programs) {
      for (const Pass pass : {Pass::forward, Pass::backward}) {
        for (const Instruction& instruction : program.instructions(pass)) {
          const Exchange* exchange = exchange_of(instruction.op);
          if (exchange == nullptr) continue;
          digest.add(program.rank);
          digest.add(exchange->lane);
          for (const auto* parts : {&exchange->sends, &exchange->receives}) {
            digest.add(parts->size());
            for (const ExchangePart& part : *parts) {
              digest.add(part.peer);
              digest.add(part.row_count *
                         program.buffers.at(static_cast<std::size_t>(part.buffer)).row_bytes());
            }
          }
        }
      }
    }
  }
  return digest.text();
}

/// What one process says, as text: a line with the number of ranks, then one line per item; or the failure.
constexpr char kSaysFine = '+', kSaysFailed = '-';

std::string statement(const std::optional<RunIdentity>& own, const std::string& failure) {
  if (!own) return kSaysFailed + failure;
  std::string text = kSaysFine + std::to_string(own->ranks) + '\n';
  for (const auto& [what, value] : own->items) text += fmt::format("{} {}\n", what, value);
  return text;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

using Groups = std::map<std::string, std::vector<std::int32_t>>;  ///< statement -> processes

std::string list_failures(const Control& control, const Groups& failures) {
  std::string text;
  for (const auto& [reason, processes] : failures) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", control.names(processes), reason);
  }
  return text;
}

/// The first line in which two statements differ, of each.
std::pair<std::string, std::string> difference(const std::string& a, const std::string& b) {
  const std::vector<std::string> left = lines_of(a), right = lines_of(b);
  for (std::size_t i = 1; i < std::min(left.size(), right.size()); ++i) {
    if (left[i] != right[i]) return {left[i], right[i]};
  }
  return {left.front().substr(1) + " ranks", right.front().substr(1) + " ranks"};
}

std::int32_t ranks_of(const std::string& statement) {
  std::int32_t ranks = 0;
  std::from_chars(statement.data() + 1, statement.data() + statement.size(), ranks);
  return ranks;
}

}  // namespace

RunIdentity identify_run(const Execution& execution, const CpuOptions& options) {
  RunIdentity identity;
  identity.ranks = static_cast<std::int32_t>(execution.waves.front().programs.size());
  identity.items = {
      {"Strata", kVersion},
      {"plan", execution.plan_digest},
      {"lowering version", std::to_string(kLoweringVersion)},
      {"programs", digest_of_programs(execution)},
      {"order of exchanges", digest_of_exchanges(execution)},
      {"options", fmt::format("{} layers, {} repeats, seed {}, timeline {}, results {}", options.layers,
                              options.repeats, options.seed, options.record_timeline, options.keep_results)},
  };
  return identity;
}

void agree(Control& control, const std::optional<RunIdentity>& own, const std::string& failure) {
  const std::vector<std::string> all = control.all_gather(statement(own, failure), kWhat);
  Groups fine, failed;
  for (std::int32_t process = 0; process < std::ssize(all); ++process) {
    const std::string& text = all[static_cast<std::size_t>(process)];
    (text.front() == kSaysFine ? fine[text] : failed[text.substr(1)]).push_back(process);
  }
  // The statement of most; of several such, the one of the first process.
  const auto most = std::max_element(fine.begin(), fine.end(), [](const auto& a, const auto& b) {
    if (a.second.size() != b.second.size()) return a.second.size() < b.second.size();
    return a.second.front() > b.second.front();
  });
  if (most != fine.end()) control.set_rank_count(ranks_of(most->first));
  if (!failed.empty()) throw AgreedError(list_failures(control, failed));
  std::string text;
  for (const auto& [said, processes] : fine) {
    if (said == most->first) continue;
    const auto [theirs, others] = difference(said, most->first);
    text += fmt::format("{}{}: {}, the others have {}", text.empty() ? "" : "; ", control.names(processes),
                        theirs, others);
  }
  if (!text.empty()) throw AgreedError(text);
}

void agree_on_success(Control& control, const std::string& failure, std::string_view what) {
  const std::vector<std::string> all = control.all_gather(failure, what);
  Groups failed;
  for (std::int32_t process = 0; process < std::ssize(all); ++process) {
    const std::string& text = all[static_cast<std::size_t>(process)];
    if (!text.empty()) failed[text].push_back(process);
  }
  if (!failed.empty()) throw AgreedError(list_failures(control, failed));
}

}  // namespace strata
