#include "device/providers/nvml/tenants.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace tweendeck::device::nvml {
namespace {

class TenantsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/tw-tenants-XXXXXX";
    const int fd = mkstemp(path);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(ftruncate(fd, 4096), 0);
    close(fd);
    path_ = path;
  }
  void TearDown() override { unlink(path_.c_str()); }

  // A child that waits to be killed, with or without the page mapped. Returns once it is in that state.
  pid_t child(bool maps) {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    const pid_t pid = fork();
    if (pid == 0) {
      if (maps) {
        const int fd = open(path_.c_str(), O_RDWR);
        if (mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED) _exit(1);
      }
      if (write(ready[1], "x", 1) != 1) _exit(1);
      while (true) pause();
    }
    char byte;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
  }

  std::string path_;
};

TEST_F(TenantsTest, APidThatThePageClaimsIsOnlyBelievedWhenItMapsThePage) {
  const pid_t tenant = child(true), stranger = child(false);
  const auto id = static_cast<uint32_t>(tenant), other = static_cast<uint32_t>(stranger);
  EXPECT_EQ(tenants({id, other, id, 1}, path_), std::vector<uint32_t>{id});

  ASSERT_TRUE(kill_tenants({id, other}, path_, 5 * kSecond));
  int status = 0;
  ASSERT_EQ(waitpid(tenant, &status, 0), tenant);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  EXPECT_EQ(waitpid(stranger, &status, WNOHANG), 0) << "a process that is not of the slice was hit";
  kill(stranger, SIGKILL);
  waitpid(stranger, &status, 0);
  EXPECT_TRUE(kill_tenants({id}, path_, kSecond)) << "already gone";
}

}  // namespace
}  // namespace tweendeck::device::nvml
