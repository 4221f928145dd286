// SPDX-License-Identifier: Apache-2.0
// The only file that knows the option parser. Values are converted here, so that a bad one is reported like
// every other bad input.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <charconv>
#include <iostream>
#include <string_view>

#include "core/base/check.hpp"
#include "core/base/closest_name.hpp"
#include "core/base/version.hpp"
#include "tools/command.hpp"

namespace strata::tools {

namespace {

constexpr std::size_t kHelpColumn = 34;

template <typename Integer>
Integer integer_of(const std::string& text, const std::string& option) {
  Integer value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw InputError(option, "'" + text + "'",
                     std::is_signed_v<Integer> ? "a whole number" : "a whole number from 0 to 2^64 - 1");
  }
  return value;
}

/// "-o,--output FILE": the names and the word that stands for the value.
struct Declared {
  Declared(const std::string& text, std::string help_text)
      : names(text.substr(0, text.find(' '))),
        help(std::move(help_text)),
        value(text.find(' ') == std::string::npos ? "" : text.substr(text.find(' ') + 1)) {
    const std::string first_long = names.substr(names.find("--") == std::string::npos ? 0 : names.find("--"));
    shown = first_long.substr(0, first_long.find(','));
  }
  std::string names, help, value, shown;
};

class ParsedOptions : public Options {
 public:
  explicit ParsedOptions(CLI::App& app) : app_(app) {}

  void required(const std::string& names, std::string& target, const std::string& help) override {
    const Declared declared(names, help);
    CLI::Option* option = app_.add_option(declared.names, target, help);
    describe(option, declared, option->get_positional() ? "" : " (required)");
    texts_.push_back({option, declared, target, true});
  }
  void add(const std::string& names, std::string& target, const std::string& help) override {
    const Declared declared(names, help);
    CLI::Option* option = app_.add_option(declared.names, target, help);
    describe(option, declared, target.empty() ? "" : " [" + target + "]");
    texts_.push_back({option, declared, target, false});
  }
  void add(const std::string& names, std::int64_t& target, const std::string& help) override {
    add_integer(names, target, help, fmt::format(" [{}]", target));
  }
  void add(const std::string& names, std::uint64_t& target, const std::string& help) override {
    add_integer(names, target, help, fmt::format(" [{}]", target));
  }
  void add(const std::string& names, std::optional<std::int64_t>& target, const std::string& help) override {
    add_integer(names, target, help, "");
  }
  void add(const std::string& names, std::vector<std::string>& target, const std::string& help) override {
    const Declared declared(names, help);
    // Not split by the parser, which drops an empty name: what "ring," means is for its reader to say.
    const auto split = [&target](const std::vector<std::string>& lists) {
      target.clear();
      for (std::string_view list : lists) {
        for (auto comma = list.find(','); comma != std::string_view::npos; comma = list.find(',')) {
          target.emplace_back(list.substr(0, comma));
          list.remove_prefix(comma + 1);
        }
        target.emplace_back(list);
      }
    };
    CLI::Option* option = app_.add_option_function<std::vector<std::string>>(declared.names, split, help)
                              ->allow_extra_args(false);
    describe(option, declared, target.empty() ? "" : fmt::format(" [{}]", fmt::join(target, ",")));
  }
  void flag(const std::string& names, bool& target, const std::string& help) override {
    app_.add_flag(names, target, help);
  }

  void choice(const std::string& names, std::string& target, const std::vector<std::string>& known,
              const std::string& implied, const std::string& help) override {
    const Declared declared(names, help);
    const auto convert = [&target, known, implied, shown = declared.shown](const std::string& text) {
      target = text;
      if (std::find(known.begin(), known.end(), target) != known.end()) return;
      throw InputError(shown, "'" + text + "'",
                       fmt::format("{}, or no value for {}{}", fmt::join(known, ", "), implied,
                                   did_you_mean(text, names_of(known))));
    };
    CLI::Option* option = app_.add_option_function<std::string>(declared.names, convert, help);
    option->expected(0, 1)->default_str(implied);  // what the parser gives when there is no value
    describe(option, declared, " [" + target + "]");
  }

