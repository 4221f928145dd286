// SPDX-License-Identifier: Apache-2.0
// The program: runs the command and turns what it throws into one line and an exit code. 0 fine; 1 a check
// failed; 2 bad input or usage; 3 no feasible plan; 4 device or transport failure; 70 a bug in Strata.
#include <fmt/format.h>

#include <exception>
#include <iostream>
#include <new>

#include "core/check.hpp"
#include "core/version.hpp"
#include "tools/command.hpp"
#include "tools/no_plan.hpp"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  try {
    const int code = strata::tools::run_command_line(argc, argv);
    if (!std::cout.flush()) {
      throw strata::InputError("standard output", "an error while writing", "an output that can be written");
    }
    return code;
  } catch (const strata::InputError& error) {
    std::cerr << "strata: " << error.what() << '\n';
    return 2;
  } catch (const strata::tools::NoPlan& error) {
    std::cerr << "strata: " << error.what() << '\n';
    return 3;
  } catch (const strata::DeviceError& error) {
    std::cerr << "strata: " << error.what() << '\n';
    return 4;
  } catch (const std::bad_alloc&) {
    std::cerr << "strata: found too little memory for this input, expected a machine with more or a smaller "
                 "batch\n";
    return 4;
  } catch (const std::exception& error) {
    std::cerr << fmt::format(
        "strata: internal error: {}\nThis is a bug in Strata {}. Please report it with the "
        "command line and the input files.\n",
        error.what(), strata::kVersion);
    return 70;
  }
}
