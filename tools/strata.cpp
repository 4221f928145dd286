// SPDX-License-Identifier: Apache-2.0
// The program: runs the command and turns what it throws into one line and an exit code. 0 fine; 1 a check
// failed; 2 bad input or usage; 3 no feasible plan; 4 device or transport failure; 70 a bug in Strata.
#include <csignal>
#include <iostream>

#include "core/check.hpp"
#include "tools/command.hpp"
#include "tools/error_report.hpp"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is an error of that file, like a full disk
  try {
    const int code = strata::tools::run_command_line(argc, argv);
    if (!std::cout.flush()) {
      throw strata::InputError("standard output", "an error while writing", "an output that can be written");
    }
    return code;
  } catch (...) {
    return strata::tools::report_current_exception();
  }
}
