// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/workspace.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "tests/support/test_scale.hpp"

namespace strata::test {

namespace {

namespace fs = std::filesystem;

fs::path new_folder() {
  std::string name = (fs::temp_directory_path() / "strata_cli_XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder: " + name);
  return name;
}

/// In the child, between fork and exec: only calls that are safe there.
[[noreturn]] void become(const char* program, std::vector<char*>& arguments, const char* folder,
                         const char* out, const char* err) {
  const int in = ::open("/dev/null", O_RDONLY);
  const int to_out = ::open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const int to_err = ::open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (in < 0 || to_out < 0 || to_err < 0 || ::chdir(folder) != 0) ::_exit(126);
  ::dup2(in, STDIN_FILENO);
  ::dup2(to_out, STDOUT_FILENO);
  ::dup2(to_err, STDERR_FILENO);
  ::execv(program, arguments.data());
  ::_exit(127);
}

}  // namespace

Workspace::Workspace() : folder_(new_folder()) {}

Workspace::~Workspace() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

Finished Workspace::strata(const std::vector<std::string>& arguments, const std::string& inside) const {
  return run(STRATA_BINARY, arguments, inside);
}

Finished Workspace::script(const std::string& text) const { return run("/bin/sh", {"-c", text}, "."); }

Finished Workspace::run(const char* program, const std::vector<std::string>& arguments,
                        const std::string& inside) const {
  std::vector<std::string> words{program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  const fs::path streams = new_folder();  // elsewhere, so that the work folder holds only what strata wrote
  const fs::path out = streams / "out", err = streams / "err";
  const pid_t child = start_program(program, std::move(words), folder_ / inside, out, err);
  int status = 0;
  if (::waitpid(child, &status, 0) != child) throw std::runtime_error("waitpid failed");
  Finished finished{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), file_text(out),
                    file_text(err)};
  fs::remove_all(streams);
  return finished;
}

Finished Workspace::strata(const std::string& arguments) const {
  std::istringstream words(arguments);
  std::vector<std::string> list;
  for (std::string word; words >> word;) list.push_back(word);
  return strata(list);
}

Finished Workspace::expect(int code, const std::string& arguments) const {
  Finished finished = strata(arguments);
  EXPECT_EQ(finished.code, code) << "strata " << arguments << '\n' << finished.out << finished.err;
  return finished;
}

void Workspace::write(const std::string& name, const std::string& text) const {
  std::ofstream file(folder_ / name, std::ios::binary);
  file << text;
  if (!file.flush()) throw std::runtime_error("cannot write " + name);
}

std::string Workspace::read(const std::string& name) const { return file_text(folder_ / name); }

void Workspace::edit(const std::string& name, const std::string& from, const std::string& to) const {
  std::string text = read(name);
  const auto at = text.find(from);
  ASSERT_NE(at, std::string::npos) << name << " does not contain " << from;
  write(name, text.replace(at, from.size(), to));
}

bool Workspace::has(const std::string& name) const { return fs::exists(folder_ / name); }

std::vector<std::string> Workspace::files() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

pid_t start_program(const std::string& program, std::vector<std::string> words, const fs::path& folder,
                    const fs::path& out, const fs::path& err) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) become(program.c_str(), pointers, folder.c_str(), out.c_str(), err.c_str());
  return child;
}

std::string file_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

const std::vector<std::string>& strategy_names() {
  static const std::vector<std::string> kNames = {"ulysses",      "ring",      "zigzag_ring",
                                                  "per_document", "allgather", "whole_document"};
  return kNames;
}

std::string sample(const std::string& name) {
  return std::string(STRATA_SOURCE_DIR "/traces/samples/") + name;
}

int scaled(int normal, int small) { return small_scale() ? small : normal; }

JsonDocument parsed(const std::string& text) {
  try {
    return JsonDocument::parse_text(text, "stdout");
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what() << "\nin: " << text;
    return JsonDocument::parse_text("null", "stdout");
  }
}

JsonValue member(const JsonDocument& document, const std::string& way) {
  return member(document.root(), way);
}

JsonValue member(JsonValue value, const std::string& way) {
  std::istringstream names(way);
  for (std::string name; std::getline(names, name, '.');) {
    bool found = false;
    for (const JsonValue each : value.members()) {
      if (each.key() != name) continue;
      value = each;
      found = true;
      break;
    }
    if (!found) throw std::runtime_error("no member " + way);
  }
  return value;
}

std::vector<std::string> keys(JsonValue object) {
  std::vector<std::string> names;
  for (const JsonValue each : object.members()) names.emplace_back(each.key());
  return names;
}

}  // namespace strata::test
