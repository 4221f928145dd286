// SPDX-License-Identifier: Apache-2.0
// Fuzzes the parser of the command line, an argument a line. Every command of the program is there with
// options of every kind; none does anything.
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "core/base/check.hpp"
#include "tests/fuzz/fuzz_input.hpp"
#include "tools/command.hpp"

namespace strata::tools {

namespace {

/// One option of every kind, a positional and an alias among them.
struct EveryKind {
  std::string file, output, word = "auto";
  std::int64_t count = 1;
  std::uint64_t bits = 0;
  std::optional<std::int64_t> maybe;
  std::vector<std::string> names{"all"};
  bool on = false;
};

Command command_named(const char* name) {
  auto kinds = std::make_shared<EveryKind>();
  Command command;
  command.name = name;
  command.summary = "Does nothing";
  command.declare = [kinds](Options& options) {
    options.required("FILE", kinds->file, "A file");
    options.required("-o,--output FILE", kinds->output, "A file to write");
    options.add("--word WORD", kinds->word, "A word");
    options.add("--count N", kinds->count, "A number");
    options.add("--bits N", kinds->bits, "A number without a sign");
    options.add("--maybe,--perhaps N", kinds->maybe, "A number that may be missing");
    options.add("--names,--name NAMES", kinds->names, "Names");
    options.flag("--on", kinds->on, "A switch");
  };
  command.run = [kinds](Output&) {
    STRATA_CHECK(!kinds->file.empty() && !kinds->output.empty(), "a required option is empty");
    return 0;
  };
  return command;
}

}  // namespace

Command inspect_command() { return command_named("inspect"); }
Command topo_command() { return command_named("topo"); }
Command calibrate_command() { return command_named("calibrate"); }
Command plan_command() { return command_named("plan"); }
Command lint_command() { return command_named("lint"); }
Command explain_command() { return command_named("explain"); }
Command simulate_command() { return command_named("simulate"); }
Command run_command() { return command_named("run"); }
Command validate_command() { return command_named("validate"); }
Command compare_command() { return command_named("compare"); }

}  // namespace strata::tools

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::istringstream lines(std::string(reinterpret_cast<const char*>(data), size));
  std::vector<std::string> words{"strata"};
  for (std::string word; std::getline(lines, word);) words.push_back(word);
  std::vector<const char*> arguments;
  for (const std::string& word : words) arguments.push_back(word.c_str());
  std::cout.setstate(std::ios::failbit);  // help texts go nowhere
  try {
    strata::tools::run_command_line(static_cast<int>(arguments.size()), arguments.data());
  } catch (const strata::InputError& error) {
    const std::string what = error.what();
    STRATA_CHECK(!what.empty() && what.find('\n') == std::string::npos, "a message of several lines: {}",
                 what);
  }
  return 0;
}
