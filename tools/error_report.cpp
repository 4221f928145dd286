// SPDX-License-Identifier: Apache-2.0
#include "tools/error_report.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <exception>
#include <iostream>
#include <new>
#include <string>

#include "core/base/check.hpp"
#include "core/base/version.hpp"
#include "core/base/visible_text.hpp"
#include "executor/device_error.hpp"
#include "tools/no_plan.hpp"

namespace strata::tools {

namespace {

/// In one piece: other processes of a job write to the same place.
int report(int code, const std::string& text) {
  std::cerr << "strata: " + text + '\n' << std::flush;
  return code;
}

}  // namespace

int report_current_exception() {
  try {
    throw;
  } catch (const InputError& error) {
    return report(2, visible_text(error.what()));
  } catch (const NoPlan& error) {
    return report(3, visible_text(error.what(), LineEnds::kept));
  } catch (const DeviceError& error) {
    return report(4, visible_text(error.what(), LineEnds::kept));
  } catch (const std::bad_alloc&) {
    return report(
        4,
        "found too little memory for this input, expected a machine with more, a smaller batch, or fewer "
        "layers or repeats");
  } catch (const std::exception& error) {
    return report(70, fmt::format("internal error: {}\nThis is a bug in Strata {}. Please report it with the "
                                  "command line and the input files.",
                                  visible_text(error.what()), kVersion));
  }
}

void exit_for_device() {
  const int code = report_current_exception();
  std::cout.flush();
  std::_Exit(code);
}

}  // namespace strata::tools
