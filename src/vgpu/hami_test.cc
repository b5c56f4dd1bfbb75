#include "vgpu/hami.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace tweendeck::vgpu {
namespace {

std::map<std::string, std::string, std::less<>> g_environment;

const char* from_map(const char* variable) {
  const auto found = g_environment.find(variable);
  return found == g_environment.end() ? nullptr : found->second.c_str();
}

HamiLimits read(decltype(g_environment) environment) {
  g_environment = std::move(environment);
  return read_hami_limits(from_map);
}

TEST(HamiSize, TakesTheSuffixesOfHami) {
  const std::map<std::string, uint64_t> sizes = {
      {"0", 0},
      {"1024", 1024},
      {"3k", 3 << 10},
      {"3K", 3 << 10},
      {"512m", 512 << 20},
      {"4G", 4ull << 30},
      {"4g", 4ull << 30},
      {"18446744073709551615", UINT64_MAX},
  };
  for (const auto& [text, wanted] : sizes) {
    uint64_t bytes = 1;
    EXPECT_TRUE(parse_hami_size(text.c_str(), bytes)) << text;
    EXPECT_EQ(bytes, wanted) << text;
  }
}

TEST(HamiSize, RefusesWhatIsNoSize) {
  for (const char* text :
       {"", "m", "-1", "1.5g", "4Gi", "4gb", "4 g", " 4g", "0x10", "18446744073709551616", "17179869184g"}) {
    uint64_t bytes = 0;
    EXPECT_FALSE(parse_hami_size(text, bytes)) << text;
  }
}

// Whatever the text is, an accepted size means digits and one known suffix.
TEST(HamiSize, AcceptsOnlyItsGrammar) {
  std::mt19937 random(7);
  const std::string letters = "0123456789kKmMgGiB.- x";
  for (int round = 0; round < 200'000; ++round) {
    std::string text;
    for (auto size = random() % 8; size > 0; --size) text += letters[random() % letters.size()];
    uint64_t bytes = 0;
    const bool accepted = parse_hami_size(text.c_str(), bytes);
    const size_t digits = text.find_first_not_of("0123456789");
    const bool grammatical =
        !text.empty() && digits != 0 &&
        (digits == std::string::npos ||
         (digits + 1 == text.size() && std::string("kKmMgG").find(text[digits]) != std::string::npos));
    EXPECT_EQ(accepted, grammatical) << text;
  }
}

TEST(HamiLimits, NothingIsAskedWithoutALimit) {
  EXPECT_FALSE(read({}).asked);
  EXPECT_FALSE(read({{"CUDA_TASK_PRIORITY", "0"}, {"LIBCUDA_LOG_LEVEL", "4"}}).asked);
  EXPECT_FALSE(read({{"CUDA_DEVICE_MEMORY_LIMIT", ""}}).asked);
}

TEST(HamiLimits, TheDevicesOwnVariableGoesFirst) {
  const HamiLimits limits = read({{"CUDA_DEVICE_MEMORY_LIMIT", "1g"},
                                  {"CUDA_DEVICE_MEMORY_LIMIT_1", "2g"},
                                  {"CUDA_DEVICE_MEMORY_LIMIT_15", "3g"},
                                  {"CUDA_DEVICE_SM_LIMIT", "30"},
                                  {"CUDA_DEVICE_SM_LIMIT_1", "100"}});
  ASSERT_TRUE(limits.asked);
  EXPECT_STREQ(limits.bad_variable, "");
  EXPECT_EQ(limits.set.device_count, static_cast<uint32_t>(TW_VGPU_MAX_DEVICES));
  EXPECT_EQ(limits.set.devices[0].memory_bytes, 1ull << 30);
  EXPECT_EQ(limits.set.devices[1].memory_bytes, 2ull << 30);
  EXPECT_EQ(limits.set.devices[15].memory_bytes, 3ull << 30);
  EXPECT_EQ(limits.set.devices[0].compute_ceiling_permille, 300u);
  EXPECT_EQ(limits.set.devices[0].compute_floor_permille, 300u);
  EXPECT_EQ(limits.set.devices[1].compute_ceiling_permille, 0u);
}

TEST(HamiLimits, PolicyPriorityAndTheRest) {
  const HamiLimits limits = read({{"CUDA_DEVICE_SM_LIMIT", "30"},
                                  {"GPU_CORE_UTILIZATION_POLICY", "DISABLE"},
                                  {"CUDA_TASK_PRIORITY", "0"},
                                  {"CUDA_OVERSUBSCRIBE", "true"},
                                  {"LIBCUDA_LOG_LEVEL", "3"},
                                  {"CUDA_DEVICE_MEMORY_SHARED_CACHE", "/x"}});
  EXPECT_TRUE(limits.asked);
  EXPECT_EQ(limits.set.devices[0].compute_ceiling_permille, 0u);
  EXPECT_EQ(limits.set.devices[0].priority, 1);
  EXPECT_TRUE(limits.oversubscribe);
  EXPECT_EQ(limits.log_level, 3);
  EXPECT_STREQ(limits.shared_cache, "/x");
}

TEST(HamiLimits, WhatCannotBeReadIsNamed) {
  EXPECT_STREQ(read({{"CUDA_DEVICE_MEMORY_LIMIT_3", "lots"}}).bad_variable, "CUDA_DEVICE_MEMORY_LIMIT_3");
  EXPECT_STREQ(read({{"CUDA_DEVICE_SM_LIMIT", "50%"}}).bad_variable, "CUDA_DEVICE_SM_LIMIT");
}

TEST(VisibleNumber, FollowsTheListOrElseTheOrder) {
  const char* uuid = "GPU-0123abcd-0000";
  EXPECT_EQ(visible_number(nullptr, 3, uuid), 3);
  EXPECT_EQ(visible_number(nullptr, 16, uuid), -1);
  EXPECT_EQ(visible_number("", 0, uuid), -1);
  EXPECT_EQ(visible_number("2,0", 0, uuid), 1);
  EXPECT_EQ(visible_number("2,0", 1, uuid), -1);
  EXPECT_EQ(visible_number("GPU-ffff,GPU-0123", 7, uuid), 1);
  EXPECT_EQ(visible_number("1x,1", 1, uuid), 1);
}

}  // namespace
}  // namespace tweendeck::vgpu
