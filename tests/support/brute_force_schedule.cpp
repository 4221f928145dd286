// SPDX-License-Identifier: Apache-2.0
#include "tests/support/brute_force_schedule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/schedule/backward_schedule.hpp"

namespace strata::test {

namespace {

constexpr std::size_t kMostFaults = 5;
constexpr std::int64_t kMostTokens = 4096;
constexpr std::int32_t kNever = 1 << 30;

using Counts = std::map<std::int64_t, int>;  // contributor -> how often

/// One number or sum for every (rank, row, head).
template <typename Value>
class Grid {
 public:
  Grid(std::int32_t ranks, std::int64_t rows, std::int32_t heads, const Value& value)
      : rows_(rows), heads_(heads), values_(static_cast<std::size_t>(ranks * rows * heads), value) {}
  Value& at(std::int32_t rank, std::int64_t row, std::int32_t head) {
    return values_.at(static_cast<std::size_t>((rank * rows_ + row) * heads_ + head));
  }

 private:
  std::int64_t rows_;
  std::int32_t heads_;
  std::vector<Value> values_;
};

/// A sum on its way.
struct Parcel {
  std::int32_t usable = 0;
  TensorKind tensor = TensorKind::o;
  std::int32_t rank = 0;
  std::int64_t row = 0;
  std::int32_t head = 0;
  Counts counts;
};

class Interpreter {
 public:
  Interpreter(const Wave& wave, const ModelShape& model, std::int32_t rank_count)
      : wave_(wave),
        model_(model),
        ranks_(rank_count),
        rows_(count_rows()),
        owner_(static_cast<std::size_t>(rows_), -1),
        q_(ranks_, rows_, model.query_heads, kNever),
        kv_(ranks_, rows_, model.kv_heads, kNever),
        d_o_(ranks_, rows_, model.query_heads, kNever),
        query_sum_(ranks_, rows_, model.query_heads, {}),
        key_sum_(ranks_, rows_, model.kv_heads, {}),
        finished_(ranks_, rows_, model.query_heads, {}) {}

  std::vector<std::string> run() {
    place();
    if (faults_.empty()) run_forward();
    if (faults_.empty()) run_backward();
    return faults_;
  }

  /// Whether the tables fit in memory and indices make sense.
  static bool is_small(const Wave& wave, const ModelShape& model, std::int32_t rank_count) {
    std::int64_t tokens = 0;
    for (const std::int64_t length : wave.lengths) {
      if (length < 1 || length > kMostTokens) return false;
      tokens += length;
    }
    return tokens <= kMostTokens && wave.documents.size() == wave.lengths.size() && rank_count >= 1 &&
           rank_count <= 64 && model.query_heads >= 1 && model.query_heads <= 64 && model.kv_heads >= 1 &&
           model.query_heads % model.kv_heads == 0 &&
           wave.placement.spans.size() == static_cast<std::size_t>(rank_count);
  }

 private:
  template <typename... Values>
  void fault(fmt::format_string<Values...> text, Values&&... values) {
    if (faults_.size() < kMostFaults) faults_.push_back(fmt::format(text, std::forward<Values>(values)...));
  }

  std::int64_t count_rows() const {
    std::int64_t rows = 0;
    for (const std::int64_t length : wave_.lengths) rows += length;
    return rows;
  }

  /// Number of the first row of a document, -1 when the wave has it not or not once.
  std::int64_t base(std::int32_t document) const {
    std::int64_t row = 0, found = -1;
    for (std::size_t i = 0; i < wave_.documents.size(); ++i) {
      if (wave_.documents[i] == document) found = found < 0 ? row : -2;
      row += wave_.lengths[i];
    }
    return found;
  }

  bool valid(const TokenSpan& span) {
    for (std::size_t i = 0; i < wave_.documents.size(); ++i) {
      if (wave_.documents[i] != span.document) continue;
      if (base(span.document) >= 0 && span.begin >= 0 && span.begin < span.end &&
          span.end <= wave_.lengths[i]) {
        return true;
      }
    }
    fault("rows [{}, {}) of document {} do not exist", span.begin, span.end, span.document);
    return false;
  }

  bool valid(HeadRange heads, std::int32_t count) {
    if (heads.begin >= 0 && heads.begin < heads.end && heads.end <= count) return true;
    fault("heads [{}, {}) of {} do not exist", heads.begin, heads.end, count);
    return false;
  }

  bool valid_rank(std::int32_t rank) {
    if (rank >= 0 && rank < ranks_) return true;
    fault("rank {} does not exist", rank);
    return false;
  }

