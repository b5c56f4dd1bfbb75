#include "device/providers/nvml/guarded.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

namespace tweendeck::device::nvml {
namespace {

TEST(Guarded, AFileThatWasCutShortIsAnAnswerAndNotTheEnd) {
  constexpr size_t kBytes = 4096;
  char name[] = "/tmp/tw-guarded-XXXXXX";
  const int fd = mkstemp(name);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(ftruncate(fd, kBytes), 0);
  auto* page =
      static_cast<volatile uint64_t*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  ASSERT_NE(const_cast<uint64_t*>(page), MAP_FAILED);
  uint64_t seen = 1;
  EXPECT_TRUE(guarded([&] { seen = *page; }));
  EXPECT_EQ(seen, 0u);
  ASSERT_EQ(ftruncate(fd, 0), 0);
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(guarded([&] { seen = *page; }));
    EXPECT_FALSE(guarded([&] { *page = 5; }));
  }
  ASSERT_EQ(ftruncate(fd, kBytes), 0);
  EXPECT_TRUE(guarded([&] { *page = 5; }));
  munmap(const_cast<uint64_t*>(page), kBytes);
  close(fd);
  unlink(name);
}

}  // namespace
}  // namespace tweendeck::device::nvml
