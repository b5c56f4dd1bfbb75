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

TEST(Guest, ItsExitCodeComesBack) {
  EXPECT_EQ(run_guest(shell("exit 7")).value_or(-1), 7);
  EXPECT_EQ(run_guest(shell("kill -KILL $$")).value_or(-1), 128 + SIGKILL);
  Guest missing;
  missing.words = {"/nonexistent/program"};
  EXPECT_EQ(run_guest(missing).value_or(-1), 127);
  missing.words = {"/"};
  EXPECT_EQ(run_guest(missing).value_or(-1), 126);
  EXPECT_FALSE(run_guest(Guest{}));
}

TEST(Guest, IsInTheGroupBeforeItRuns) {
  char name[] = "/tmp/tw-guest-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string file = std::string(name) + "/cgroup.procs";
  std::ofstream(file).close();
  Guest guest = shell("test \"$(cat " + file + ")\" = 0");
  guest.cgroup_procs = {file};
  EXPECT_EQ(run_guest(guest).value_or(-1), 0);
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
  const int code = run_guest(guest).value_or(-1);
  EXPECT_EQ(code, 9);
  std::filesystem::remove_all(name);
}

}  // namespace
}  // namespace tweendeck::client
