// SPDX-License-Identifier: Apache-2.0
// The program: runs the command and turns what it throws into one line and an exit code. 0 fine; 1 a check
// failed; 2 bad input or usage; 3 no feasible plan; 4 device or transport failure; 70 a bug in Strata; 128 +
// signal after a signal, which `compare` alone answers with what is done (interruption.hpp).
#include <chrono>
#include <csignal>
#include <iostream>
#include <thread>

#include "core/base/check.hpp"
#include "tools/command.hpp"
#include "tools/error_report.hpp"
#include "tools/job/launch.hpp"

namespace {

/// Processes that a launcher started with one command line find the same fault in it. The first one says so,
/// and its launcher ends the others while they wait here; what only one of the others found is still said.
void let_the_first_process_speak() {
  constexpr std::chrono::seconds kTurn(2);
  try {
    if (strata::tools::find_launch().process > 0) std::this_thread::sleep_for(kTurn);
  } catch (const strata::InputError&) {
    return;  // a launcher that gives no number that could be read
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is an error of that file, like a full disk
  try {
    const int code = strata::tools::run_command_line(argc, argv);
    if (!std::cout.flush()) {
      throw strata::InputError("standard output", "an error while writing", "an output that can be written");
    }
    return code;
  } catch (const strata::InputError&) {
    let_the_first_process_speak();
    return strata::tools::report_current_exception();
  } catch (...) {
    return strata::tools::report_current_exception();
  }
}
