#include "device/providers/nvml/feedback.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "device/providers/nvml/tenants.h"

namespace tweendeck::device::nvml {
namespace {

TEST(UtilizationAccount, PercentOfThePeriodSinceTheSampleBefore) {
  UtilizationAccount account;
  EXPECT_EQ(account.add({{7, 50, 1'000'000}}).busy_ns[7],
            static_cast<uint64_t>(UtilizationAccount::kUsualPeriod) / 2)
      << "its period is not known";
  const auto round = account.add({{7, 50, 1'200'000}, {8, 10, 1'200'000}});
  EXPECT_EQ(round.busy_ns.at(7), 100'000'000u);
  EXPECT_EQ(round.busy_ns.at(8), 20'000'000u);
  EXPECT_EQ(round.total_percent, 60u);
  EXPECT_EQ(account.last_us(), 1'200'000u);
}

TEST(UtilizationAccount, AfterAnIdleTimeOnlyOnePeriodCounts) {
  UtilizationAccount account;
  account.add({{7, 50, 1'000'000}});
  EXPECT_EQ(account.add({{7, 100, 9'000'000}}).busy_ns[7],
            static_cast<uint64_t>(UtilizationAccount::kLongestPeriod));
  EXPECT_TRUE(account.add({}).busy_ns.empty());
  EXPECT_EQ(account.last_us(), 9'000'000u);
}

TEST(Tenants, StartTimeTellsProcessesApartAndAZombieHasEnded) {
  const auto mine = start_ticks(static_cast<uint32_t>(getpid()));
  ASSERT_TRUE(mine);
  EXPECT_TRUE(is_alive(tw_vgpu_owner(static_cast<uint32_t>(getpid()), *mine, 0)));
  EXPECT_FALSE(is_alive(tw_vgpu_owner(static_cast<uint32_t>(getpid()), *mine + 1, 0)));
  const pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(start_ticks(static_cast<uint32_t>(child)));
  waitpid(child, nullptr, 0);
}

TEST(SlicePagesOfTheDead, TheirSlotsAreFreedAndTheLivingKeepTheirs) {
  char folder[] = "/tmp/tw-feedback-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const SlicePages pages(folder);
  Slice slice;
  slice.id = "chat-1";
  slice.share = {1 << 30, 30, 0};
  ASSERT_TRUE(pages.write(slice, "GPU-01234567-89ab-cdef-0123-456789abcdef"));
  const Owner dead = tw_vgpu_owner(11, 1, 0), living = tw_vgpu_owner(12, 1, 0);
  std::fstream file(pages.usage_path("chat-1"), std::ios::in | std::ios::out | std::ios::binary);
  const auto put = [&](size_t offset, uint64_t value) {
    file.seekp(static_cast<std::streamoff>(offset));
    file.write(reinterpret_cast<const char*>(&value), sizeof(value));
    file.flush();
  };
  put(offsetof(tw_vgpu_usage_page, slots_in_use), 2);
  put(offsetof(tw_vgpu_usage_page, slots[0].owner), dead);
  put(offsetof(tw_vgpu_usage_page, slots[1].owner), living);
  put(offsetof(tw_vgpu_usage_page, books[0][0].used_bytes), 100);
  put(offsetof(tw_vgpu_usage_page, books[0][1].used_bytes), 20);
  EXPECT_EQ(*pages.reclaim("chat-1", [&](Owner owner) { return owner != dead; }), std::vector<Owner>{living});
  EXPECT_EQ(pages.usage("chat-1")->memory_bytes, 20u);

  tw_vgpu_feedback feedback{};
  feedback.slice_busy_ns = 5;
  ASSERT_TRUE(pages.write_feedback("chat-1", feedback, 77));
  ASSERT_TRUE(pages.write_feedback("chat-1", feedback, 78));
  EXPECT_EQ(pages.feedback("chat-1")->sequence, 2u);
  EXPECT_EQ(pages.feedback("chat-1")->stamp_ns, 78u);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace tweendeck::device::nvml
