// SPDX-License-Identifier: Apache-2.0
// The only file that knows the option parser.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "core/version.hpp"
#include "tools/command.hpp"

namespace strata::tools {

namespace {

class ParsedOptions : public Options {
 public:
  explicit ParsedOptions(CLI::App& app) : app_(app) {}
  void required(const std::string& names, std::string& target, const std::string& help) override {
    app_.add_option(names, target, help)->required();
  }
  void add(const std::string& names, std::string& target, const std::string& help) override {
    app_.add_option(names, target, help)->capture_default_str();
  }
  void add(const std::string& names, std::int64_t& target, const std::string& help) override {
    app_.add_option(names, target, help)->capture_default_str();
  }
  void add(const std::string& names, std::optional<std::int64_t>& target, const std::string& help) override {
    app_.add_option(names, target, help);
  }
  void add(const std::string& names, std::vector<std::string>& target, const std::string& help) override {
    app_.add_option(names, target, help)->delimiter(',');
  }
  void flag(const std::string& names, bool& target, const std::string& help) override {
    app_.add_flag(names, target, help);
  }

 private:
  CLI::App& app_;
};

}  // namespace

std::vector<Command> all_commands() {
  return {inspect_command(), topo_command(),     calibrate_command(), plan_command(),     lint_command(),
          explain_command(), simulate_command(), run_command(),       validate_command(), compare_command()};
}

int run_command_line(int argc, const char* const* argv) {
  CLI::App app{"Plans, simulates, runs and verifies sequence-parallel layouts for packed training batches.",
               "strata"};
  app.set_version_flag("--version", std::string(kVersion));
  app.require_subcommand(1);
  Output output;
  std::vector<Command> commands = all_commands();
  std::vector<CLI::App*> parsers;
  for (Command& command : commands) {
    CLI::App* parser = app.add_subcommand(command.name, command.summary);
    ParsedOptions options(*parser);
    command.declare(options);
    parser->add_flag("--json", output.json, "One JSON document on stdout, everything else on stderr");
    parser->add_flag("--quiet", output.quiet, "Only results and errors");
    parser->add_option("--seed", output.seed, "Seed of everything that is drawn at random")
        ->capture_default_str();
    parsers.push_back(parser);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  } catch (const CLI::ParseError& error) {
    std::string message = error.what();
    for (char& c : message) {
      if (c == '\n') c = ' ';
    }
    std::cerr << fmt::format("strata: {} (strata --help lists the commands)\n", message);
    return 2;
  }
  for (std::size_t i = 0; i < commands.size(); ++i) {
    if (parsers[i]->parsed()) return commands[i].run(output);
  }
  return 2;
}

}  // namespace strata::tools