  bool valid(const std::vector<RankRange>& ranges) {
    std::int64_t ranks = 0;
    for (const RankRange& range : ranges) {
      if (range.begin >= range.end || !valid_rank(range.begin) || !valid_rank(range.end - 1)) {
        fault("ranks [{}, {}) do not exist", range.begin, range.end);
        return false;
      }
      ranks += range.count();
    }
    if (ranks == 0) fault("a record without ranks on its other side");
    return ranks > 0;
  }

  bool sees(std::int64_t query, std::int64_t key) const {
    return key <= query && (model_.attention == AttentionKind::dense || query - key < model_.window);
  }

  void place() {
    for (std::int32_t rank = 0; rank < ranks_; ++rank) {
      for (const TokenSpan& span : wave_.placement.spans[static_cast<std::size_t>(rank)]) {
        if (!valid(span)) return;
        for (std::int64_t token = span.begin; token < span.end; ++token)
          own(rank, base(span.document) + token);
      }
    }
    for (std::int64_t row = 0; row < rows_; ++row) {
      if (owner_[static_cast<std::size_t>(row)] < 0) fault("row {} has no owner", row);
    }
  }

  void own(std::int32_t rank, std::int64_t row) {
    std::int32_t& owner = owner_[static_cast<std::size_t>(row)];
    if (owner >= 0) fault("row {} has two owners", row);
    owner = rank;
    for (std::int32_t head = 0; head < model_.query_heads; ++head) q_.at(rank, row, head) = 0;
    for (std::int32_t head = 0; head < model_.query_heads; ++head) d_o_.at(rank, row, head) = 0;
    for (std::int32_t head = 0; head < model_.kv_heads; ++head) kv_.at(rank, row, head) = 0;
  }

  void run_forward() {
    backward_ = false;
    play(wave_.schedule);
    compare_queries("o");
    each_row_head(model_.query_heads, [&](std::int64_t row, std::int32_t head) {
      for (std::int32_t rank = 0; rank < ranks_; ++rank) query_sum_.at(rank, row, head).clear();
    });
  }

  void run_backward() {
    backward_ = true;
    if (wave_.backward.kv == BackwardKeep::refetch) {
      forget(q_, model_.query_heads);
      forget(kv_, model_.kv_heads);
    } else {
      keep(q_, model_.query_heads);
      keep(kv_, model_.kv_heads);
    }
    play(derive_backward(wave_, model_));
    compare_queries("dq");
    compare_keys();
  }

  void forget(Grid<std::int32_t>& held, std::int32_t heads) {
    each_row_head(heads, [&](std::int64_t row, std::int32_t head) {
      for (std::int32_t rank = 0; rank < ranks_; ++rank) {
        if (owner_[static_cast<std::size_t>(row)] != rank) held.at(rank, row, head) = kNever;
      }
    });
  }

  void keep(Grid<std::int32_t>& held, std::int32_t heads) {
    each_row_head(heads, [&](std::int64_t row, std::int32_t head) {
      for (std::int32_t rank = 0; rank < ranks_; ++rank) {
        if (held.at(rank, row, head) != kNever) held.at(rank, row, head) = 0;
      }
    });
  }

  template <typename Visit>
  void each_row_head(std::int32_t heads, Visit visit) {
    for (std::int64_t row = 0; row < rows_; ++row) {
      for (std::int32_t head = 0; head < heads; ++head) visit(row, head);
    }
  }

  void play(const CommSchedule& schedule) {
    for (std::size_t s = 0; s < schedule.steps.size(); ++s) {
      step_ = static_cast<std::int32_t>(s);
      unpack(step_);
      for (const Transfer& transfer : schedule.steps[s].transfers) move(transfer);
      for (const Reduction& reduction : schedule.steps[s].reductions) move(reduction);
      for (const AttentionTask& task : schedule.steps[s].tasks) compute(task);
    }
    unpack(kNever);
  }

  /// Adds the sums that are usable by `step` to what their ranks have.
  void unpack(std::int32_t step) {
    for (const Parcel& parcel : parcels_) {
      if (parcel.usable > step) continue;
      if (parcel.tensor == TensorKind::o && !finished_.at(parcel.rank, parcel.row, parcel.head).empty()) {
        fault("rank {} gets a finished output twice", parcel.rank);
      }
      Counts& sum = parcel.tensor == TensorKind::o
                        ? finished_.at(parcel.rank, parcel.row, parcel.head)
                        : sum_of(parcel.tensor).at(parcel.rank, parcel.row, parcel.head);
      for (const auto& [contributor, times] : parcel.counts) sum[contributor] += times;
    }
    std::erase_if(parcels_, [&](const Parcel& parcel) { return parcel.usable <= step; });
  }

  Grid<Counts>& sum_of(TensorKind tensor) { return tensor == TensorKind::dkv ? key_sum_ : query_sum_; }

