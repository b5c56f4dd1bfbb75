// Records, exit reasons, logs, ports; the shim's own tests and the controller's tests start real processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/units.h"
#include "serving/process/exit_reason.h"
#include "serving/process/launcher.h"
#include "serving/process/log_reader.h"
#include "serving/process/replica_dir.h"
#include "serving/shim/layout.h"
#include "serving/shim/records.h"

namespace tweendeck::serving {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ReplicaDirTest : public testing::Test {
 protected:
  ReplicaDirTest() {
    std::string pattern = (fs::temp_directory_path() / "tw-process-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    dir_ = ReplicaDir(root_.string(), "chat-1");
    EXPECT_TRUE(dir_.prepare(0));
  }
  ~ReplicaDirTest() override { fs::remove_all(root_); }
  void write(const char* name, const std::string& text, bool append = false) const {
    std::ofstream(dir_.file(name), append ? std::ios::app : std::ios::trunc) << text;
  }

  fs::path root_;
  ReplicaDir dir_{"", ""};
};

TEST_F(ReplicaDirTest, ReadsWhatTheShimWrites) {
  shim::ExitRecord exit;
  exit.launch = 7;
  exit.code = 3;
  exit.dropped_log_bytes = 5;
  exit.stopped = true;
  exit.tail = {"plain", "byte \xff\x80 \"q\"\t\x01"};
  write(shim::kExitFile, shim::to_json(exit));
  const auto read = dir_.exit();
  ASSERT_TRUE(read);
  EXPECT_EQ(read->launch, 7u);
  EXPECT_EQ(read->code, 3);
  EXPECT_TRUE(read->stopped);
  EXPECT_THAT(read->tail, ElementsAre("plain", "byte \xff\x80 \"q\"\t\x01"));
  write(shim::kLaunchFile, shim::to_json(shim::LaunchRecord{7, 100, 5, 101, 6, 4711}));
  ASSERT_TRUE(dir_.launch());
  EXPECT_EQ(dir_.launch()->engine_pid, 101);
  EXPECT_EQ(dir_.launch()->port, 4711);
}

TEST_F(ReplicaDirTest, ReservesTheSpaceOfItsRecordsOrFails) {
  EXPECT_EQ(fs::file_size(dir_.file(shim::kExitTemp)), shim::kMaxExitBytes);
  EXPECT_EQ(fs::file_size(dir_.file(shim::kLaunchTemp)), shim::kMaxLaunchBytes);
  fs::remove(dir_.file(shim::kExitTemp));
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit none{.rlim_cur = 1, .rlim_max = before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &none);  // as on a full disk, no file can grow
  const Status prepared = dir_.prepare(0);
  ::setrlimit(RLIMIT_FSIZE, &before);
  ASSERT_FALSE(prepared);
  EXPECT_THAT(prepared.error().message, HasSubstr("cannot reserve 64 KiB"));
}

TEST_F(ReplicaDirTest, TrustsNoStatusFile) {
  write(shim::kStatusFile,
        R"({"max_in_flight":2,"context_tokens":4096,"reason":"SliceTooSmall","message":"m"})");
  EXPECT_EQ(dir_.status()->max_in_flight, 2u);
  EXPECT_EQ(dir_.status()->reason, Reason::SliceTooSmall);
  write(shim::kStatusFile, R"({"max_in_flight":-5,"context_tokens":99999999999,"reason":"Nonsense"})");
  EXPECT_EQ(dir_.status()->max_in_flight, 0u);
  EXPECT_EQ(dir_.status()->reason, Reason::None);
  write(shim::kStatusFile, "[1,2");
  EXPECT_FALSE(dir_.status());
  write(shim::kStatusFile, std::string(kMaxStatusBytes + 1, ' '));
  EXPECT_FALSE(dir_.status());
  fs::remove(dir_.file(shim::kStatusFile));
  fs::create_symlink("/etc/passwd", dir_.file(shim::kStatusFile));
  EXPECT_FALSE(dir_.status()) << "a link of the engine is not followed";
  EXPECT_TRUE(dir_.prepare(0));
  EXPECT_TRUE(fs::exists("/etc/passwd"));
}

TEST_F(ReplicaDirTest, WithoutALockNothingLives) {
  EXPECT_FALSE(dir_.anything_lives());
  write(shim::kLockFile, "");
  EXPECT_FALSE(dir_.anything_lives());
  EXPECT_THAT(dir_.holders(), IsEmpty());
}

TEST_F(ReplicaDirTest, TailsOverBothFiles) {
  LogReader reader(dir_.path());
  EXPECT_EQ(*reader.tail(3), "");
  write(shim::kOldLogFile, "one\ntwo\nthree\n");
  write(shim::kLogFile, "four\nfive\n");
  EXPECT_EQ(*reader.tail(1), "five\n");
  EXPECT_EQ(*reader.tail(3), "three\nfour\nfive\n");
  EXPECT_EQ(*reader.tail(100), "one\ntwo\nthree\nfour\nfive\n");
  EXPECT_EQ(*reader.tail(0), "");
  write(shim::kLogFile, "unfinished", true);
  EXPECT_EQ(*reader.tail(2), "five\nunfinished");
}

TEST_F(ReplicaDirTest, TailsLongLogs) {
  std::string text;
  for (int i = 0; i < 30'000; ++i) text += "line-" + std::to_string(i) + "\n";
  write(shim::kLogFile, text);
  LogReader reader(dir_.path());
  const std::string tail = *reader.tail(20'000);
  EXPECT_TRUE(tail.starts_with("line-10000\n"));
  EXPECT_EQ(std::ranges::count(tail, '\n'), 20'000);
}

TEST_F(ReplicaDirTest, FollowsOverARotation) {
  write(shim::kLogFile, "one\n");
  LogReader reader(dir_.path());
  EXPECT_EQ(*reader.tail(10), "one\n");
  EXPECT_EQ(*reader.next(), "");
  write(shim::kLogFile, "two\n", true);
  fs::rename(dir_.file(shim::kLogFile), dir_.file(shim::kOldLogFile));
  write(shim::kLogFile, "three\n");
  EXPECT_EQ(*reader.next(), "two\n");
  EXPECT_EQ(*reader.next(), "three\n");
  EXPECT_EQ(*reader.next(), "");
}

ExitFacts facts_of(int code, int signal) {
  ExitFacts facts;
  facts.replica_id = "chat-1";
  facts.shim = ShimExit{};
  facts.shim->code = code;
  facts.shim->signal = signal;
  facts.memory_bytes = kGiB;
  return facts;
}

TEST(ExitReason, NamesTheCause) {
  EXPECT_EQ(explain_exit(facts_of(3, 0)).reason, Reason::ReplicaExited);
  EXPECT_THAT(explain_exit(facts_of(3, 0)).message, HasSubstr("status 3"));
  EXPECT_THAT(explain_exit(facts_of(0, 11)).message, HasSubstr("SIGSEGV"));
  ExitFacts facts = facts_of(0, 9);
  facts.oom_kills = 1;
  EXPECT_EQ(explain_exit(facts).reason, Reason::OutOfMemory);
  EXPECT_THAT(explain_exit(facts).message, HasSubstr("1 GiB"));
  EXPECT_THAT(explain_exit(facts).hint, HasSubstr("--memory 1536Mi"));
  facts = facts_of(1, 0);
  facts.status = EngineStatus{0, 0, Reason::SliceTooSmall, "needs 2 GiB", "more"};
  EXPECT_EQ(explain_exit(facts).message, "needs 2 GiB");
  facts = facts_of(127, 0);
  facts.shim->error = "/opt/engine: No such file or directory";
  EXPECT_EQ(explain_exit(facts).reason, Reason::EngineNotInstalled);
  facts.shim->error = "slice: /sys/fs/cgroup/x: No such file or directory";
  EXPECT_EQ(explain_exit(facts).reason, Reason::CgroupUnavailable);
  facts.shim.reset();
  EXPECT_EQ(explain_exit(facts).reason, Reason::ReplicaKilled);
}

TEST(Ports, PicksOneThatIsFree) {
  const auto first = pick_port("127.0.0.1", {});
  ASSERT_TRUE(first);
  const auto second = pick_port("127.0.0.1", {*first});
  ASSERT_TRUE(second);
  EXPECT_NE(*first, *second);
  EXPECT_EQ(pick_port("not an address", {}).error().reason, Reason::InvalidArgument);
}

TEST(Processes, AreNamedByPidAndStart) {
  EXPECT_TRUE(is_process(getpid(), shim::start_ticks(getpid())));
  EXPECT_FALSE(is_process(getpid(), shim::start_ticks(getpid()) + 1));
  EXPECT_FALSE(is_process(0, 0));
}

}  // namespace
}  // namespace tweendeck::serving
