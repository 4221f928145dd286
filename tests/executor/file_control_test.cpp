// SPDX-License-Identifier: Apache-2.0
// The rendezvous through a shared folder, with real processes: they find each other whatever lies there
// already, messages arrive whole and in order, every way to lose a process ends in an error that names it,
// and a job that ended well leaves nothing behind.
#include "executor/job/file_control.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>

#include "core/lowering/lower.hpp"
#include "executor/job/clock_alignment.hpp"
#include "executor/job/process_run.hpp"
#include "tests/executor/file_job.hpp"
#include "tests/executor/hand_programs.hpp"
#include "tests/executor/thread_job.hpp"

namespace strata {
namespace {

using testing::Child;
using testing::Ended;
using testing::run_file_job;
using testing::SharedPlace;
using testing::start_process;

constexpr Duration kLong{60'000'000'000};
constexpr Duration kShort{1'000'000'000};

std::vector<std::byte> bytes_of(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

/// What every process of a healthy job answers with: what all of them said.
std::string gather_and_finish(Control& control) {
  std::string all;
  for (const std::string& text :
       control.all_gather(std::string(1, "abcdefgh"[control.process()]), "greeting")) {
    all += text;
  }
  control.finish();
  return all;
}

void expect_healthy_job(const SharedPlace& place, std::int32_t processes) {
  const std::string all = std::string("abcdefgh").substr(0, static_cast<std::size_t>(processes));
  for (const Ended& ended : run_file_job(place, processes, kLong, gather_and_finish)) {
    EXPECT_EQ(ended, (Ended{0, all}));
  }
  EXPECT_EQ(place.files(), std::vector<std::string>{});
}

std::string stay(Control& control) {
  control.receive(control.process() == 0 ? 1 : 0, "staying");
  return "";
}

TEST(FileControl, GathersAndLeavesNothingBehind) {
  const SharedPlace place;
  for (const std::int32_t processes : {1, 2, 5}) expect_healthy_job(place, processes);
}

TEST(FileControl, CarriesLargeAndEmptyMessagesInOrder) {
  const SharedPlace place;
  constexpr std::size_t kLarge = (std::size_t{64} << 20U) + 3;
  const auto ended = run_file_job(place, 2, kLong, [&](Control& control) {
    const std::vector<std::byte> large(kLarge, std::byte{0x5a});
    const std::int32_t other = 1 - control.process();
    for (const auto& message : {large, bytes_of(""), bytes_of("x")}) control.send(other, message, "sending");
    const bool same = control.receive(other, "receiving") == large;
    const std::size_t empty = control.receive(other, "receiving").size();
    const bool last = control.receive(other, "receiving") == bytes_of("x");
    control.finish();
    return std::string(same && empty == 0 && last ? "as sent" : "changed");
  });
  for (const Ended& each : ended) EXPECT_EQ(each, (Ended{0, "as sent"}));
}

TEST(FileControl, ComparesClocks) {
  const SharedPlace place;
  const auto ended = run_file_job(place, 3, kLong, [](Control& control) {
    const ClockSample sample = measure_clock(control);
    control.finish();
    // One machine has one clock, so the offset is all error.
    const bool bounded = std::abs(sample.offset_ns) <= sample.error_ns;
    return std::string(bounded && (sample.error_ns > 0) == (control.process() > 0) ? "bounded" : "wrong");
  });
  for (const Ended& each : ended) EXPECT_EQ(each, (Ended{0, "bounded"}));
}

TEST(FileControl, RunsPlansBitForBit) {
  const SharedPlace place;
  const Execution execution = testing::two_rank_execution(ElementType::f32);
  CpuOptions options;
  options.threads = 1;
  options.seed = 7;
  const RunResult one = run_on_cpu(execution, options);
  testing::Mailboxes boxes;
  RunResult divided;
  const auto run = [&](std::int32_t process) {
    const auto control = join_by_files(place.path(), "threads", process, 2, kLong);
    testing::ThreadControl links(boxes, process, 2, kLong);
    ProcessRun result = run_in_processes(execution, options, *control, links.transports(), "files");
    control->finish();
    if (process == 0) divided = std::move(result.result);
  };
  std::thread other(run, 1);
  run(0);
  other.join();
  EXPECT_EQ(divided.results, one.results);
  EXPECT_EQ(divided.sent, one.sent);
  EXPECT_GT(divided.timeline.clock_error_ns, 0);
  EXPECT_EQ(place.files(), std::vector<std::string>{});
}

TEST(FileControl, SurvivesLeftoversOfAKilledJobOfTheSameId) {
  const SharedPlace place;
  {
    const auto busy = [](Control& control) {
      control.send(1 - control.process(), bytes_of("of the killed job"), "greeting");
      return stay(control) + stay(control);
    };
    const auto first = start_process(place, 0, 2, kLong, busy),
               second = start_process(place, 1, 2, kLong, busy);
    place.wait_for("complete");
    first->kill();
    second->kill();
    EXPECT_EQ(first->wait().code, 128 + SIGKILL);
    EXPECT_EQ(second->wait().code, 128 + SIGKILL);
  }
  EXPECT_NE(place.files(), std::vector<std::string>{});
  expect_healthy_job(place, 3);
}

TEST(FileControl, SurvivesLeftoversOfJobsKilledWhileTheyGathered) {
  const SharedPlace place;
  {
    const auto last = start_process(place, 7, 8, kLong, stay),
               other = start_process(place, 1, 2, kLong, stay);
    place.wait_for("hello.7");
    place.wait_for("hello.1");
    last->kill();
    other->kill();
    EXPECT_EQ(last->wait().code + other->wait().code, 2 * (128 + SIGKILL));
    const auto first = start_process(place, 0, 3, kLong, stay);
    place.wait_for("welcome");
    first->kill();
    EXPECT_EQ(first->wait().code, 128 + SIGKILL);
  }
  expect_healthy_job(place, 3);
}

TEST(FileControl, FollowsANewProcessZeroWhenTheWelcomeWasOfAnEarlierJob) {
  const SharedPlace place;
  const auto old = start_process(place, 0, 3, kLong, stay);  // of a job of three that never gets its third
  place.wait_for("welcome");
  const auto second = start_process(place, 1, 3, kLong, gather_and_finish);
  place.wait_for("joined.1");
  old->kill();
  EXPECT_EQ(old->wait().code, 128 + SIGKILL);
  const auto first = start_process(place, 0, 3, kLong, gather_and_finish);
  const auto third = start_process(place, 2, 3, kLong, gather_and_finish);
  for (const auto* each : {&first, &second, &third}) EXPECT_EQ((*each)->wait(), (Ended{0, "abc"}));
  EXPECT_EQ(place.files(), std::vector<std::string>{});
}

TEST(FileControl, RefusesTwoJobsOfOneId) {
  const SharedPlace place;
  for (const std::int32_t process : {0, 1}) {
    const auto old = start_process(place, process, 2, kLong, stay);
    place.wait_for("hello." + std::to_string(process));
    const auto newer = start_process(place, process, 2, kLong, gather_and_finish);
    EXPECT_EQ(old->wait(),
              (Ended{1, fmt::format("process {0}: joining job job in {1}: another process {0} has "
                                    "come; two jobs at a time need two ids",
                                    process, place.path().string())}));
    const auto other = start_process(place, 1 - process, 2, kLong, gather_and_finish);
    EXPECT_EQ(newer->wait(), (Ended{0, "ab"}));
    EXPECT_EQ(other->wait(), (Ended{0, "ab"}));
  }
  EXPECT_EQ(place.files(), std::vector<std::string>{});
}

TEST(FileControl, KeepsJobsOfOtherIdsApart) {
  const SharedPlace place;
  std::vector<std::unique_ptr<Child>> children;
  const std::vector<std::string> ids{"a/../b", "a_.._b", "", std::string(1000, 'x')};
  for (const std::string& id : ids) {
    for (const std::int32_t process : {0, 1}) {
      children.push_back(std::make_unique<Child>([&] {
        const auto control = join_by_files(place.path(), id, process, 2, kLong);
        const std::vector<std::string> all = control->all_gather(id, "greeting");
        control->finish();
        return std::string(all[0] == id && all[1] == id ? "apart" : "mixed");
      }));
    }
  }
  for (const auto& child : children) EXPECT_EQ(child->wait(), (Ended{0, "apart"}));
  EXPECT_EQ(place.files(), std::vector<std::string>{});
}

TEST(FileControl, NamesTheProcessesThatNeverCome) {
  const SharedPlace place;
  const std::string joining = ": joining job job in " + place.path().string() + ": ";
  const auto third = start_process(place, 2, 4, kLong, stay);
  place.wait_for("hello.2");
  const auto first = start_process(place, 0, 4, kShort, stay);
  EXPECT_EQ(first->wait(), (Ended{1, "process 0" + joining + "no word from process 1, process 3 for 1 s"}));
  EXPECT_EQ(third->wait(), (Ended{1, "process 2" + joining + "process 0 has ended the job with code 4"}));
  const auto alone = start_process(place, 1, 4, kShort, stay);
  EXPECT_EQ(alone->wait(), (Ended{1, "process 1" + joining + "no word from process 0 for 1 s"}));
  expect_healthy_job(place, 2);
}

TEST(FileControl, NamesTheRankThatWasKilled) {
  const SharedPlace place;
  const auto wait_for_killed = [](Control& control) {
    control.set_rank_count(6);
    control.barrier("starting");
    control.receive(control.process() == 1 ? 0 : 1, "waiting");
    return std::string();
  };
  const auto first = start_process(place, 0, 3, kShort, wait_for_killed);
  const auto second = start_process(place, 1, 3, kLong, wait_for_killed);
  const auto third = start_process(place, 2, 3, kLong, [](Control& control) {
    control.barrier("starting");
    return std::string("ready");
  });
  EXPECT_EQ(third->wait(), (Ended{0, "ready"}));
  second->kill();
  EXPECT_EQ(second->wait().code, 128 + SIGKILL);
  EXPECT_EQ(first->wait(), (Ended{1, "ranks 0-1: waiting: no word from ranks 2-3 for 1 s"}));
}

TEST(FileControl, TellsEveryWaitWhoEndedTheJob) {
  const SharedPlace place;
  const auto ended = run_file_job(place, 3, kLong, [](Control& control) {
    control.set_rank_count(3);
    control.barrier("starting");
    if (control.process() == 2) control.abort(7);
    try {
      if (control.process() == 0) control.receive(1, "waiting");
      while (true) control.check_alive();
    } catch (const JobEnded& error) {
      return std::string(error.what()) + " -> " + std::to_string(error.code());
    }
  });
  EXPECT_EQ(ended[2], (Ended{7, ""}));
  EXPECT_EQ(ended[0], (Ended{0, "rank 0: waiting: rank 2 has ended the job with code 7 -> 7"}));
  EXPECT_EQ(ended[1], (Ended{0, "rank 1: rank 2 has ended the job with code 7 -> 7"}));
  expect_healthy_job(place, 2);
}

TEST(FileControl, TellsTheOthersBeforeWhatTheEndDoesToThemCanBeNoticed) {
  const SharedPlace place;
  const auto ended = run_file_job(place, 2, kLong, [&](Control& control) {
    if (control.process() == 0) {
      control.abort(7, [&] { place.wait_for("other-was-told"); });
    }
    try {
      control.receive(0, "waiting");
    } catch (const JobEnded&) {
      std::ofstream(place.path() / "other-was-told") << "yes";
    }
    return std::string("told");
  });
  EXPECT_EQ(ended, (std::vector<Ended>{{7, ""}, {0, "told"}}));
}

/// Whether somebody changes the folder that holds the file whose path ends so, though nothing happens.
bool is_stirred(const SharedPlace& place, const std::string& end) {
  place.wait_for(end);
  std::filesystem::path folder;
  for (const std::string& file : place.files()) {
    if (file.ends_with(end)) folder = (place.path() / file).parent_path();
  }
  const auto first = std::filesystem::last_write_time(folder);
  for (int look = 0; look < 5000; ++look) {
    if (std::filesystem::last_write_time(folder) != first) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

TEST(FileControl, AWaitStirsItsFolderSoThatNoNetworkFileSystemHidesAFileFromIt) {
  const SharedPlace place;
  const auto first = start_process(place, 0, 2, kLong, stay);
  EXPECT_TRUE(is_stirred(place, "welcome"));
  const auto second = start_process(place, 1, 2, kLong, stay);
  EXPECT_TRUE(is_stirred(place, "complete"));
}

TEST(FileControl, EndsWaitsWhenTheFolderIsRemoved) {
  const SharedPlace place;
  const auto waiting = start_process(place, 0, 2, kLong, stay),
             other = start_process(place, 1, 2, kLong, stay);
  place.wait_for("complete");
  std::string session;
  for (const std::string& file : place.files()) {
    if (file.ends_with("complete")) session = place.path() / file.substr(0, file.rfind('/'));
  }
  while (std::filesystem::exists(session)) {  // the removal can meet a file that has just come
    std::error_code retried;
    std::filesystem::remove_all(session, retried);
  }
  EXPECT_EQ(waiting->wait(), (Ended{1, "process 0: staying: " + session + " has been removed"}));
}

TEST(FileControl, RefusesFoldersThatCannotBeUsed) {
  const SharedPlace place;
  const auto message = [&](const std::filesystem::path& directory) -> std::string {
    try {
      join_by_files(directory, "job", 0, 1, kShort);
    } catch (const InputError& error) {
      return error.what();
    }
    return "none";
  };
  const std::string expected = "expected a folder that all processes of the job can write to";
  std::ofstream(place.path() / "file") << "text";
  const std::filesystem::path missing = place.path() / "missing", file = place.path() / "file";
  EXPECT_EQ(message(missing), missing.string() + ": found No such file or directory, " + expected);
  EXPECT_EQ(message(file), file.string() + ": found Not a directory, " + expected);
  if (::geteuid() == 0) return;  // root may write everywhere
  std::filesystem::permissions(place.path(), std::filesystem::perms::owner_read);
  EXPECT_EQ(message(place.path()), place.path().string() + ": found Permission denied, " + expected);
  std::filesystem::permissions(place.path(), std::filesystem::perms::owner_all);
}

TEST(FileControl, SaysWhenAMessageDoesNotFit) {
  const SharedPlace place;
  const auto ended = run_file_job(place, 2, kLong, [&](Control& control) {
    if (control.process() == 1) return stay(control);
    const rlimit limit{1 << 20, 1 << 20};  // stands for a disk that is full
    std::signal(SIGXFSZ, SIG_IGN);
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return std::string("no limit");
    try {
      control.send(1, std::vector<std::byte>(2 << 20), "sending");
    } catch (const TransportError& error) {
      for (const std::string& file : place.files()) {
        if (file.ends_with(".tmp")) return std::string("left half a message");
      }
      const std::string text = error.what();
      const std::size_t path = text.find('/'), end = text.rfind('/');
      control.send(1, bytes_of("small"), "sending");
      return text.substr(0, path) + text.substr(end);
    }
    return std::string("fits");
  });
  EXPECT_EQ(ended[0], (Ended{0, "process 0: sending: /0-1.0: File too large"}));
  EXPECT_EQ(ended[1], (Ended{0, ""}));  // the next message has the number of the one that failed
}

}  // namespace
}  // namespace strata