  void move(const Transfer& transfer) {
    const TensorKind tensor = transfer.tensor;
    const std::int32_t heads = tensor == TensorKind::kv ? model_.kv_heads : model_.query_heads;
    if (!valid(transfer.span) || !valid(transfer.heads, heads) || !valid_rank(transfer.source)) return;
    if (!valid(transfer.targets)) return;
    const bool input =
        tensor == TensorKind::q || tensor == TensorKind::kv || (backward_ && tensor == TensorKind::d_o);
    const bool output = !backward_ && (tensor == TensorKind::o || tensor == TensorKind::o_part);
    if (!input && !output) return fault("a transfer of {} in this pass", to_string(tensor));
    const std::int32_t usable = std::max(transfer.ready, step_ + 1);
    for (std::int64_t token = transfer.span.begin; token < transfer.span.end; ++token) {
      const std::int64_t row = base(transfer.span.document) + token;
      for (std::int32_t head = transfer.heads.begin; head < transfer.heads.end; ++head) {
        if (input) {
          deliver(transfer, row, head, usable);
        } else {
          send(transfer.source, transfer.targets, tensor, row, head, usable);
        }
      }
    }
  }

  void deliver(const Transfer& transfer, std::int64_t row, std::int32_t head, std::int32_t usable) {
    Grid<std::int32_t>& held = transfer.tensor == TensorKind::q    ? q_
                               : transfer.tensor == TensorKind::kv ? kv_
                                                                   : d_o_;
    if (held.at(transfer.source, row, head) > step_) {
      fault("rank {} sends {} of row {} head {} without having it", transfer.source,
            to_string(transfer.tensor), row, head);
    }
    for (const RankRange& range : transfer.targets) {
      for (std::int32_t rank = range.begin; rank < range.end; ++rank) {
        held.at(rank, row, head) = std::min(held.at(rank, row, head), usable);
      }
    }
  }

  void move(const Reduction& reduction) {
    const TensorKind tensor = reduction.tensor;
    if (!backward_ || (tensor != TensorKind::dq && tensor != TensorKind::dkv)) {
      return fault("a reduction of {} in this pass", static_cast<int>(tensor));
    }
    const std::int32_t heads = tensor == TensorKind::dkv ? model_.kv_heads : model_.query_heads;
    if (!valid(reduction.span) || !valid(reduction.heads, heads) || !valid_rank(reduction.target)) return;
    if (!valid(reduction.sources)) return;
    const std::int32_t usable = std::max(reduction.ready, step_ + 1);
    for (std::int64_t token = reduction.span.begin; token < reduction.span.end; ++token) {
      const std::int64_t row = base(reduction.span.document) + token;
      for (std::int32_t head = reduction.heads.begin; head < reduction.heads.end; ++head) {
        for (const RankRange& range : reduction.sources) {
          for (std::int32_t rank = range.begin; rank < range.end; ++rank) {
            send(rank, {{reduction.target, reduction.target + 1}}, tensor, row, head, usable);
          }
        }
      }
    }
  }

  /// A sum leaves `source`, which starts again from nothing.
  void send(std::int32_t source, const std::vector<RankRange>& targets, TensorKind tensor, std::int64_t row,
            std::int32_t head, std::int32_t usable) {
    Counts& sum = sum_of(tensor).at(source, row, head);
    if (sum.empty()) {
      fault("rank {} sends {} of row {} head {} without having any", source, to_string(tensor), row, head);
    }
    for (const RankRange& range : targets) {
      for (std::int32_t rank = range.begin; rank < range.end; ++rank) {
        parcels_.push_back({usable, tensor, rank, row, head, sum});
      }
    }
    sum.clear();
  }

  void compute(const AttentionTask& task) {
    if (!valid(task.query) || !valid(task.key) || !valid(task.heads, model_.query_heads)) return;
    if (!valid_rank(task.rank)) return;
    if (task.query.document != task.key.document) return fault("a task over two documents");
    const std::int64_t first = base(task.query.document);
    for (std::int32_t head = task.heads.begin; head < task.heads.end; ++head) {
      for (std::int64_t query = task.query.begin; query < task.query.end; ++query) {
        for (std::int64_t key = task.key.begin; key < task.key.end; ++key) {
          if (sees(query, key)) add_pair(task.rank, first + query, first + key, head);
        }
      }
    }
  }