  /// After parsing; not left to the parser, which would miss a required option before it sees that the user
  /// misspelt it. An empty text is a shell variable that was not set: nobody asks for nothing.
  void check_texts() const {
    for (const auto& [option, declared, target, required] : texts_) {
      if (option->count() > 0 ? !target.empty() : !required) continue;
      std::string meaning = declared.help;
      if (!meaning.empty()) meaning[0] = static_cast<char>(std::tolower(meaning[0]));
      const std::string use = declared.value.empty() ? declared.shown : declared.shown + " " + declared.value;
      const std::string expected = fmt::format("{} ({})", use, meaning);
      if (option->count() > 0) throw InputError(declared.shown, "an empty text", expected);
      throw InputError(app_.get_name(), "no " + declared.shown, expected);
    }
  }

 private:
  template <typename Target>
  void add_integer(const std::string& names, Target& target, const std::string& help,
                   const std::string& note) {
    const Declared declared(names, help);
    using Integer = std::conditional_t<std::is_same_v<Target, std::uint64_t>, std::uint64_t, std::int64_t>;
    const auto convert = [&target, shown = declared.shown](const std::string& text) {
      target = integer_of<Integer>(text, shown);
    };
    describe(app_.add_option_function<std::string>(declared.names, convert, help), declared, note);
  }

  static void describe(CLI::Option* option, const Declared& declared, const std::string& note) {
    if (option->get_positional()) {
      option->type_name("");
      return;
    }
    const std::string value = declared.value.empty() ? "VALUE" : declared.value;
    option->type_name(value)->option_text(value);
    option->description(option->get_description() + note);
  }

  CLI::App& app_;
  struct Text {
    CLI::Option* option;
    Declared declared;
    const std::string& target;
    bool required;
  };
  std::vector<Text> texts_;
};

/// The parser's exception as one line in the words of every other bad input. `options` are those there are.
InputError usage_error(const std::string& where, const CLI::ParseError& error,
                       const std::vector<std::string>& options) {
  const std::string help = where.empty() ? "strata --help" : "strata " + where + " --help";
  std::string message = error.what();
  std::replace(message.begin(), message.end(), '\n', ' ');
  for (const std::string_view start :
       {"The following argument was not expected: ", "The following arguments were not expected: "}) {
    if (message.starts_with(start)) {
      message = message.substr(start.size());
      // A misspelt option makes its value unexpected too; the option is the one to name.
      if (const auto dash = (" " + message).find(" -"); dash != std::string::npos) {
        message = message.substr(dash, message.find(' ', dash) - dash);
      }
      // What follows a '=' is its value.
      const std::string suggestion =
          message.starts_with("--") ? did_you_mean(message.substr(0, message.find('=')), names_of(options))
                                    : std::string();
      return {where, "'" + message + "'", fmt::format("only what {} lists{}", help, suggestion)};
    }
  }
  constexpr std::string_view kTwice = ": At Most 1 required but received ";
  if (const auto at = message.find(kTwice); at != std::string::npos) {
    return {message.substr(0, at), message.substr(at + kTwice.size()) + " values", "one"};
  }
  return {where, message, "what " + help + " lists"};
}

}  // namespace

std::vector<Command> all_commands() {
  return {inspect_command(), topo_command(),     calibrate_command(), plan_command(),     lint_command(),
          explain_command(), simulate_command(), run_command(),       validate_command(), compare_command()};
}

