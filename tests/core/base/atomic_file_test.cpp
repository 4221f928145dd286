// SPDX-License-Identifier: Apache-2.0
// Output files are whole or absent: what is left in the directory after success, after an exception and after
// an error of the file system.
#include "core/base/atomic_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <set>
#include <sstream>
#include <stdexcept>

#include "tests/core/json/bad_input.hpp"

namespace strata {
namespace {

namespace fs = std::filesystem;

class AtomicFile : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::temp_directory_path() / fmt::format("strata_atomic_file_{}", ::getpid());
    fs::create_directory(directory_);
  }
  void TearDown() override { fs::remove_all(directory_); }
  std::string at(const std::string& name) const { return (directory_ / name).string(); }
  std::set<std::string> names() const {
    std::set<std::string> found;
    for (const auto& entry : fs::directory_iterator(directory_)) found.insert(entry.path().filename());
    return found;
  }
  static std::string content(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  fs::path directory_;
};

TEST_F(AtomicFile, ReplacesTheTargetAsAWhole) {
  std::ofstream(at("plan")) << "old";
  write_file_atomically(at("plan"), [&](std::ostream& out) {
    out << "new";
    out.flush();
    EXPECT_EQ(content(at("plan")), "old");
  });
  EXPECT_EQ(content(at("plan")), "new");
  EXPECT_EQ(names(), std::set<std::string>{"plan"});
}

TEST_F(AtomicFile, LeavesNothingBehindWhenWritingThrows) {
  std::ofstream(at("plan")) << "old";
  const auto fails = [](std::ostream& out) {
    out << std::string(1 << 20, 'x');
    throw std::runtime_error("half way");
  };
  EXPECT_THROW(write_file_atomically(at("plan"), fails), std::runtime_error);
  EXPECT_THROW(write_file_atomically(at("fresh"), fails), std::runtime_error);
  EXPECT_EQ(content(at("plan")), "old");
  EXPECT_EQ(names(), std::set<std::string>{"plan"});
}

TEST_F(AtomicFile, LeavesNothingBehindWhenTheProcessIsKilledHalfWay) {
  const int unnamed = ::open(directory_.c_str(), O_WRONLY | O_TMPFILE, 0600);
  if (unnamed < 0) GTEST_SKIP() << "no files without a name here";
  ::close(unnamed);
  std::ofstream(at("plan")) << "old";
  for (const char* name : {"plan", "fresh"}) {
    const pid_t child = ::fork();
    if (child == 0) {
      write_file_atomically(at(name), [](std::ostream& out) {
        out << std::string(1 << 20, 'x') << std::flush;
        ::kill(::getpid(), SIGKILL);
      });
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status));
  }
  EXPECT_EQ(content(at("plan")), "old");
  EXPECT_EQ(names(), std::set<std::string>{"plan"});
}

TEST_F(AtomicFile, WritesLargeFilesWhole) {
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += std::to_string(i) + ",";
  write_file_atomically(at("large"), [&](std::ostream& out) {
    for (std::size_t i = 0; i < text.size(); i += 777) out << text.substr(i, 777);
  });
  EXPECT_EQ(content(at("large")), text);
}

TEST_F(AtomicFile, NamesThePathThatCannotBeWritten) {
  EXPECT_EQ(test::input_error([&] { write_file_atomically(at("no/plan"), [](std::ostream&) {}); }),
            at("no/plan") + ": found No such file or directory, expected a file that can be written");
  EXPECT_EQ(test::input_error([&] { write_file_atomically(at("."), [](std::ostream&) {}); }),
            at(".") + ": found Is a directory, expected a file that can be written");
}

TEST_F(AtomicFile, WritesAFileWithTheLongestNameThereIs) {
  const std::string longest(255, 'x');
  write_file_atomically(at(longest), [](std::ostream& out) { out << "new"; });
  EXPECT_EQ(content(at(longest)), "new");
}

TEST_F(AtomicFile, ReportsAFullDevice) {
  EXPECT_EQ(
      test::input_error([&] { write_file_atomically("/dev/full", [](std::ostream& out) { out << "x"; }); }),
      "/dev/full: found No space left on device, expected a file that can be written");
}

TEST_F(AtomicFile, WritesThroughALinkAndKeepsPermissions) {
  std::ofstream(at("real")) << "old";
  ASSERT_EQ(::chmod(at("real").c_str(), 0640), 0);
  fs::create_symlink(at("real"), at("link"));
  write_file_atomically(at("link"), [](std::ostream& out) { out << "new"; });
  EXPECT_TRUE(fs::is_symlink(at("link")));
  EXPECT_EQ(content(at("real")), "new");
  EXPECT_EQ(fs::status(at("real")).permissions(), static_cast<fs::perms>(0640));
}

}  // namespace
}  // namespace strata
