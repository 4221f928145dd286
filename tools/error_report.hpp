// SPDX-License-Identifier: Apache-2.0
// What leaves a command by exception, as one line on stderr and an exit code.
#pragma once

namespace strata::tools {

/// Call inside a catch block. Prints the exception and returns the code to exit with.
int report_current_exception();
/// The same, then ends the process at once: a kernel that never ends would hold up a process that clears up.
[[noreturn]] void exit_for_device();

}  // namespace strata::tools
