#include "device/manager/device_manager.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "device/providers/cpu/cpu_provider.h"

namespace tweendeck::device {
namespace {

TEST(DeviceManagerOnThisMachine, MakesAndRemovesASlice) {
  char dir[] = "/tmp/tw-device-XXXXXX";
  ASSERT_NE(::mkdtemp(dir), nullptr);
  Kernel kernel;
  Disk disk;
  Result<std::unique_ptr<Groups>> groups = Groups::open(kernel, "/", dir);
  if (!groups) GTEST_SKIP() << to_string(groups.error());
  CpuProvider cpu(kernel, groups->get());
  Result<Journal> journal = Journal::open(std::string(dir) + "/slices.journal", disk);
  ASSERT_TRUE(journal) << to_string(journal.error());
  DeviceManager manager({&cpu}, std::move(*journal), groups->get());
  EXPECT_TRUE(manager.recover().empty());
  Slice slice{.id = "chat-1",
              .device_id = "cpu0",
              .share = {.memory_bytes = 100 << 20, .compute_percent = 20},
              .owner = "chat-1",
              .deployment = "chat"};
  Result<Preparation> first = manager.prepare(slice);
  ASSERT_TRUE(first) << to_string(first.error());
  EXPECT_EQ(first->isolation, Isolation::Kernel);
  EXPECT_EQ(*manager.prepare(slice), *first);
  EXPECT_EQ(manager.slices().at(0).slice.isolation, Isolation::Kernel);
  EXPECT_TRUE(manager.usage("chat-1"));
  EXPECT_TRUE(manager.release("chat-1"));
  EXPECT_TRUE(manager.slices().empty());
  EXPECT_TRUE((*groups)->list().empty());
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace tweendeck::device
