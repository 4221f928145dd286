// SPDX-License-Identifier: Apache-2.0
#include "traces/lengths/steps.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"

namespace strata {

namespace {

using Lengths = std::vector<std::int64_t>;

std::int64_t sum(const Lengths& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
}

Packs whole_documents(std::span<const std::int64_t> lengths, std::int64_t pack_tokens) {
  Packs made;
  std::int64_t open_tokens = 0;
  for (const std::int64_t tokens : lengths) {
    if (made.packs.empty() || tokens > pack_tokens - open_tokens) {
      made.packs.emplace_back();
      open_tokens = 0;
    }
    made.packs.back().push_back(tokens);
    open_tokens += tokens;
    made.long_documents += tokens > pack_tokens ? 1 : 0;
  }
  return made;
}

Packs cut_documents(std::span<const std::int64_t> lengths, std::int64_t pack_tokens) {
  Packs made;
  std::int64_t left = 0;  // in the open pack
  for (const std::int64_t tokens : lengths) {
    std::int64_t pieces = 0;
    for (std::int64_t rest = tokens; rest > 0; ++pieces) {
      if (left == 0) {
        made.packs.emplace_back();
        left = pack_tokens;
      }
      const std::int64_t piece = std::min(rest, left);
      made.packs.back().push_back(piece);
      rest -= piece;
      left -= piece;
    }
    made.cut_documents += pieces > 1 ? 1 : 0;
  }
  made.short_tokens = left > 0 ? pack_tokens - left : 0;
  return made;
}

/// Joins units (packs, or documents as packs of one) into steps that `options` ends.
class Joiner {
 public:
  Joiner(const StepOptions& options, bool fixed_packs) : options_(options), fixed_packs_(fixed_packs) {}

  void add(Lengths unit, std::int64_t number) {
    const std::int64_t tokens = sum(unit), documents = std::ssize(unit);
    const bool full = units_ > 0 && (over(options_.packs_per_step, units_ + 1) ||
                                     over(options_.tokens_per_step, tokens_ + tokens) ||
                                     over(options_.documents_per_step, documents_ + documents));
    if (steps_.empty() || full) {
      steps_.push_back({number, fixed_packs_, {}});
      if (!fixed_packs_) steps_.back().packs.emplace_back();
      units_ = tokens_ = documents_ = 0;
    }
    Batch& step = steps_.back();
    if (fixed_packs_) {
      step.packs.push_back(std::move(unit));
    } else {
      step.packs[0].insert(step.packs[0].end(), unit.begin(), unit.end());
    }
    ++units_;
    tokens_ += tokens;
    documents_ += documents;
  }

  std::int64_t count() const { return std::ssize(steps_); }
  std::vector<Batch> finish() && { return std::move(steps_); }

 private:
  static bool over(const std::optional<std::int64_t>& limit, std::int64_t value) {
    return limit && value > *limit;
  }

