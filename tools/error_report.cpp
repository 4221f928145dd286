// SPDX-License-Identifier: Apache-2.0
#include "tools/error_report.hpp"

#include <fmt/format.h>

#include <exception>
#include <iostream>
#include <new>

#include "core/check.hpp"
#include "core/version.hpp"
#include "tools/no_plan.hpp"

namespace strata::tools {

int report_current_exception() {
  try {
    throw;
  } catch (const InputError& error) {
    std::cerr << "strata: " << error.what() << std::endl;
    return 2;
  } catch (const NoPlan& error) {
    std::cerr << "strata: " << error.what() << std::endl;
    return 3;
  } catch (const DeviceError& error) {
    std::cerr << "strata: " << error.what() << std::endl;
    return 4;
  } catch (const std::bad_alloc&) {
    std::cerr << "strata: found too little memory for this input, expected a machine with more or a smaller "
                 "batch"
              << std::endl;
    return 4;
  } catch (const std::exception& error) {
    std::cerr << fmt::format(
                     "strata: internal error: {}\nThis is a bug in Strata {}. Please report it with the "
                     "command line and the input files.",
                     error.what(), kVersion)
              << std::endl;
    return 70;
  }
}

}  // namespace strata::tools
