#include "device/cgroup/hierarchy.h"

#include <gtest/gtest.h>

#include "device/cgroup/weight.h"

namespace tweendeck::device {
namespace {

constexpr std::string_view kHybrid =
    "23 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

TEST(ParseHierarchies, ReadsAHybridMachine) {
  std::vector<Hierarchy> found =
      parse_hierarchies(kHybrid, "4:memory:/outer/inner\n1:cpu,cpuacct:/\n9:name=systemd:/init\n0::/unit\n");
  ASSERT_EQ(found.size(), 4u);
  EXPECT_TRUE(found[0].has("cpu"));
  EXPECT_TRUE(found[0].has("cpuacct"));
  EXPECT_EQ(found[0].own_folder, "");
  EXPECT_EQ(found[1].mount_point, "/sys/fs/cgroup/memory");
  EXPECT_EQ(found[1].own_folder, "/outer/inner");
  EXPECT_EQ(found[3].version, 2);
  EXPECT_EQ(found[3].own_folder, "/unit");
}

TEST(ParseHierarchies, SeesThroughBindMountsAndNamespaces) {
  auto own = [](const char* root, const char* path) {
    std::string mount = std::string("1 2 0:3 ") + root + " /cg rw - cgroup2 none rw\n";
    return parse_hierarchies(mount, std::string("0::") + path + "\n").at(0).own_folder;
  };
  EXPECT_EQ(own("/docker/abc", "/docker/abc"), "");
  EXPECT_EQ(own("/docker/abc", "/docker/abc/x"), "/x");
  EXPECT_EQ(own("/docker/abc", "/docker/abcd"), "");
  EXPECT_EQ(own("/", "/../other"), "");
}

TEST(ParseHierarchies, UnescapesMountPoints) {
  EXPECT_EQ(parse_hierarchies("1 2 0:3 / /my\\040cg rw - cgroup2 none rw\n", "0::/\n").at(0).mount_point,
            "/my cg");
}

TEST(ParseHierarchies, SkipsWhatItCannotRead) {
  EXPECT_TRUE(parse_hierarchies("", "").empty());
  EXPECT_TRUE(parse_hierarchies("garbage\n1 2 3 - cgroup2\n - - -\n", "0::/\n::\nx\n").empty());
  EXPECT_TRUE(parse_hierarchies(kHybrid, "").empty());
}

TEST(Weight, QuotaAndWeightsFollowTheShare) {
  EXPECT_EQ(cpu_quota_us(400), 40'000u);
  EXPECT_EQ(cpu_quota_us(1), kMinCpuQuotaUs);
  EXPECT_EQ(slice_shares(2000), 2048u);
  EXPECT_EQ(slice_shares(1), kMinShares);
  EXPECT_EQ(slice_weight(1), 1u);
  EXPECT_EQ(base_shares(1000), kMaxShares);
  EXPECT_EQ(base_weight(1000), kMaxWeight);
}

TEST(Weight, CountsCpuLists) {
  EXPECT_EQ(cpu_list_size("0-3,8\n"), 5u);
  EXPECT_EQ(cpu_list_size("7"), 1u);
  EXPECT_EQ(cpu_list_size(""), 1u);
  EXPECT_EQ(cpu_list_size("3-1,x"), 1u);
}

}  // namespace
}  // namespace tweendeck::device
