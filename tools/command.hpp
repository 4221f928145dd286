// SPDX-License-Identifier: Apache-2.0
// A command of the strata program: its options (declared through Options, which hides the parser library) and
// what it does. Commands return the exit code 0 or 1; everything else leaves by exception (strata.cpp).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/output.hpp"

namespace strata::tools {

/// The options of one command. Targets must live as long as the command; a target's value at declaration is
/// its default. `names` is like "-o,--output FILE" or "--strategy NAMES", the last word standing for the
/// value in the help text; a name without dash is positional. A list is separated by commas.
class Options {
 public:
  virtual ~Options() = default;
  virtual void required(const std::string& names, std::string& target, const std::string& help) = 0;
  virtual void add(const std::string& names, std::string& target, const std::string& help) = 0;
  virtual void add(const std::string& names, std::int64_t& target, const std::string& help) = 0;
  virtual void add(const std::string& names, std::uint64_t& target, const std::string& help) = 0;
  virtual void add(const std::string& names, std::optional<std::int64_t>& target,
                   const std::string& help) = 0;
  virtual void add(const std::string& names, std::vector<std::string>& target, const std::string& help) = 0;
  virtual void flag(const std::string& names, bool& target, const std::string& help) = 0;
  /// One of `known`; the option without a value is `implied`.
  virtual void choice(const std::string& names, std::string& target, const std::vector<std::string>& known,
                      const std::string& implied, const std::string& help) = 0;
};

/// What --threads may ask for.
inline constexpr std::int64_t kMostThreads = 4096;

struct Command {
  std::string name;
  std::string summary;
  std::function<void(Options&)> declare;
  std::function<int(Output&)> run;
};

/// Every command, in the order of the help text.
std::vector<Command> all_commands();

Command inspect_command();
Command topo_command();
Command calibrate_command();
Command plan_command();
Command lint_command();
Command explain_command();
Command simulate_command();
Command run_command();
Command validate_command();
Command compare_command();

/// Parses the command line and runs the command it names. Returns the exit code. Throws InputError for a
/// command line that makes no sense, and what the command throws.
int run_command_line(int argc, const char* const* argv);

}  // namespace strata::tools
