// The log as a file, in a process of its own: it becomes that process's stdout and stderr.
#include "base/log.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace tweendeck {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLimit = 16 * 1024;
constexpr int kRecords = 2000;  // of about 90 bytes: many times the limit

class LogFile : public ::testing::Test {
 protected:
  LogFile() {
    std::string pattern = (fs::temp_directory_path() / "tw-log-XXXXXX").string();
    dir_ = mkdtemp(pattern.data());
    path_ = dir_ / "daemon.log";
  }
  ~LogFile() override { fs::remove_all(dir_); }

  int in_child(const std::function<void()>& body) {
    pid_t child = fork();
    if (child == 0) {
      if (!log::to_file(path_, kLimit)) _exit(1);
      body();
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  static void write_many() {
    for (int i = 0; i < kRecords; ++i)
      log::error("Did something that fills a line of the log", {{"round", i}});
  }
  std::string text(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  fs::path dir_, path_;
};

TEST_F(LogFile, StaysBoundedWhileItIsWritten) {
  ASSERT_EQ(in_child(write_many), 0);
  EXPECT_LE(fs::file_size(path_), kLimit + log::kMaxLineBytes);
  EXPECT_LE(fs::file_size(path_.string() + ".1"), kLimit + log::kMaxLineBytes);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_), {}), 2);
  EXPECT_NE(text(path_).find("round=1999"), std::string::npos) << "the newest record is there";
  EXPECT_TRUE(text(path_.string() + ".1").ends_with('\n')) << "no record is cut";
}

TEST_F(LogFile, ManyThreadsLoseNoRecordOfTheNewest) {
  ASSERT_EQ(in_child([] {
              std::vector<std::thread> threads;
              for (int i = 0; i < 4; ++i) threads.emplace_back(write_many);
              for (std::thread& thread : threads) thread.join();
              log::error("Was the last one");
            }),
            0);
  EXPECT_LE(fs::file_size(path_), kLimit + 5 * log::kMaxLineBytes);
  EXPECT_NE(text(path_).find("Was the last one"), std::string::npos);
}

TEST_F(LogFile, GoesOnBehindWhatAnEarlierProcessWrote) {
  std::ofstream(path_) << "earlier\n";
  ASSERT_EQ(in_child([] { log::error("Later"); }), 0);
  EXPECT_TRUE(text(path_).starts_with("earlier\n"));
  EXPECT_NE(text(path_).find("Later"), std::string::npos);
}

TEST_F(LogFile, StaysBoundedWhereNoSecondFileCanBeHad) {
  fs::create_directories(path_.string() + ".1/in the way");
  ASSERT_EQ(in_child(write_many), 0);
  EXPECT_LE(fs::file_size(path_), kLimit + log::kMaxLineBytes);
  EXPECT_NE(text(path_).find("round=1999"), std::string::npos);
}

}  // namespace
}  // namespace tweendeck