  void add_pair(std::int32_t rank, std::int64_t query, std::int64_t key, std::int32_t head) {
    const std::int32_t kv_head = head / (model_.query_heads / model_.kv_heads);
    if (q_.at(rank, query, head) > step_) fault("rank {} lacks q of row {} head {}", rank, query, head);
    if (kv_.at(rank, key, kv_head) > step_) fault("rank {} lacks kv of row {} head {}", rank, key, kv_head);
    ++query_sum_.at(rank, query, head)[key];
    if (!backward_) return;
    if (d_o_.at(rank, query, head) > step_) fault("rank {} lacks do of row {} head {}", rank, query, head);
    ++key_sum_.at(rank, key, kv_head)[query * model_.query_heads + head];
  }

  void compare(const char* tensor, std::int64_t row, std::int32_t head, const Counts& got,
               const Counts& expected) {
    if (got == expected) return;
    fault("the owner of row {} has {} of head {} from {} contributors, expected {}", row, tensor, head,
          got.size(), expected.size());
  }

  /// Calls visit(first row, row in the document, length) for every row.
  template <typename Visit>
  void each_document_row(Visit visit) {
    std::int64_t first = 0;
    for (const std::int64_t length : wave_.lengths) {
      for (std::int64_t row = 0; row < length; ++row) visit(first, row, length);
      first += length;
    }
  }

  void compare_queries(const char* tensor) {
    each_document_row([&](std::int64_t first, std::int64_t row, std::int64_t length) {
      Counts expected;
      for (std::int64_t key = 0; key < length; ++key) {
        if (sees(row, key)) expected[first + key] = 1;
      }
      const std::int32_t owner = owner_[static_cast<std::size_t>(first + row)];
      for (std::int32_t head = 0; head < model_.query_heads; ++head) {
        const Counts& sum = query_sum_.at(owner, first + row, head);
        const Counts& finished = finished_.at(owner, first + row, head);
        if (!backward_ && !finished.empty()) {
          if (!sum.empty()) fault("row {} head {} has a finished output and a share", first + row, head);
          compare(tensor, first + row, head, finished, expected);
        } else {
          compare(tensor, first + row, head, sum, expected);
        }
      }
    });
  }

  void compare_keys() {
    const std::int32_t group = model_.query_heads / model_.kv_heads;
    each_document_row([&](std::int64_t first, std::int64_t row, std::int64_t length) {
      const std::int32_t owner = owner_[static_cast<std::size_t>(first + row)];
      for (std::int32_t kv_head = 0; kv_head < model_.kv_heads; ++kv_head) {
        Counts expected;
        for (std::int64_t query = 0; query < length; ++query) {
          if (!sees(query, row)) continue;
          for (std::int32_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
            expected[(first + query) * model_.query_heads + head] = 1;
          }
        }
        compare("dkv", first + row, kv_head, key_sum_.at(owner, first + row, kv_head), expected);
      }
    });
  }

  const Wave& wave_;
  const ModelShape& model_;
  std::int32_t ranks_;
  std::int64_t rows_;
  std::vector<std::int32_t> owner_;
  Grid<std::int32_t> q_, kv_, d_o_;  // first step in which the rank may use it
  Grid<Counts> query_sum_;           // o, in backward dq: keys that contributed
  Grid<Counts> key_sum_;             // dkv: (query, query head) that contributed
  Grid<Counts> finished_;            // outputs that came as `o`
  std::vector<Parcel> parcels_;
  std::vector<std::string> faults_;
  bool backward_ = false;
  std::int32_t step_ = 0;
};

}  // namespace

std::vector<std::string> faults_of_meaning(const Wave& wave, const ModelShape& model,
                                           std::int32_t rank_count) {
  if (!Interpreter::is_small(wave, model, rank_count)) return {"sizes that make no sense"};
  return Interpreter(wave, model, rank_count).run();
}

std::vector<std::string> faults_of_meaning(const Plan& plan) {
  std::vector<std::int64_t> wanted;
  for (const auto& pack : plan.batch.packs) wanted.insert(wanted.end(), pack.begin(), pack.end());
  std::vector<std::int64_t> found(wanted.size(), -1);
  for (const Wave& wave : plan.waves) {
    for (std::size_t i = 0; i < wave.documents.size(); ++i) {
      const std::int32_t document = wave.documents[i];
      if (document < 0 || static_cast<std::size_t>(document) >= found.size())
        return {"a document of no batch"};
      std::int64_t& length = found[static_cast<std::size_t>(document)];
      if (length >= 0) return {"a document in two waves"};
      length = i < wave.lengths.size() ? wave.lengths[i] : 0;
    }
  }
  if (found != wanted) return {"the documents of the waves are not those of the batch"};
  for (const Wave& wave : plan.waves) {
    auto faults = faults_of_meaning(wave, plan.model, plan.topology.rank_count());
    if (!faults.empty()) return faults;
  }
  return {};
}

}  // namespace strata::test
