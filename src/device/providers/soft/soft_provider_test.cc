// The provider over the real software GPU libraries, as built.
#include "device/providers/soft/soft_provider.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

namespace tweendeck::device {
namespace {

std::string built(const std::string& path) {
  const char* folder = std::getenv("TWEENDECK_BUILD_DIR");
  return std::string(folder ? folder : "build/release") + "/" + path;
}

class SoftProviderTest : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    GTEST_SKIP() << "the stand-in libraries of a sanitizer build need the sanitizer's shared runtime";
#endif
#endif
    char folder[] = "/tmp/tw-soft-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    root_ = folder;
    options_ = {.pages = {.pages_dir = root_ + "/vgpu",
                          .vgpu_library = built("lib/libtweendeck-vgpu.so"),
                          .sandboxed = true},
                .cards = "2:A10",
                .model_path = root_ + "/softgpu/model",
                .libraries = built("lib/softgpu"),
                .tool = built("bin/tweendeck-softgpu")};
  }
  void TearDown() override {
    if (!root_.empty()) std::filesystem::remove_all(root_);
  }

  static Slice slice() {
    Slice s;
    s.id = "chat-1";
    s.device_id = "soft1";
    s.share = {1 << 30, 30, 0};
    return s;
  }
  static std::string value(const Preparation& preparation, const std::string& name) {
    for (const auto& [key, text] : preparation.env) {
      if (key == name) return text;
    }
    return "";
  }

  std::string root_;
  SoftOptions options_;
};

TEST_F(SoftProviderTest, DescribesItsCardsAndSaysWhatTheyAre) {
  const auto provider = make_soft_provider(options_);
  ASSERT_TRUE(provider) << provider.error().message;
  const auto devices = (*provider)->discover();
  ASSERT_TRUE(devices) << devices.error().message;
  ASSERT_EQ(devices->size(), 2u);
  const Device& device = devices->at(1);
  EXPECT_EQ(device.id, "soft1");
  EXPECT_TRUE(device.simulated);
  EXPECT_TRUE(device.healthy);
  EXPECT_NE(device.model.find("(simulated)"), std::string::npos);
  EXPECT_GT(device.memory_bytes, 20ull << 30);
  EXPECT_EQ(device.compute_units, 72u);
  EXPECT_EQ(device.isolation, Isolation::Library);
}

TEST_F(SoftProviderTest, PreparesKeepsAndRemovesASlice) {
  const auto provider = make_soft_provider(options_);
  ASSERT_TRUE(provider) << provider.error().message;
  const auto first = (*provider)->prepare(slice());
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(*first, *(*provider)->prepare(slice()));
  EXPECT_EQ(first->isolation, Isolation::Library);
  EXPECT_EQ(value(*first, "CUDA_VISIBLE_DEVICES"), (*provider)->discover()->at(1).uuid);
  EXPECT_EQ(value(*first, "LD_PRELOAD"), "/run/tweendeck/sandbox/vgpu/libtweendeck-vgpu.so");
  EXPECT_EQ(value(*first, "TWEENDECK_VGPU_LIMITS"), "/run/tweendeck/sandbox/vgpu/limits");
  const auto limits = std::ranges::find(first->mounts, root_ + "/vgpu/soft/chat-1/limits", &Mount::source);
  ASSERT_NE(limits, first->mounts.end());
  EXPECT_TRUE(limits->read_only);
  EXPECT_EQ(*(*provider)->prepared(), std::vector<std::string>{"chat-1"});
  const auto usage = (*provider)->usage("chat-1");
  ASSERT_TRUE(usage) << usage.error().message;
  EXPECT_EQ(usage->memory_bytes, 0u);
  ASSERT_TRUE((*provider)->unprepare("chat-1"));
  ASSERT_TRUE((*provider)->unprepare("chat-1"));
  EXPECT_TRUE((*provider)->prepared()->empty());
}

TEST_F(SoftProviderTest, ARestartedDaemonKeepsTheModelThatReplicasUse) {
  const auto inode = [&] {
    struct stat info{};
    return stat(options_.model_path.c_str(), &info) == 0 ? info.st_ino : 0;
  };
  ASSERT_TRUE(make_soft_provider(options_));
  const auto before = inode();
  ASSERT_TRUE(make_soft_provider(options_));
  EXPECT_EQ(inode(), before);
  options_.cards = "1:H100-80G";
  ASSERT_TRUE(make_soft_provider(options_));
  EXPECT_NE(inode(), before);
}

TEST_F(SoftProviderTest, RemembersItsCardsUntilTheyAreRemoved) {
  EXPECT_EQ(remembered_soft_cards(options_.model_path), "");
  ASSERT_TRUE(make_soft_provider(options_));
  EXPECT_EQ(remembered_soft_cards(options_.model_path), "2:A10");
  options_.cards = "2:RTX-9999";
  ASSERT_FALSE(make_soft_provider(options_));
  EXPECT_EQ(remembered_soft_cards(options_.model_path), "2:A10")
      << "cards that cannot be made change nothing";
  ASSERT_TRUE(remove_soft_cards(options_.model_path));
  ASSERT_TRUE(remove_soft_cards(options_.model_path));
  EXPECT_EQ(remembered_soft_cards(options_.model_path), "");
  EXPECT_FALSE(std::filesystem::exists(options_.model_path));
}

TEST_F(SoftProviderTest, WithoutTheVgpuLibraryTheIsolationIsToldAsNone) {
  options_.pages.vgpu_library = root_ + "/nowhere.so";
  const auto provider = make_soft_provider(options_);
  ASSERT_TRUE(provider);
  const auto preparation = (*provider)->prepare(slice());
  ASSERT_TRUE(preparation);
  EXPECT_EQ(preparation->isolation, Isolation::None);
  EXPECT_EQ(preparation->isolation_reason, Reason::LibraryMissing);
  EXPECT_EQ(value(*preparation, "LD_PRELOAD"), "");
}

TEST_F(SoftProviderTest, BadInputIsRefusedWithItsReason) {
  options_.cards = "2:RTX-9999";
  const auto refused = make_soft_provider(options_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Reason::InvalidArgument);
  EXPECT_NE(refused.error().message.find("RTX-9999"), std::string::npos);
  options_.cards = "1:A10";
  options_.tool = root_ + "/nowhere";
  EXPECT_EQ(make_soft_provider(options_).error().reason, Reason::DriverMissing);
  options_.tool = built("bin/tweendeck-softgpu");
  const auto provider = make_soft_provider(options_);
  Slice elsewhere = slice();
  elsewhere.device_id = "soft7";
  EXPECT_EQ((*provider)->prepare(elsewhere).error().reason, Reason::NotFound);
}

}  // namespace
}  // namespace tweendeck::device
