// SPDX-License-Identifier: Apache-2.0
#include "tests/tidy_rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

namespace strata::tidy {
namespace {

constexpr int kMaxColumns = 110;
constexpr int kMaxFunctionLines = 70;
constexpr int kMaxFileLines = 500;
constexpr int kMaxCudaFileLines = 700;

/// What the files of a folder may include, as folders; a folder stands for all that lies in it.
struct Layer {
  std::string_view folder;
  std::vector<std::string_view> may_include;
};

// The table of ARCHITECTURE.md. Every folder may include itself; the longest folder that a path lies in
// rules.
const std::vector<Layer>& layers() {
  static const std::vector<Layer> kLayers = {
      {"core/base", {}},
      {"core/json", {"core/base"}},
      {"core/problem", {"core/base", "core/json"}},
      {"core/schedule", {"core/base", "core/problem"}},
      {"core/program", {"core/base", "core/json", "core/problem"}},
      {"core/lowering", {"core/base", "core/problem", "core/schedule", "core/program"}},
      {"core/plan", {"core/base", "core/json", "core/problem", "core/schedule"}},
      {"core/verify", {"core"}},
      {"cost_models/profile", {"core/base", "core/json", "core/problem", "core/program"}},
      {"cost_models/cost",
       {"cost_models/profile", "core/base", "core/problem", "core/schedule", "core/program", "core/plan"}},
      {"cost_models/simulator",
       {"cost_models/profile", "cost_models/cost", "core/base", "core/problem", "core/program", "core/plan"}},
      {"cost_models/bounds",
       {"cost_models/profile", "cost_models/cost", "core/base", "core/problem", "core/schedule",
        "core/plan"}},
      {"planner/realise", {"core/base", "core/problem", "core/schedule"}},
      {"planner/strategies", {"planner/realise", "core/base", "core/problem", "core/schedule"}},
      {"planner/report",
       {"planner/strategies", "cost_models/profile", "core/base", "core/problem", "core/schedule",
        "core/plan"}},
      {"planner/search", {"planner/realise", "planner/strategies", "planner/report", "cost_models", "core"}},
      {"planner/audit", {"planner/realise", "planner/strategies", "planner/search", "cost_models", "core"}},
      {"kernels", {}},
      {"executor", {"core", "kernels"}},
      {"traces/lengths", {"core/base", "core/json", "core/problem"}},
      {"traces/timelines", {"core/base", "core/json", "core/problem", "core/program"}},
      {"tools", {"core", "cost_models", "planner", "kernels", "executor", "traces"}},
      {"tests", {""}},
      {"benchmarks", {""}},
  };
  return kLayers;
}

/// Folders that consist of rooms: a source that lies in none of them belongs to nobody.
constexpr std::array<std::string_view, 4> kFoldersOfRooms = {"core", "cost_models", "planner", "traces"};

/// Words of the domain, in the singular. Folders that serve every domain do not name them.
constexpr std::array<std::string_view, 16> kDomainWords = {
    "rank",  "token",   "wave", "transfer", "schedule", "strategy", "program",   "topology",
    "model", "profile", "plan", "batch",    "lane",     "exchange", "attention", "multicast"};
constexpr std::array<std::string_view, 2> kFoldersWithoutDomain = {"core/base", "core/json"};

struct WrappedHeader {
  std::string_view prefix;
  std::vector<std::string_view> folders;        // where the rule holds; empty: everywhere
  std::vector<std::string_view> allowed_files;  // the files that wrap it
};

// One file with all of these costs 17 s to compile and 48 s to tidy; adding a line here is a decision.
const std::vector<WrappedHeader>& wrapped_headers() {
  static const std::vector<WrappedHeader> kWrapped = {
      {"nlohmann/", {}, {"core/json/json_document.cpp"}},
      {"boost/", {}, {"core/problem/route_table.cpp"}},
      {"CLI/", {}, {"tools/command_line.cpp"}},
      {"mpi.h", {}, {"executor/job/mpi_job.cpp", "executor/job/mpi_transport.cpp"}},
      // Their order of iteration differs between machines; what reaches a plan must not.
      // json_document.cpp looks key names up in one and never walks it.
      {"unordered_map", {"core", "cost_models", "planner"}, {"core/json/json_document.cpp"}},
      {"unordered_set", {"core", "cost_models", "planner"}, {}},
  };
  return kWrapped;
}

bool contains(const std::vector<std::string_view>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

bool is_header(std::string_view path) { return path.ends_with(".hpp") || path.ends_with(".cuh"); }
// What a .cpp includes once per instruction set: no `#pragma once`, and it does not compile alone.
bool is_fragment(std::string_view path) { return path.ends_with(".inl"); }
bool is_source(std::string_view path) { return path.ends_with(".cpp") || path.ends_with(".cu"); }

std::string_view folder_of(std::string_view path) { return path.substr(0, path.find('/')); }

/// Whether `path` lies in `folder`, at any depth; everything lies in "".
bool lies_in(std::string_view path, std::string_view folder) {
  return folder.empty() ||
         (path.starts_with(folder) && path.size() > folder.size() && path[folder.size()] == '/');
}

/// The layer that rules over `path`; null where none does.
const Layer* layer_of(std::string_view path) {
  const Layer* found = nullptr;
  for (const Layer& layer : layers()) {
    if (lies_in(path, layer.folder) && (!found || layer.folder.size() > found->folder.size())) found = &layer;
  }
  return found;
}

std::string_view without_extension(std::string_view path) { return path.substr(0, path.rfind('.')); }

struct Include {
  std::string_view path;
  bool quoted = false;
};

std::optional<Include> parse_include(std::string_view line) {
  constexpr std::string_view kDirective = "#include ";
  if (!line.starts_with(kDirective) || line.size() < kDirective.size() + 2) return std::nullopt;
  const bool quoted = line[kDirective.size()] == '"';
  const std::string_view rest = line.substr(kDirective.size() + 1);
  return Include{rest.substr(0, rest.find(quoted ? '"' : '>')), quoted};
}

template <typename Visit>
void for_each_include(const SourceFile& file, Visit visit) {
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    if (const auto include = parse_include(file.lines[i])) visit(static_cast<int>(i + 1), *include);
  }
}

// Lengths count characters, not bytes: continuation bytes of UTF-8 take no column.
int columns(std::string_view line) {
  return static_cast<int>(std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// Walks over C++ text and hands out what is neither comment, literal nor preprocessor line.
class CodeScanner {
 public:
  explicit CodeScanner(const SourceFile& file) : file_(file) {}

  /// Calls `visit(line, character)`; literals and comments are left out.
  template <typename Visit>
  void scan(Visit visit) {
    bool continued_directive = false;
    for (std::size_t i = 0; i < file_.lines.size(); ++i) {
      const std::string& line = file_.lines[i];
      const bool directive = continued_directive || (state_ == State::code && line.starts_with("#"));
      continued_directive = directive && line.ends_with("\\");
      if (directive) continue;
      for (std::size_t at = 0; at < line.size();) {
        const std::size_t next = step(line, at);
        if (next == at) {
          visit(static_cast<int>(i + 1), line[at]);
          ++at;
        } else {
          at = next;
        }
      }
    }
  }

 private:
  enum class State { code, block_comment, raw_string };

  /// Position after the comment or literal that stands at `at`; `at` itself when there is code.
  std::size_t step(const std::string& line, std::size_t at) {
    if (state_ == State::block_comment) return close(line, at, "*/");
    if (state_ == State::raw_string) return close(line, at, raw_end_);
    const std::string_view rest = std::string_view(line).substr(at);
    if (rest.starts_with("//")) return line.size();
    if (rest.starts_with("/*")) {
      state_ = State::block_comment;
      return close(line, at + 2, "*/");
    }
    if (rest.starts_with("R\"")) {
      const std::size_t open = line.find('(', at);
      raw_end_ = ")" + line.substr(at + 2, open - at - 2) + "\"";
      state_ = State::raw_string;
      return close(line, open, raw_end_);
    }
    const bool digit_separator =
        rest.front() == '\'' && at > 0 && std::isxdigit(static_cast<unsigned char>(line[at - 1])) != 0;
    if (rest.front() == '"' || (rest.front() == '\'' && !digit_separator)) return end_of_literal(line, at);
    return at;
  }

  std::size_t close(const std::string& line, std::size_t at, std::string_view end) {
    const std::size_t found = line.find(end, at);
    if (found == std::string::npos) return line.size();
    state_ = State::code;
    return found + end.size();
  }

  static std::size_t end_of_literal(const std::string& line, std::size_t at) {
    for (std::size_t i = at + 1; i < line.size(); ++i) {
      if (line[i] == '\\') {
        ++i;
      } else if (line[i] == line[at]) {
        return i + 1;
      }
    }
    return line.size();
  }

  const SourceFile& file_;
  State state_ = State::code;
  std::string raw_end_;
};

// Whether a brace that follows `head` (the text since the last ';', '{' or '}') opens a function: it has a
// parameter list and is no initialiser, or it follows a member initialiser such as `: a_{x}, b_{y} {`.
bool opens_function(std::string_view head) {
  const std::size_t first = head.find_first_not_of(' ');
  if (first == std::string_view::npos || head[first] == ',') return true;
  if (head.find("operator") != std::string_view::npos) return true;
  int depth = 0;
  bool parameters = false;
  for (const char c : head) {
    if (c == '(') {
      ++depth;
      parameters = true;
    }
    if (c == ')') --depth;
    if (c == '=' && depth == 0) return false;
  }
  return parameters;
}

struct OpenBrace {
  int line = 0;
  bool function = false;
};

struct Word {
  std::string text;
  std::string advice;
};

// Marks of open work, as written; allowed when the issue stands behind in parentheses: (#12).
constexpr std::array<std::string_view, 3> kMarks = {"TODO", "FIXME", "XXX"};

struct Phrase {
  std::string_view text;  // lower case
  std::string_view advice;
};
constexpr std::array<Phrase, 3> kPhrases = {{
    {"placeholder", "write the real thing, or find a word that does not sound unfinished"},
    {"not implemented", "write it, or reject the input with a reason"},
    {"using namespace std;", "name what is used"},
}};

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
  return result;
}

bool is_word_character(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// Whether `mark` stands in `line` as a word of its own (mkdtemp's XXXXXX is none) and without its issue.
bool is_loose(std::string_view mark, std::string_view line) {
  for (std::size_t at = line.find(mark); at != std::string_view::npos; at = line.find(mark, at + 1)) {
    const std::string_view rest = line.substr(at + mark.size());
    const bool begins = at == 0 || !is_word_character(line[at - 1]);
    const bool ends = rest.empty() || !is_word_character(rest.front());
    const bool issue = rest.size() > 2 && rest.starts_with("(#") && is_word_character(rest[2]);
    if (begins && ends && !issue) return true;
  }
  return false;
}

}  // namespace

SourceFile source_file(std::string path, std::string_view text) {
  SourceFile file{std::move(path), {}};
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    file.lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return file;
}

std::vector<Finding> check_layering(const SourceFile& file) {
  std::vector<Finding> findings;
  const Layer* const layer = layer_of(file.path);
  for_each_include(file, [&](int line, const Include& include) {
    if (!include.quoted) return;
    const std::string_view target = folder_of(include.path);
    if (include.path.find('/') == std::string_view::npos || target == "..") {
      findings.push_back({file.path, line, fmt::format("start \"{}\" with its folder", include.path)});
      return;
    }
    const bool ours = std::any_of(layers().begin(), layers().end(),
                                  [&](const Layer& each) { return folder_of(each.folder) == target; });
    if (layer == nullptr || !ours || lies_in(include.path, layer->folder)) return;
    const bool allowed = std::any_of(layer->may_include.begin(), layer->may_include.end(),
                                     [&](std::string_view folder) { return lies_in(include.path, folder); });
    if (allowed) return;
    findings.push_back(
        {file.path, line,
         fmt::format("{} may not include {}: move the code or pass a value", layer->folder, include.path)});
  });
  return findings;
}

std::vector<Finding> check_rooms(const SourceFile& file) {
  if (!is_header(file.path) && !is_fragment(file.path) && !is_source(file.path)) return {};
  const bool has_rooms = std::find(kFoldersOfRooms.begin(), kFoldersOfRooms.end(), folder_of(file.path)) !=
                         kFoldersOfRooms.end();
  if (!has_rooms || layer_of(file.path) != nullptr) return {};
  return {{file.path, 1, fmt::format("move it into a room of {} (ARCHITECTURE.md)", folder_of(file.path))}};
}

std::vector<Finding> check_domain_words(const SourceFile& file) {
  const bool without = std::any_of(kFoldersWithoutDomain.begin(), kFoldersWithoutDomain.end(),
                                   [&](std::string_view folder) { return lies_in(file.path, folder); });
  if (!without) return {};
  std::vector<Finding> findings;
  std::string word;
  int word_line = 0;
  const auto end_word = [&] {
    const std::string_view singular =
        std::string_view(word).substr(0, word.size() - (word.ends_with('s') ? 1 : 0));
    if (std::find(kDomainWords.begin(), kDomainWords.end(), singular) != kDomainWords.end()) {
      findings.push_back(
          {file.path, word_line, fmt::format("'{}' is a word of the domain: move the code up", word)});
    }
    word.clear();
  };
  CodeScanner(file).scan([&](int line, char c) {
    const bool capital = std::isupper(static_cast<unsigned char>(c)) != 0;
    if (line != word_line || capital || std::isalpha(static_cast<unsigned char>(c)) == 0) end_word();
    word_line = line;
    if (std::isalpha(static_cast<unsigned char>(c)) != 0)
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  end_word();
  return findings;
}

std::vector<Finding> check_wrapped_headers(const SourceFile& file) {
  std::vector<Finding> findings;
  for_each_include(file, [&](int line, const Include& include) {
    for (const WrappedHeader& wrapped : wrapped_headers()) {
      if (!include.path.starts_with(wrapped.prefix)) continue;
      if (!wrapped.folders.empty() && !contains(wrapped.folders, folder_of(file.path))) continue;
      if (is_source(file.path) && contains(wrapped.allowed_files, file.path)) continue;
      findings.push_back({file.path, line,
                          fmt::format("<{}> is not allowed here: use the file that wraps it "
                                      "(wrapped_headers() in tests/tidy_rules.cpp)",
                                      include.path)});
    }
  });
  return findings;
}

std::vector<Finding> check_own_header_first(const SourceFile& file) {
  if (!is_source(file.path)) return {};
  const std::string_view stem = without_extension(file.path);
  std::string_view first;
  std::vector<Finding> findings;
  for_each_include(file, [&](int line, const Include& include) {
    if (first.empty()) first = include.path;
    if (include.path == first || !is_header(include.path) || without_extension(include.path) != stem) return;
    findings.push_back({file.path, line, "include the file's own header first, so that it compiles alone"});
  });
  return findings;
}

std::vector<Finding> check_lengths(const SourceFile& file) {
  std::vector<Finding> findings;
  const int cap = file.path.ends_with(".cu") ? kMaxCudaFileLines : kMaxFileLines;
  if (static_cast<int>(file.lines.size()) > cap) {
    findings.push_back(
        {file.path, cap + 1, fmt::format("{} lines; split it, the cap is {}", file.lines.size(), cap)});
  }
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    if (columns(file.lines[i]) <= kMaxColumns) continue;
    findings.push_back({file.path, static_cast<int>(i + 1), fmt::format("wrap at {} columns", kMaxColumns)});
  }
  return findings;
}

std::vector<Finding> check_function_lengths(const SourceFile& file) {
  std::vector<Finding> findings;
  std::vector<OpenBrace> open;
  std::string head;
  int last_line = 0;
  CodeScanner(file).scan([&](int line, char c) {
    if (line != last_line) head += ' ';
    last_line = line;
    if (c == '{') {
      const bool inside_function =
          std::any_of(open.begin(), open.end(), [](const OpenBrace& b) { return b.function; });
      open.push_back({line, !inside_function && opens_function(head)});
    } else if (c == '}' && !open.empty()) {
      const int length = line - open.back().line + 1;
      if (open.back().function && length > kMaxFunctionLines) {
        findings.push_back(
            {file.path, open.back().line,
             fmt::format("function of {} lines; name its parts, the cap is {}", length, kMaxFunctionLines)});
      }
      open.pop_back();
    }
    head = (c == '{' || c == '}' || c == ';') ? std::string() : head + c;
  });
  return findings;
}

std::vector<Finding> check_words(const SourceFile& file) {
  if (file.path.starts_with("tests/tidy_")) return {};  // these files name what they forbid
  std::vector<Finding> findings;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    const std::string& text = file.lines[i];
    const auto report = [&](std::string message) {
      findings.push_back({file.path, static_cast<int>(i + 1), std::move(message)});
    };
    for (const std::string_view mark : kMarks) {
      if (is_loose(mark, text)) report(fmt::format("{}: finish it, or name its issue: {}(#12)", mark, mark));
    }
    const std::string lowered = lower(text);
    for (const Phrase& phrase : kPhrases) {
      if (lowered.find(phrase.text) != std::string::npos) {
        report(fmt::format("'{}': {}", phrase.text, phrase.advice));
      }
    }
    if (text.find('\t') != std::string::npos) report("replace the tab by spaces");
    if (text.ends_with(" ") || text.ends_with("\r")) report("remove the blanks at the end of the line");
  }
  return findings;
}

std::vector<Finding> check_opening(const SourceFile& file) {
  if (!is_header(file.path) && !is_fragment(file.path) && !is_source(file.path)) return {};
  std::vector<Finding> findings;
  if (file.lines.empty() || file.lines[0] != "// SPDX-License-Identifier: Apache-2.0") {
    findings.push_back({file.path, 1, "open with '// SPDX-License-Identifier: Apache-2.0'"});
  }
  if (is_header(file.path) &&
      std::find(file.lines.begin(), file.lines.end(), "#pragma once") == file.lines.end()) {
    findings.push_back({file.path, 1, "add '#pragma once' after the file comment"});
  }
  return findings;
}

std::vector<Finding> check_no_dead_files(const std::vector<SourceFile>& tree) {
  std::set<std::string> listed;
  std::set<std::string> included;
  for (const SourceFile& file : tree) {
    for_each_include(file, [&](int, const Include& include) { included.emplace(include.path); });
    const std::filesystem::path path = file.path;
    if (path.filename() != "CMakeLists.txt") continue;
    for (const std::string& line : file.lines) {
      std::istringstream words(line.substr(0, line.find(')')));
      for (std::string word; words >> word;) {
        listed.insert((path.parent_path() / word).lexically_normal().generic_string());
      }
    }
  }
  std::vector<Finding> findings;
  for (const SourceFile& file : tree) {
    if ((is_header(file.path) || is_fragment(file.path)) && !included.contains(file.path)) {
      findings.push_back({file.path, 1, "no file includes this header: use it or delete it"});
    }
    if (is_source(file.path) && !listed.contains(file.path)) {
      findings.push_back({file.path, 1, "list it in its folder's CMakeLists.txt or delete it"});
    }
  }
  return findings;
}

}  // namespace strata::tidy
