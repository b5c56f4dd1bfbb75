// The shim as a process: each test starts the real tweendeck-shim in a directory of its own.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "serving/shim/layout.h"
#include "serving/shim/log_writer.h"
#include "serving/shim/options.h"
#include "serving/shim/records.h"
#include "serving/shim/supervisor.h"

namespace tweendeck::shim {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

constexpr auto kPatience = std::chrono::seconds(20);

std::string read_text(const fs::path& path) {
  std::ifstream in(path);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

template <class Condition>
bool eventually(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

bool lock_is_free(const fs::path& dir) {
  const int fd = open((dir / kLockFile).c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return true;
  struct flock probe{};
  probe.l_type = F_WRLCK;
  probe.l_whence = SEEK_SET;
  probe.l_len = 2;
  fcntl(fd, F_OFD_GETLK, &probe);
  close(fd);
  return probe.l_type == F_UNLCK;
}

class Shim : public testing::Test {
 protected:
  Shim() {
    std::string pattern = (fs::temp_directory_path() / "tw-shim-XXXXXX").string();
    dir_ = mkdtemp(pattern.data());
    fs::create_directory(dir_ / kWorkDir);
  }
  ~Shim() override {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    eventually([&] { return lock_is_free(dir_); });
    fs::remove_all(dir_);
  }

  pid_t spawn(const std::string& script, std::vector<std::string> extra = {}) {
    const char* build = std::getenv("TWEENDECK_BUILD_DIR");
    const std::string program =
        std::string(build == nullptr ? "build/release" : build) + "/bin/tweendeck-shim";
    std::vector<std::string> arguments{
        program,  "--dir", dir_.string(), "--launch", "7", "--parent", std::to_string(getpid()),
        "--port", "4711",  "--grace-ms",  "300"};
    arguments.insert(arguments.end(), extra.begin(), extra.end());
    for (const char* word : {"--", "/bin/sh", "-c"}) arguments.emplace_back(word);
    arguments.push_back(script);
    std::vector<char*> raw;
    for (std::string& argument : arguments) raw.push_back(argument.data());
    raw.push_back(nullptr);
    const pid_t pid = fork();
    if (pid == 0) {
      execv(raw[0], raw.data());
      _exit(126);
    }
    return pid;
  }
  void start(const std::string& script, std::vector<std::string> extra = {}) {
    pid_ = spawn(script, std::move(extra));
  }

  int wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  std::string file(const char* name) const { return read_text(dir_ / name); }
  bool wait_for_log(const std::string& text) {
    return eventually([&] { return file(kLogFile).find(text) != std::string::npos; });
  }

  fs::path dir_;
  pid_t pid_ = 0;
};

TEST_F(Shim, RecordsTheExitAndKeepsTheLog) {
  start("echo hello; echo oops >&2; pwd; exit 3", {"--start", "2"});
  EXPECT_EQ(wait(), 0);
  EXPECT_THAT(file(kLogFile), HasSubstr("start 2\nhello\noops\n"));
  EXPECT_THAT(file(kLogFile), HasSubstr("/work"));
  EXPECT_THAT(file(kExitFile), HasSubstr(R"("launch":7,"code":3,"signal":0)"));
  EXPECT_THAT(file(kExitFile), HasSubstr(R"("oops")"));
  EXPECT_THAT(file(kLaunchFile), HasSubstr(R"("port":4711)"));
  EXPECT_TRUE(lock_is_free(dir_));
}

TEST_F(Shim, RecordsASignal) {
  start("kill -SEGV $$");
  EXPECT_EQ(wait(), 0);
  EXPECT_THAT(file(kExitFile), HasSubstr(R"("signal":11)"));
}

TEST_F(Shim, SaysWhyAProgramCannotStart) {
  start("unused", {"--cgroup-procs", "/nonexistent/cgroup.procs"});
  EXPECT_EQ(wait(), 0);
  EXPECT_THAT(file(kExitFile), HasSubstr("slice: /nonexistent/cgroup.procs: No such file"));
}

TEST_F(Shim, StopsOnRequestWithinTheGrace) {
  start("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done");
  ASSERT_TRUE(wait_for_log("up"));
  kill(pid_, kStopSignal);
  EXPECT_EQ(wait(), 0);
  EXPECT_THAT(file(kLogFile), HasSubstr("bye"));
  EXPECT_THAT(file(kExitFile), HasSubstr(R"("code":0,"signal":0)"));
  EXPECT_THAT(file(kExitFile), HasSubstr(R"("stopped":true)"));
}

TEST_F(Shim, KillsWhatDoesNotStop) {
  start("trap '' TERM; echo up; while :; do sleep 0.01; done");
  ASSERT_TRUE(wait_for_log("up"));
  kill(pid_, kStopSignal);
  EXPECT_EQ(wait(), 0);
  EXPECT_THAT(file(kExitFile), HasSubstr(R"("signal":9)"));
  EXPECT_THAT(file(kLogFile), HasSubstr("did not stop in time"));
}

TEST_F(Shim, LeavesNoDescendantBehind) {
  start("setsid sh -c 'sleep 1000 & setsid sleep 1000 & wait' & echo up; sleep 0.05; exit 0");
  EXPECT_EQ(wait(), 0);
  EXPECT_TRUE(lock_is_free(dir_)) << "a descendant still holds the engine's lock";
}

TEST_F(Shim, TheEngineDiesWithItsShim) {
  start("echo up; exec sleep 1000");
  ASSERT_TRUE(wait_for_log("up"));
  EXPECT_FALSE(lock_is_free(dir_));
  kill(pid_, SIGKILL);
  EXPECT_EQ(wait(), -SIGKILL);
  EXPECT_TRUE(eventually([&] { return lock_is_free(dir_); }));
}

TEST_F(Shim, ASecondShimGivesWay) {
  start("echo up; exec sleep 1000");
  ASSERT_TRUE(wait_for_log("up"));
  const pid_t second = spawn("echo second");
  int status = 0;
  waitpid(second, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), kExitLocked);
  EXPECT_THAT(file(kLogFile), Not(HasSubstr("second")));
}

TEST_F(Shim, GivesUpWhenItsParentIsGoneAlready) {
  start("echo up", {"--parent", "1073741824"});
  EXPECT_EQ(wait(), kExitFailed);
  EXPECT_FALSE(fs::exists(dir_ / kLaunchFile));
}

TEST_F(Shim, BoundsTheLog) {
  start(
      "i=0; while [ $i -lt 3000 ]; do echo line-$i-0123456789012345678901234567890123456789; i=$((i+1)); "
      "done",
      {"--log-bytes", "65536"});
  EXPECT_EQ(wait(), 0);
  EXPECT_LE(fs::file_size(dir_ / kLogFile), 65536u);
  EXPECT_LE(fs::file_size(dir_ / kOldLogFile), 65536u);
  EXPECT_THAT(file(kLogFile), HasSubstr("line-2999-"));
  EXPECT_THAT(file(kExitFile), HasSubstr("line-2980-"));
  EXPECT_THAT(file(kExitFile), Not(HasSubstr("line-2979-")));
}

TEST_F(Shim, AFullDiskStopsNeitherEngineNorRecord) {
  if (geteuid() != 0) GTEST_SKIP() << "mounting a small file system needs root";
  if (mount("tmpfs", dir_.c_str(), "tmpfs", 0, "size=256k") != 0)
    GTEST_SKIP() << "this machine refuses mounts";
  fs::create_directory(dir_ / kWorkDir);
  start(
      "i=0; while [ $i -lt 20000 ]; do echo line-$i-0123456789012345678901234567890; i=$((i+1)); done; exit "
      "5");
  EXPECT_EQ(wait(), 0);
  EXPECT_THAT(file(kExitFile), HasSubstr(R"("code":5)"));
  EXPECT_THAT(file(kExitFile), HasSubstr("line-19999-"));
  EXPECT_THAT(file(kExitFile), Not(HasSubstr(R"("dropped_log_bytes":0,)")));
  EXPECT_EQ(umount2(dir_.c_str(), MNT_DETACH), 0);
}

TEST_F(Shim, SandboxesAndDropsPrivileges) {
  if (const std::string problem = check_sandbox(); !problem.empty())
    GTEST_SKIP() << "no sandbox here: " << problem;
  std::ofstream(dir_ / "secret") << "content";
  const std::string root = kSandboxRoot;
  ASSERT_EQ(chown((dir_ / kWorkDir).c_str(), 61190, 61190), 0);
  start(
      "id -u; id -G; cat model/weights; echo x > model/weights; touch ok && echo wrote work; "
      "touch " +
          root + "/new; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; ls -l /proc/self/fd; ls " +
          dir_.string(),
      {"--uid", "61190", "--mount", "rw", (dir_ / kWorkDir).string(), root + "/work", "--mount", "ro",
       (dir_ / "secret").string(), root + "/work/model/weights"});
  EXPECT_EQ(wait(), 0);
  const std::string log = file(kLogFile);
  EXPECT_THAT(log, HasSubstr("61190\n61190\ncontent"));
  EXPECT_THAT(log, HasSubstr("Read-only file system"));
  EXPECT_THAT(log, HasSubstr("wrote work"));
  EXPECT_THAT(log, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(log, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(log, HasSubstr("ls: cannot open directory")) << "the state directory is not readable";
}

TEST(ShimOptions, RefusesWhatItDoesNotKnow) {
  const auto parse = [](std::vector<std::string> words) {
    std::vector<char*> raw;
    for (std::string& word : words) raw.push_back(word.data());
    Options options;
    return parse_options(static_cast<int>(raw.size()), raw.data(), options);
  };
  EXPECT_EQ(parse({"shim", "--dir", "d", "--", "true"}), "");
  EXPECT_THAT(parse({"shim", "--dir", "d", "--what", "1", "--", "true"}), HasSubstr("--what"));
  EXPECT_THAT(parse({"shim", "--dir", "d", "--launch", "1x", "--", "true"}), HasSubstr("--launch"));
  EXPECT_THAT(parse({"shim", "--dir", "d", "--mount", "ro", "/a", "/etc", "--", "true"}),
              HasSubstr("--mount"));
  EXPECT_THAT(
      parse({"shim", "--dir", "d", "--mount", "ro", "/a", "/run/tweendeck/sandbox/../../x", "--", "t"}),
      HasSubstr("--mount"));
  EXPECT_THAT(parse({"shim", "--dir", "d"}), HasSubstr("no program"));
  EXPECT_THAT(parse({"shim", "--", "true"}), HasSubstr("--dir"));
}

TEST(ShimRecords, QuotesAnyByte) {
  ExitRecord record;
  record.tail.emplace_back("a\"b\\c\n\x01\xff");
  EXPECT_THAT(to_json(record), HasSubstr("a\\\"b\\\\c\\u000a\\u0001\\u00ff"));
}

TEST(ShimRecords, KnowsItsOwnStartTime) {
  EXPECT_GT(start_ticks(getpid()), 0u);
  EXPECT_EQ(start_ticks(1 << 30), 0u);
}

}  // namespace
}  // namespace tweendeck::shim
