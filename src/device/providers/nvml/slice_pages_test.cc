#include "device/providers/nvml/slice_pages.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "device/providers/nvml/gpu_uuid.h"

namespace tweendeck::device::nvml {
namespace {

constexpr const char* kUuid = "GPU-01234567-89ab-cdef-0123-456789abcdef";

class SlicePagesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/tw-pages-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    root_ = folder;
    pages_ = std::make_unique<SlicePages>(root_ + "/vgpu/soft");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  static Slice slice(uint64_t memory_bytes, uint32_t percent) {
    Slice s;
    s.id = "chat-1";
    s.share = {memory_bytes, percent, 3};
    return s;
  }
  static uint64_t inode(const std::string& path) {
    struct stat info{};
    return stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
  }
  void overwrite(const std::string& path, uint64_t offset, uint64_t value) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file.write(reinterpret_cast<const char*>(&value), sizeof(value));
  }

  std::string root_;
  std::unique_ptr<SlicePages> pages_;
};

TEST_F(SlicePagesTest, HoldsWhatTheSliceMayUse) {
  ASSERT_TRUE(pages_->write(slice(1 << 30, 30), kUuid));
  const auto limits = pages_->limits("chat-1");
  ASSERT_TRUE(limits);
  EXPECT_EQ(limits->device_count, 1u);
  EXPECT_EQ(limits->devices[0].memory_bytes, 1u << 30);
  EXPECT_EQ(limits->devices[0].compute_ceiling_permille, 300u);
  EXPECT_EQ(limits->devices[0].priority, 3);
  EXPECT_EQ(format_uuid(limits->devices[0].uuid), kUuid);
}

