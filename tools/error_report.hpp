// SPDX-License-Identifier: Apache-2.0
// What leaves a command by exception, as one line on stderr and an exit code.
#pragma once

namespace strata::tools {

/// Call inside a catch block. Prints the exception and returns the code to exit with.
int report_current_exception();

}  // namespace strata::tools
