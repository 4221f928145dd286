// SPDX-License-Identifier: Apache-2.0
// The options that say how a file becomes training steps, and the one way in which commands read such a file.
#pragma once

#include <string>
#include <vector>

#include "core/problem/batch.hpp"
#include "tools/command.hpp"
#include "tools/read_as_batch.hpp"
#include "traces/lengths/length_source.hpp"
#include "traces/lengths/steps.hpp"

namespace strata::tools {

/// What a file was read as, and the steps it gives.
struct LoadedBatches {
  LengthSource source;
  std::vector<Batch> steps;  ///< at least one
  ReadAsBatch read_as;
  std::vector<std::string> step_notes;  ///< those of read_as that say how steps were made
};

struct BatchInputs {
  StepOptions steps;
  std::string lengths_are;
  std::vector<std::string> ignored_keys;

  void declare(Options& options);
  /// FILE or FILE:LINE. With a line, reading begins there, so that its first step is the one that starts at
  /// the line. A file whose whole name ends in a colon and digits is that file. Throws InputError.
  LoadedBatches load(const std::string& reference, const std::string& option) const;
};

/// The file of a reference, without the line.
std::string file_of_reference(const std::string& reference);

}  // namespace strata::tools