TEST_F(SlicePagesTest, OnlyTheUsagePageIsForTheTenant) {
  ASSERT_TRUE(pages_->write(slice(1 << 30, 30), kUuid));
  struct stat info{};
  ASSERT_EQ(stat(pages_->limits_path("chat-1").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
  ASSERT_EQ(stat(pages_->usage_path("chat-1").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0666u);
  EXPECT_EQ(static_cast<size_t>(info.st_size), sizeof(tw_vgpu_usage_page));
  EXPECT_GE(static_cast<size_t>(info.st_blocks) * 512, sizeof(tw_vgpu_usage_page))
      << "holes could end a tenant with SIGBUS";
  ASSERT_EQ(stat((root_ + "/vgpu/soft/chat-1").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(SlicePagesTest, ANewShareIsWrittenInPlaceBecauseTenantsHaveThePageMapped) {
  ASSERT_TRUE(pages_->write(slice(1 << 30, 30), kUuid));
  const uint64_t limits_inode = inode(pages_->limits_path("chat-1")),
                 usage_inode = inode(pages_->usage_path("chat-1"));
  ASSERT_TRUE(pages_->write(slice(2u << 30, 50), kUuid));
  EXPECT_EQ(inode(pages_->limits_path("chat-1")), limits_inode);
  EXPECT_EQ(inode(pages_->usage_path("chat-1")), usage_inode);
  EXPECT_EQ(pages_->limits("chat-1")->devices[0].memory_bytes, 2ull << 30);
}

TEST_F(SlicePagesTest, WritingTheSameAgainChangesNothing) {
  ASSERT_TRUE(pages_->write(slice(1 << 30, 30), kUuid));
  std::ifstream before(pages_->limits_path("chat-1"), std::ios::binary);
  const std::string first(std::istreambuf_iterator<char>(before), {});
  ASSERT_TRUE(pages_->write(slice(1 << 30, 30), kUuid));
  std::ifstream after(pages_->limits_path("chat-1"), std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(after), {}), first);
}

TEST_F(SlicePagesTest, DamagedOrMissingPagesAreMadeAnew) {
  ASSERT_TRUE(pages_->write(slice(1 << 30, 30), kUuid));
  std::filesystem::resize_file(pages_->limits_path("chat-1"), 100);
  EXPECT_EQ(pages_->limits("chat-1").error().reason, Reason::StateCorrupt);
  ASSERT_TRUE(pages_->write(slice(1 << 30, 30), kUuid));
  EXPECT_TRUE(pages_->limits("chat-1"));
  std::filesystem::remove(pages_->usage_path("chat-1"));
  ASSERT_TRUE(pages_->write(slice(1 << 30, 30), kUuid));
  EXPECT_TRUE(pages_->usage("chat-1"));
}

TEST_F(SlicePagesTest, PagesOfAnotherBootAreMadeAnewBecauseTheirPidsAndTimesMeanNothing) {
  ASSERT_TRUE(pages_->write(slice(1 << 30, 30), kUuid));
  const uint64_t usage_inode = inode(pages_->usage_path("chat-1"));
  overwrite(pages_->limits_path("chat-1"), offsetof(tw_vgpu_limits_page, boot), 12345);
  ASSERT_TRUE(pages_->write(slice(1 << 30, 30), kUuid));
  EXPECT_NE(inode(pages_->usage_path("chat-1")), usage_inode);
}

TEST_F(SlicePagesTest, ReadsUsageAndDoesNotTrustItsBounds) {
  ASSERT_TRUE(pages_->write(slice(1 << 30, 30), kUuid));
  const std::string path = pages_->usage_path("chat-1");
  overwrite(path, offsetof(tw_vgpu_usage_page, slots_in_use), ~0ull);
  overwrite(path, offsetof(tw_vgpu_usage_page, slots[255].owner), tw_vgpu_owner(42, 7, 0));
  overwrite(path, offsetof(tw_vgpu_usage_page, books[0][255].used_bytes), 4096);
  overwrite(path, offsetof(tw_vgpu_usage_page, books[0][3].used_bytes), 999);  // nobody's slot
  const auto usage = pages_->usage("chat-1");
  ASSERT_TRUE(usage);
  EXPECT_EQ(usage->memory_bytes, 4096u);
  EXPECT_EQ(usage->pids, std::vector<uint32_t>{42});
}

TEST_F(SlicePagesTest, AMarkSaysWhoHasEndedInWhateverPidNamespace) {
  ASSERT_TRUE(pages_->write(slice(1 << 30, 30), kUuid));
  const std::string path = pages_->usage_path("chat-1");
  const Owner ended = tw_vgpu_owner(42, 7, 0), lives = tw_vgpu_owner(43, 7, 0);
  overwrite(path, offsetof(tw_vgpu_usage_page, slots_in_use), 2);
  for (const auto& [slot, owner] : {std::pair{0, ended}, std::pair{1, lives}}) {
    const size_t at = offsetof(tw_vgpu_usage_page, slots) + static_cast<size_t>(slot) * sizeof(tw_vgpu_slot);
    overwrite(path, at, owner);
    overwrite(path, at + offsetof(tw_vgpu_slot, pid_namespace), 12345);
    overwrite(path, at + offsetof(tw_vgpu_slot, library_abi), uint64_t{1} << 32 | TW_VGPU_ABI);  // marked
  }
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  struct flock mark{};
  mark.l_type = F_WRLCK;
  mark.l_start = TW_VGPU_MARKS_OFFSET + 1;
  mark.l_len = 1;
  ASSERT_EQ(fcntl(file, F_OFD_SETLK, &mark), 0);
  const auto nobody = [](Owner) { return false; };
  EXPECT_EQ(*pages_->reclaim("chat-1", nobody), std::vector<Owner>{lives});
  close(file);
  EXPECT_TRUE(pages_->reclaim("chat-1", nobody)->empty());
}

TEST_F(SlicePagesTest, ListsAndRemoves) {
  EXPECT_TRUE(pages_->list()->empty());
  ASSERT_TRUE(pages_->write(slice(1 << 30, 30), kUuid));
  EXPECT_EQ(*pages_->list(), std::vector<std::string>{"chat-1"});
  ASSERT_TRUE(pages_->remove("chat-1"));
  ASSERT_TRUE(pages_->remove("chat-1"));
  EXPECT_TRUE(pages_->list()->empty());
  EXPECT_EQ(pages_->usage("chat-1").error().reason, Reason::NotFound);
}

TEST_F(SlicePagesTest, IdsCannotLeaveTheFolder) {
  for (const char* id : {"", ".", "..", "../x", "a/b", ".hidden"}) {
    Slice bad = slice(1, 1);
    bad.id = id;
    EXPECT_EQ(pages_->write(bad, kUuid).error().reason, Reason::InvalidArgument) << id;
    EXPECT_FALSE(pages_->remove(id)) << id;
  }
}

TEST(Uuid, RefusesWhatIsNotOne) {
  uint8_t bytes[16];
  EXPECT_TRUE(parse_uuid(kUuid, bytes));
  EXPECT_EQ(bytes[15], 0xef);
  EXPECT_TRUE(parse_uuid("MIG-01234567-89AB-cdef-0123-456789abcdef", bytes));
  for (const char* bad :
       {"", "GPU-", "01234567-89ab-cdef-0123-456789abcdef", "GPU-01234567-89ab-cdef-0123-456789abcde",
        "GPU-01234567-89ab-cdef-0123-456789abcdef0", "GPU-01234567x89ab-cdef-0123-456789abcdef"}) {
    EXPECT_FALSE(parse_uuid(bad, bytes)) << bad;
  }
}

}  // namespace
}  // namespace tweendeck::device::nvml
