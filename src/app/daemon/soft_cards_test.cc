#include "app/daemon/soft_cards.h"

#include <gtest/gtest.h>

namespace tweendeck::daemon {
namespace {

device::SliceEntry entry(const std::string& provider, const std::string& deployment) {
  device::SliceEntry entry;
  entry.provider = provider;
  entry.slice.deployment = deployment;
  return entry;
}

TEST(SoftCards, WithoutTheFlagTheCardsAreThoseOfBefore) {
  EXPECT_EQ(*choose_soft_cards("", "", {}), "");
  EXPECT_EQ(*choose_soft_cards("", "2:A10", {}), "2:A10");
  EXPECT_EQ(*choose_soft_cards("", "2:A10", {entry("soft", "chat")}), "2:A10");
}

TEST(SoftCards, ChangeOnlyWhileNoSliceIsOnThem) {
  EXPECT_EQ(*choose_soft_cards("1:A10", "2:A10", {}), "1:A10");
  EXPECT_EQ(*choose_soft_cards("none", "2:A10", {entry("cpu", "chat")}), "");
  EXPECT_EQ(*choose_soft_cards("2:A10", "2:A10", {entry("soft", "chat")}), "2:A10");
  EXPECT_EQ(*choose_soft_cards("2:A10", "", {entry("soft", "chat")}), "2:A10") << "brings lost devices back";
  for (const char* other : {"1:A10", "none"}) {
    auto refused = choose_soft_cards(other, "2:A10",
                                     {entry("soft", "chat"), entry("soft", "code"), entry("cpu", "plain")});
    ASSERT_FALSE(refused) << other;
    EXPECT_EQ(refused.error().reason, Reason::DeviceGone);
    EXPECT_NE(refused.error().message.find("chat, code"), std::string::npos) << refused.error().message;
    EXPECT_EQ(refused.error().message.find("plain"), std::string::npos) << refused.error().message;
    EXPECT_NE(refused.error().hint.find("stop"), std::string::npos);
  }
}

}  // namespace
}  // namespace tweendeck::daemon