namespace {

constexpr std::string_view kFooter =
    "First steps:\n"
    "  strata inspect traces/samples/codeparrot_128k.jsonl\n"
    "  strata plan --batch traces/samples/codeparrot_128k.jsonl:1 --topology cpu:2x4 --model tiny \\\n"
    "    -o plan.json\n"
    "  strata explain plan.json\n"
    "  strata run plan.json --check sampled\n"
    "\n"
    "strata COMMAND --help lists the options of a command.\n"
    "Exit codes: 0 fine; 1 a check failed; 2 bad input or usage; 3 no feasible plan;\n"
    "4 a device failed or the deadline passed; 70 a bug in Strata; 130 interrupted (128 + signal).";

class HelpText : public CLI::Formatter {
 public:
  HelpText() {
    column_width(kHelpColumn);
    label("Positionals", "Arguments");
  }
  std::string make_usage(const CLI::App* app, std::string name) const override {
    std::string usage = "Usage: " + name;
    if (app->get_parent() == nullptr) usage += " COMMAND";
    for (const CLI::Option* option : app->get_options()) {
      if (option->get_positional()) usage += " " + option->get_name(true);
    }
    return usage + " [OPTIONS]\n";
  }
};

class CommandLine {
 public:
  CommandLine() : commands_(all_commands()) {
    app_.formatter(std::make_shared<HelpText>());
    app_.set_version_flag("--version", std::string(kVersion), "Print the version and exit");
    app_.set_help_flag("-h,--help", "Print this help and exit");
    app_.footer(std::string(kFooter));
    app_.require_subcommand(0, 1);
    for (Command& command : commands_) {
      CLI::App* parser = app_.add_subcommand(command.name, command.summary)->group("Commands");
      parser->footer("");
      ParsedOptions& options = *options_.emplace_back(std::make_unique<ParsedOptions>(*parser));
      command.declare(options);
      parser->add_flag("--json", output_.json, "One JSON document on stdout, everything else on stderr");
      parser->add_flag("--quiet", output_.quiet, "Print only results and errors");
      options.add("--seed N", output_.seed, "Seed of everything that is drawn at random");
      parsers_.push_back(parser);
    }
  }

  int run(int argc, const char* const* argv) {
    if (argc < 2) {
      std::cout << app_.help() << std::flush;
      throw InputError("", "no command", known());
    }
    const std::string_view first = argv[1];
    const auto named = [&](const Command& command) { return command.name == first; };
    if (!first.starts_with("-") && std::none_of(commands_.begin(), commands_.end(), named)) {
      throw InputError("", fmt::format("command '{}'", first),
                       known() + did_you_mean(first, command_names()));
    }
    const std::string where = first.starts_with("-") ? "" : std::string(first);
    try {
      app_.parse(argc, argv);
    } catch (const CLI::Success& printed) {  // --help and --version
      return app_.exit(printed);
    } catch (const CLI::ParseError& error) {
      throw usage_error(where, error, long_options(where));
    }
    for (std::size_t i = 0; i < commands_.size(); ++i) {
      if (!parsers_[i]->parsed()) continue;
      options_[i]->check_texts();
      return commands_[i].run(output_);
    }
    throw InputError("", "no command", known());
  }

 private:
  std::vector<std::string_view> command_names() const {
    std::vector<std::string_view> names;
    for (const Command& command : commands_) names.emplace_back(command.name);
    return names;
  }
  std::string known() const { return fmt::format("one of {}", fmt::join(command_names(), ", ")); }

  /// Of a command, or of the program when it is none.
  std::vector<std::string> long_options(const std::string& command) const {
    std::vector<std::string> names;
    const CLI::App* parser = &app_;
    for (std::size_t i = 0; i < commands_.size(); ++i) {
      if (commands_[i].name == command) parser = parsers_[i];
    }
    for (const CLI::Option* option : parser->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
    return names;
  }

  CLI::App app_{"Plans, simulates, runs and verifies sequence-parallel layouts for packed training batches.",
                "strata"};
  std::vector<Command> commands_;
  std::vector<std::unique_ptr<ParsedOptions>> options_;
  std::vector<CLI::App*> parsers_;
  Output output_;
};

}  // namespace

int run_command_line(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    // The name of a file, say, that would put lines of its own among those of the program.
    const std::string_view argument = argv[i];
    if (argument.find('\n') == std::string_view::npos) continue;
    throw InputError("", fmt::format("'{}' on the command line", argument), "arguments without line ends");
  }
  return CommandLine().run(argc, argv);
}

}  // namespace strata::tools
