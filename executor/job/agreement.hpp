// SPDX-License-Identifier: Apache-2.0
// Before anything runs, all processes of a job show that they are about to run the same thing: the same plan,
// lowered to the same programs, with the same exchanges in the same order, by the same build.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "executor/cpu/cpu_executor.hpp"
#include "executor/job/control.hpp"

namespace strata {

/// An error that every process of the job throws, with the same text: one of them reports it.
class AgreedError : public TransportError {
 public:
  explicit AgreedError(const std::string& text, int code = 4) : TransportError(-1, text), code_(code) {}
  int code() const { return code_; }  ///< to exit with

 private:
  int code_;
};

/// What must be equal everywhere, as (what it is, its value).
struct RunIdentity {
  std::int32_t ranks = 0;
  std::vector<std::pair<std::string, std::string>> items;
};
RunIdentity identify_run(const Execution& execution, const CpuOptions& options);

/// Every process calls it, with what it is about to run or with why it cannot (`failure`). Tells `control`
/// the number of ranks. Throws AgreedError, one line that names the ranks that failed or that differ from
/// most of the others.
void agree(Control& control, const std::optional<RunIdentity>& own, const std::string& failure);
/// For later steps that a process can fail at: `failure` is empty when this process did not fail.
void agree_on_success(Control& control, const std::string& failure, std::string_view what);

}  // namespace strata