  StepOptions options_;
  bool fixed_packs_;
  std::vector<Batch> steps_;
  std::int64_t units_ = 0, tokens_ = 0, documents_ = 0;
};

bool joins(const StepOptions& options) {
  return options.packs_per_step || options.tokens_per_step || options.documents_per_step;
}

/// --packs-per-step, --tokens-per-step or --documents-per-step, whichever was given.
const char* joining_option(const StepOptions& options) {
  return options.packs_per_step    ? "--packs-per-step"
         : options.tokens_per_step ? "--tokens-per-step"
                                   : "--documents-per-step";
}

void add_up(Packs& total, const Packs& more) {
  total.cut_documents += more.cut_documents;
  total.long_documents += more.long_documents;
  total.short_tokens = more.short_tokens;
}

std::vector<std::string> packing_notes(const Packs& packs, std::int64_t pack_tokens) {
  std::vector<std::string> notes;
  if (packs.cut_documents > 0) {
    notes.push_back(fmt::format("{} cut where a pack ends; the pieces do not see each other",
                                counted(packs.cut_documents, "document")));
  }
  if (packs.short_tokens > 0) {
    notes.push_back(fmt::format("the last pack has {} of {} tokens", human_count(packs.short_tokens),
                                human_count(pack_tokens)));
  }
  if (packs.long_documents > 0) {
    notes.push_back(fmt::format("{} longer than {} tokens, each in a pack of its own (--cut-documents cuts)",
                                counted(packs.long_documents, "document"), human_count(pack_tokens)));
  }
  return notes;
}

Steps steps_of_documents(const LengthSource& source, const StepOptions& options) {
  Steps result;
  if (!options.pack_tokens) {
    Joiner joiner(options, false);
    for (const std::int64_t tokens : source.lengths) joiner.add({tokens}, joiner.count());
    result.steps = std::move(joiner).finish();
    if (!joins(options)) {
      result.notes.emplace_back(
          "the whole file is one step (--pack-tokens, --tokens-per-step or --documents-per-step "
          "make several)");
    }
    return result;
  }
  const std::int64_t pack_tokens = *options.pack_tokens;
  Packs total;
  if (options.documents_per_step) {
    const auto per_step = static_cast<std::size_t>(*options.documents_per_step);
    const std::span<const std::int64_t> all(source.lengths);
    for (std::size_t begin = 0; begin < all.size(); begin += std::min(per_step, all.size() - begin)) {
      Packs made = make_packs(all.subspan(begin, std::min(per_step, all.size() - begin)), pack_tokens,
                              options.cut_documents);
      add_up(total, made);
      result.steps.push_back({std::ssize(result.steps), true, std::move(made.packs)});
    }
  } else {
    Packs made = make_packs(source.lengths, pack_tokens, options.cut_documents);
    add_up(total, made);
    StepOptions each = options;
    if (!joins(options)) each.packs_per_step = 1;
    Joiner joiner(each, true);
    for (Lengths& pack : made.packs) joiner.add(std::move(pack), joiner.count());
    result.steps = std::move(joiner).finish();
  }
  result.notes = packing_notes(total, pack_tokens);
  if (!joins(options)) result.notes.emplace_back("each pack is a step (--packs-per-step joins them)");
  return result;
}

Steps steps_of_packs(const LengthSource& source, const StepOptions& options, const std::string& name) {
  if (options.pack_tokens) {
    throw InputError("--pack-tokens", fmt::format("fixed packs in {}", name),
                     "documents that are not packed");
  }
  Steps result;
  StepOptions each = options;
  if (!joins(options)) each.packs_per_step = 1;
  Joiner joiner(each, true);
  for (const Batch& batch : source.batches) joiner.add(batch.packs[0], batch.step);
  result.steps = std::move(joiner).finish();
  return result;
}

Steps whole_steps(const LengthSource& source, const StepOptions& options, const std::string& name) {
  Steps result;
  result.steps = source.batches;
  Packs total;
  for (Batch& step : result.steps) {
    if (options.pack_tokens && step.fixed_packs) {
      throw InputError("--pack-tokens", fmt::format("fixed packs in {}", name),
                       "documents that are not packed");
    }
    if (options.pack_tokens) {
      Packs made = make_packs(step.packs[0], *options.pack_tokens, options.cut_documents);
      add_up(total, made);
      step = {step.step, true, std::move(made.packs)};
    }
    const bool same = options.packs_per_step && step.fixed_packs &&
                      (std::ssize(step.packs) == *options.packs_per_step ||
                       (&step == &result.steps.back() && std::ssize(step.packs) < *options.packs_per_step));
    if (joins(options) && !same) {
      throw InputError(
          joining_option(options),
          fmt::format("whole steps in {}, such as step {} of {}", name, step.step,
                      counted(std::ssize(step.packs), step.fixed_packs ? "pack" : "list of documents",
                              "lists of documents")),
          "rows that are packs, or documents without steps");
    }
  }
  if (options.pack_tokens) result.notes = packing_notes(total, *options.pack_tokens);
  return result;
}

}  // namespace

void validate(const StepOptions& options) {
  const auto at_least_one = [](const char* name, const std::optional<std::int64_t>& value) {
    if (value && *value < 1) throw InputError(name, std::to_string(*value), "at least 1");
  };
  at_least_one("--pack-tokens", options.pack_tokens);
  at_least_one("--packs-per-step", options.packs_per_step);
  at_least_one("--tokens-per-step", options.tokens_per_step);
  at_least_one("--documents-per-step", options.documents_per_step);
  const int given = (options.packs_per_step ? 1 : 0) + (options.tokens_per_step ? 1 : 0) +
                    (options.documents_per_step ? 1 : 0);
  if (given > 1) {
    throw InputError(joining_option(options), "another option beside it that ends a step",
                     "one of --packs-per-step, --tokens-per-step and --documents-per-step");
  }
  if (options.cut_documents && !options.pack_tokens) {
    throw InputError("--cut-documents", "no --pack-tokens", "the tokens of a pack");
  }
}

std::int64_t cut_pack_count(std::span<const std::int64_t> lengths, std::int64_t pack_tokens) {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}) / pack_tokens + 1;
}

Packs make_packs(std::span<const std::int64_t> lengths, std::int64_t pack_tokens, bool cut) {
  STRATA_CHECK(pack_tokens >= 1, "a pack has at least one token, not {}", pack_tokens);
  return cut ? cut_documents(lengths, pack_tokens) : whole_documents(lengths, pack_tokens);
}

Steps form_steps(const LengthSource& source, const StepOptions& options, const std::string& name) {
  validate(options);
  if (options.pack_tokens && options.cut_documents) {
    const std::int64_t packs = cut_pack_count(source.lengths, *options.pack_tokens);
    if (packs > kMostPacks) {
      throw InputError("--pack-tokens", fmt::format("{} from {}", counted(packs, "pack"), name),
                       fmt::format("at most {}: more tokens in a pack", human_count(kMostPacks)));
    }
  }
  Steps result;
  if (source.batches.empty()) {
    if (options.packs_per_step && !options.pack_tokens) {
      throw InputError("--packs-per-step", fmt::format("documents that are not packed in {}", name),
                       "--pack-tokens beside it, or a file of packs");
    }
    result = steps_of_documents(source, options);
  } else {
    result = source.whole_steps ? whole_steps(source, options, name) : steps_of_packs(source, options, name);
  }
  for (const Batch& step : result.steps) validate(step, fmt::format("{}: step {}", name, step.step));
  return result;
}

}  // namespace strata
