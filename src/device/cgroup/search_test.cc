#include "device/cgroup/search.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace tweendeck::device {
namespace {

TEST(Search, FindsGroupsOfOthersThatHoldSlicesAndNoneElse) {
  char name[] = "/tmp/tw-search-XXXXXX";
  const std::string root = ::mkdtemp(name);
  const std::string own = "tweendeck-0000000000000001", other = "tweendeck-0000000000000002",
                    idle = "tweendeck-0000000000000003";
  for (const std::string& path :
       {own + "/chat-1.1", "unit/inner/" + other + "/code-1.1", idle, std::string("tweendeck-tools/x")}) {
    std::filesystem::create_directories(root + "/" + path);
  }
  Kernel kernel;
  EXPECT_EQ(find_other_groups(kernel, root, own), std::vector<std::string>{other});
  EXPECT_EQ(find_other_groups(kernel, root, other), std::vector<std::string>{own});
  EXPECT_EQ(find_group(kernel, root, other), root + "/unit/inner/" + other);
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace tweendeck::device
