// SPDX-License-Identifier: Apache-2.0
// Every row against the oracle. A document is cut into runs of query rows so that threads share long ones;
// the key gradients of the runs are added in order.
#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <mutex>

#include "core/base/parallel_for.hpp"
#include "executor/check_detail.hpp"

namespace strata {

namespace {

constexpr std::int64_t kOracleRows = 512;

/// Query rows [begin, end) of one KV head of one document.
struct OracleJob {
  std::size_t document = 0;
  std::int32_t kv_head = 0;
  std::int64_t begin = 0, end = 0;
  std::int64_t number = 0;  ///< among the jobs of this document and head
};

void add_prefix(std::vector<double>& sum, const std::vector<double>& part) {
  for (std::size_t i = 0; i < part.size(); ++i) sum[i] += part[i];
}

void place(std::vector<double>& whole, const std::vector<double>& part, std::int64_t begin,
           std::int64_t row_size) {
  std::copy(part.begin(), part.end(), whole.begin() + begin * row_size);
}

HeadReference run_job(const ModelShape& model, std::uint64_t seed, std::int32_t document,
                      const OracleJob& job) {
  const OracleInput input(model, seed, job.kv_head, document, row_range(job.begin, job.end),
                          row_range(0, job.end));
  const std::int64_t window = model.mask().window;
  const std::int64_t first = window == 0 ? -job.end : job.begin - window + 1;
  const auto mask = kernels::band_mask(input.view.queries, input.view.keys, first, job.begin);
  HeadReference part;
  part.output = kernels::reference_forward(input.view, mask);
  part.gradients = kernels::reference_backward(input.view, mask, part.output);
  return part;
}

void add_job(const ModelShape& model, const HeadReference& part, std::int64_t begin, HeadReference& whole) {
  const std::int64_t group = model.group_size();
  place(whole.output.out, part.output.out, begin, group * model.value_head_dim);
  place(whole.output.lse, part.output.lse, begin, group);
  place(whole.gradients.grad_q, part.gradients.grad_q, begin, group * model.head_dim);
  place(whole.gradients.scale_q, part.gradients.scale_q, begin, group * model.head_dim);
  add_prefix(whole.gradients.grad_k, part.gradients.grad_k);
  add_prefix(whole.gradients.scale_k, part.gradients.scale_k);
  add_prefix(whole.gradients.grad_v, part.gradients.grad_v);
  add_prefix(whole.gradients.scale_v, part.gradients.scale_v);
}

HeadReference empty_reference(const ModelShape& model, std::int64_t length) {
  const std::int64_t group = model.group_size();
  const auto zeros = [&](std::int64_t row_size) {
    return std::vector<double>(static_cast<std::size_t>(length * row_size), 0.0);
  };
  HeadReference whole;
  whole.output = {zeros(group * model.value_head_dim), zeros(group)};
  whole.gradients = {zeros(group * model.head_dim), zeros(model.head_dim), zeros(model.value_head_dim),
                     zeros(group * model.head_dim), zeros(model.head_dim), zeros(model.value_head_dim)};
  return whole;
}

/// One tile of one tensor: `stride` and `offset` select a head of token-major references.
struct TileView {
  const std::vector<double>& reference;
  const std::vector<double>* scale = nullptr;
  std::int64_t heads = 1, head = 0;
};

double compare_tile(const GatheredResults& results, ResultTensor tensor, const TileView& view,
                    std::int32_t document, std::int64_t begin, std::int64_t end, std::int32_t absolute_head) {
  const auto width = static_cast<std::size_t>(results.width(tensor));
  std::vector<double> x, reference;
  double squares = 0;
  std::vector<double> row(width);
  for (std::int64_t token = begin; token < end; ++token) {
    results.read(tensor, document, token, absolute_head, row.data());
    x.insert(x.end(), row.begin(), row.end());
    const auto first = static_cast<std::size_t>(token * view.heads + view.head) * width;
    for (std::size_t i = first; i < first + width; ++i) {
      reference.push_back(view.reference[i]);
      if (view.scale != nullptr) squares += (*view.scale)[i] * (*view.scale)[i];
    }
  }
  const double scale =
      view.scale == nullptr ? 1.0 : gradient_scale(results.element_type(), squares, reference.size());
  return kernels::tile_error(x, reference, scale);
}

}  // namespace

FullOracle::FullOracle(const ModelShape& model, std::vector<PlacedDocument> documents, std::uint64_t seed,
                       std::int32_t threads, const std::function<void(double)>& progress)
    : kv_heads_(model.kv_heads), documents_(std::move(documents)) {
  std::vector<OracleJob> jobs;
  for (std::size_t d = 0; d < documents_.size(); ++d) {
    const std::int64_t length = documents_[d].length;
    for (std::int32_t head = 0; head < kv_heads_; ++head) {
      heads_.push_back(empty_reference(model, length));
      for (std::int64_t begin = 0; begin < length; begin += kOracleRows) {
        jobs.push_back({d, head, begin, std::min(length, begin + kOracleRows), begin / kOracleRows});
      }
    }
  }
  std::mutex mutex;
  std::condition_variable turn;
  std::vector<std::int64_t> added(heads_.size(), 0);
  bool failed = false;
  std::int64_t done = 0;
  parallel_for(std::ssize(jobs), threads, [&](std::int64_t index) {
    const OracleJob& job = jobs[static_cast<std::size_t>(index)];
    const std::size_t slot =
        job.document * static_cast<std::size_t>(kv_heads_) + static_cast<std::size_t>(job.kv_head);
    try {
      const HeadReference part = run_job(model, seed, documents_[job.document].document, job);
      std::unique_lock lock(mutex);
      turn.wait(lock, [&] { return failed || added[slot] == job.number; });
      add_job(model, part, job.begin, heads_[slot]);
      ++added[slot];
      if (progress) progress(static_cast<double>(++done) / static_cast<double>(jobs.size()));
      turn.notify_all();
    } catch (...) {
      const std::lock_guard lock(mutex);
      failed = true;
      turn.notify_all();
      throw;
    }
  });
}

const HeadReference& FullOracle::of(std::size_t document, std::int32_t kv_head) const {
  return heads_[document * static_cast<std::size_t>(kv_heads_) + static_cast<std::size_t>(kv_head)];
}

void compare_full(const FullOracle& oracle, const ModelShape& model, const GatheredResults& results,
                  std::int32_t wave, std::int32_t threads, ErrorCollector& errors) {
  const std::int32_t group = model.group_size();
  const auto count = static_cast<std::int64_t>(oracle.documents().size());
  std::vector<ErrorCollector> partial(static_cast<std::size_t>(count), ErrorCollector(model.element_type));
  parallel_for(count, threads, [&](std::int64_t index) {
    const auto d = static_cast<std::size_t>(index);
    const PlacedDocument& document = oracle.documents()[d];
    for (std::int32_t kv_head = 0; kv_head < model.kv_heads; ++kv_head) {
      const HeadReference& reference = oracle.of(d, kv_head);
      for (std::int64_t begin = 0; begin < document.length; begin += kTileRows) {
        const std::int64_t end = std::min(document.length, begin + kTileRows);
        const auto add = [&](ResultTensor tensor, const TileView& view, std::int32_t head) {
          const double error = compare_tile(results, tensor, view, document.document, begin, end, head);
          partial[d].add(tensor, error,
                         {wave, document.document, head, begin, results.owner(document.document, begin)});
        };
        const kernels::ReferenceGradients& gradients = reference.gradients;
        for (std::int32_t g = 0; g < group; ++g) {
          const std::int32_t head = kv_head * group + g;
          add(ResultTensor::o, {reference.output.out, nullptr, group, g}, head);
          add(ResultTensor::lse, {reference.output.lse, nullptr, group, g}, head);
          add(ResultTensor::dq, {gradients.grad_q, &gradients.scale_q, group, g}, head);
        }
        add(ResultTensor::dk, {gradients.grad_k, &gradients.scale_k, 1, 0}, kv_head);
        add(ResultTensor::dv, {gradients.grad_v, &gradients.scale_v, 1, 0}, kv_head);
      }
    }
  });
  for (const ErrorCollector& part : partial) errors.merge(part);
}

}  // namespace strata
