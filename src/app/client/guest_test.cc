#include "app/client/guest.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

namespace tweendeck::client {
namespace {

Guest shell(const std::string& script) {
  Guest guest;
  guest.words = {"sh", "-c", script};
  return guest;
}

TEST(GuestEnvironment, SliceVariablesReplaceOursAndPathListsKeepThem) {
  const std::vector<std::string> made = guest_environment(
      {"HOME=/h", "CUDA_VISIBLE_DEVICES=3", "LD_PRELOAD=/mine.so", "LD_LIBRARY_PATH="},
      {{"CUDA_VISIBLE_DEVICES", "GPU-1"}, {"LD_PRELOAD", "/vgpu.so"}, {"LD_LIBRARY_PATH", "/soft"}});
  EXPECT_EQ(made, (std::vector<std::string>{"HOME=/h", "CUDA_VISIBLE_DEVICES=GPU-1",
                                            "LD_PRELOAD=/vgpu.so:/mine.so", "LD_LIBRARY_PATH=/soft"}));
}

int code_of(const Guest& guest) {
  const Result<GuestEnd> end = run_guest(guest);
  return end && !end->not_started ? end->code : -1;
}

TEST(Guest, ItsExitCodeComesBack) {
  EXPECT_EQ(code_of(shell("exit 7")), 7);
  EXPECT_EQ(code_of(shell("exit 127")), 127);
  EXPECT_EQ(code_of(shell("kill -KILL $$")), 128 + SIGKILL);
  EXPECT_FALSE(run_guest(Guest{}));
}

TEST(Guest, WhatCannotBeRunIsToldWithAReasonAndAHint) {
  char name[] = "/tmp/tw-guest-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string folder = name;
  const auto file = [&](const char* called, std::filesystem::perms permissions) {
    const std::string path = folder + "/" + called;
    std::ofstream(path) << "#!/nonexistent/interpreter\n";
    std::filesystem::permissions(path, permissions);
    return path;
  };
  struct Case {
    std::string program;
    int code;
    Reason reason;
    const char* hint;
  };
  const Case cases[] = {
      {"tw-no-such-program", 127, Reason::NotFound, "PATH"},
      {folder + "/nowhere", 127, Reason::NotFound, "path"},
      {file("orphan", std::filesystem::perms::owner_all), 127, Reason::NotFound, "interpreter"},
      {file("plain", std::filesystem::perms::owner_read), 126, Reason::PermissionDenied, "chmod"},
      {folder, 126, Reason::PermissionDenied, "folder"},
  };
  for (const Case& one : cases) {
    Guest guest;
    guest.words = {one.program};
    const Result<GuestEnd> end = run_guest(guest);
    ASSERT_TRUE(end && end->not_started) << one.program;
    EXPECT_EQ(end->code, one.code) << one.program;
    EXPECT_EQ(end->not_started->reason, one.reason) << one.program;
    EXPECT_NE(end->not_started->message.find(one.program), std::string::npos);
    EXPECT_NE(end->not_started->hint.find(one.hint), std::string::npos) << end->not_started->hint;
  }
  std::filesystem::remove_all(folder);
}

TEST(Guest, IsInTheGroupBeforeItRuns) {
  char name[] = "/tmp/tw-guest-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string file = std::string(name) + "/cgroup.procs";
  std::ofstream(file).close();
  Guest guest = shell("test \"$(cat " + file + ")\" = 0");
  guest.cgroup_procs = {file};
  EXPECT_EQ(code_of(guest), 0);
  guest.cgroup_procs = {"/nonexistent/cgroup.procs"};
  EXPECT_FALSE(run_guest(guest));
  std::filesystem::remove_all(name);
}

TEST(Guest, GetsTheSignalsThatAreSentToUs) {
  char name[] = "/tmp/tw-guest-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string ready = std::string(name) + "/ready";
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  // The sender must not take the signal itself; run_guest blocks it here before the program runs.
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::jthread sender([&](const std::stop_token& stop) {
    while (!std::filesystem::exists(ready)) {
      if (stop.stop_requested()) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    kill(getpid(), SIGTERM);
  });
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  Guest guest = shell("trap 'exit 9' TERM; touch " + ready + "; while :; do sleep 0.01; done");
  const int code = code_of(guest);
  EXPECT_EQ(code, 9);
  std::filesystem::remove_all(name);
}

}  // namespace
}  // namespace tweendeck::client
