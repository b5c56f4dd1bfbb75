#include "device/providers/cpu/cpu_provider.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "base/units.h"
#include "device/cgroup/fake_kernel.h"

namespace tweendeck::device {
namespace {

// A machine with two NUMA nodes of 4 CPUs and 64 GiB, a CPU-less memory node, and cgroup v2.
std::map<std::string, std::string> two_node_files() {
  auto meminfo = [](int node) {
    return fmt::format("Node {} MemTotal:  67108864 kB\nNode {} MemFree: 1 kB\n", node, node);
  };
  return {
      {"/sys/devices/system/cpu/online", "0-7\n"},
      {"/sys/devices/system/node/online", "0-2\n"},
      {"/sys/devices/system/node/node0/cpulist", "0-1,4-5\n"},
      {"/sys/devices/system/node/node0/meminfo", meminfo(0)},
      {"/sys/devices/system/node/node1/cpulist", "2-3,6-7\n"},
      {"/sys/devices/system/node/node1/meminfo", meminfo(1)},
      {"/sys/devices/system/node/node2/cpulist", "\n"},
      {"/sys/devices/system/node/node2/meminfo", meminfo(2)},
      {"/proc/meminfo", "MemTotal:       201326592 kB\nMemFree: 1 kB\n"},
      {"/proc/self/status", "Name:\ttest\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n"},
      {"/proc/cpuinfo",
       "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 143\nmodel name\t: Intel(R) Xeon(R) 8480\n"},
  };
}

class TwoNodes : public ::testing::Test {
 protected:
  TwoNodes() : kernel_("/box") {
    kernel_.files.merge(two_node_files());
    kernel_.write("/cg/cgroup.subtree_control", "+cpu +cpuset +memory");
  }
  void open_groups() {
    Result<std::unique_ptr<Groups>> groups = Groups::open(kernel_, "/", "/state");
    ASSERT_TRUE(groups) << to_string(groups.error());
    groups_ = std::move(*groups);
  }
  CpuProvider provider() { return CpuProvider(kernel_, groups_.get()); }

  FakeKernel kernel_;
  std::unique_ptr<Groups> groups_;
};

Slice slice_on(const char* device_id, uint32_t compute_percent) {
  return {.id = "chat-1",
          .device_id = device_id,
          .share = {.memory_bytes = kGiB, .compute_percent = compute_percent, .priority = 0},
          .owner = "chat-1",
          .deployment = "chat"};
}

TEST_F(TwoNodes, EachNodeWithCpusIsADevice) {
  open_groups();
  Result<std::vector<Device>> devices = provider().discover();
  ASSERT_TRUE(devices) << to_string(devices.error());
  ASSERT_EQ(devices->size(), 2u);
  const Device& second = devices->at(1);
  EXPECT_EQ(second.id, "cpu1");
  EXPECT_EQ(second.provider, "cpu");
  EXPECT_EQ(second.vendor, "Intel");
  EXPECT_EQ(second.model, "Intel(R) Xeon(R) 8480");
  EXPECT_EQ(second.numa_node, 1);
  EXPECT_EQ(second.memory_bytes, 60 * kGiB);  // 64 GiB less 1/16
  EXPECT_EQ(second.compute_units, 4u);
  EXPECT_EQ(second.isolation, Isolation::Kernel);
  EXPECT_EQ(second.links, (std::vector<DeviceLink>{{"cpu0", "numa"}}));
}

TEST_F(TwoNodes, ASliceIsPinnedToItsNodeAndLimited) {
  open_groups();
  CpuProvider cpu = provider();
  Result<Preparation> made = cpu.prepare(slice_on("cpu1", 30));
  ASSERT_TRUE(made) << to_string(made.error());
  EXPECT_EQ(made->isolation, Isolation::Kernel);
  EXPECT_EQ(made->cpu_count, 2u);  // 30 % of 4 CPUs = 1.2
  EXPECT_EQ(made->env, (std::vector<EnvVar>{{"TWEENDECK_SLICE_CPUS", "1.200"}}));
  std::string folder = "/cg/box/" + base_group_name("/state") + "/chat-1";
  EXPECT_EQ(made->cgroup_procs, std::vector<std::string>{folder + "/cgroup.procs"});
  EXPECT_EQ(kernel_.files[folder + "/cpuset.cpus"], "2-3,6-7\n");
  EXPECT_EQ(kernel_.files[folder + "/cpuset.mems"], "1\n");
  EXPECT_EQ(kernel_.files[folder + "/cpu.max"], "120000 100000\n");
  EXPECT_EQ(kernel_.files[folder + "/memory.max"], "1073741824\n");
  EXPECT_EQ(*cpu.prepare(slice_on("cpu1", 30)), *made);
  EXPECT_EQ(*cpu.prepared(), std::vector<std::string>{"chat-1"});
  EXPECT_TRUE(cpu.usage("chat-1"));
  EXPECT_TRUE(cpu.unprepare("chat-1"));
  EXPECT_TRUE(cpu.unprepare("chat-1"));
  EXPECT_TRUE(cpu.prepared()->empty());
}

TEST_F(TwoNodes, LimitsAroundTheDaemonMakeTheDevicesSmaller) {
  kernel_.files["/cg/box/memory.max"] = fmt::format("{}\n", 12 * kGiB);
  kernel_.files["/cg/box/cpu.max"] = "400000 100000\n";
  open_groups();
  CpuProvider cpu = provider();
  Result<std::vector<Device>> devices = cpu.discover();
  EXPECT_EQ(devices->at(0).memory_bytes, 6 * kGiB);
  EXPECT_EQ(devices->at(0).compute_units, 2u);
  EXPECT_EQ(cpu.prepare(slice_on("cpu0", 50))->cpu_count, 1u);
}

TEST_F(TwoNodes, OnlyAllowedCpusCount) {
  kernel_.files["/proc/self/status"] = "Cpus_allowed_list:\t1-2\n";
  open_groups();
  CpuProvider cpu = provider();
  EXPECT_EQ(cpu.discover()->at(0).compute_units, 1u);
  ASSERT_TRUE(cpu.prepare(slice_on("cpu0", 100)));
  EXPECT_EQ(kernel_.files["/cg/box/" + base_group_name("/state") + "/chat-1/cpuset.cpus"], "1\n");
}

TEST_F(TwoNodes, WithoutCgroupsTheIsolationIsToldTruthfully) {
  CpuProvider cpu = provider();
  EXPECT_EQ(cpu.discover()->at(0).isolation, Isolation::None);
  EXPECT_EQ(cpu.discover()->at(0).isolation_reason, Reason::CgroupUnavailable);
  Result<Preparation> made = cpu.prepare(slice_on("cpu0", 25));
  ASSERT_TRUE(made);
  EXPECT_EQ(made->isolation, Isolation::None);
  EXPECT_EQ(made->isolation_reason, Reason::CgroupUnavailable);
  EXPECT_EQ(made->cpu_count, 1u);
  EXPECT_TRUE(made->cgroup_procs.empty());
  EXPECT_EQ(cpu.usage("chat-1").error().reason, Reason::CgroupUnavailable);
  EXPECT_TRUE(cpu.unprepare("chat-1"));
}

TEST_F(TwoNodes, ALimitThatDidNotTakeIsNotASlice) {
  open_groups();
  kernel_.ignored.insert("/cg/box/" + base_group_name("/state") + "/chat-1/memory.max");
  CpuProvider cpu = provider();
  EXPECT_EQ(cpu.prepare(slice_on("cpu0", 25)).error().reason, Reason::CgroupLimitNotApplied);
  EXPECT_TRUE(cpu.prepared()->empty());
}

TEST_F(TwoNodes, AnUnknownDeviceIsNotFound) {
  open_groups();
  EXPECT_EQ(provider().prepare(slice_on("cpu2", 25)).error().reason, Reason::NotFound);
}

TEST(CpuTopology, IsReadBelowAnotherRoot) {
  char name[] = "/tmp/tw-topology-XXXXXX";
  std::string root = ::mkdtemp(name);
  for (const auto& [path, text] : two_node_files()) {
    std::filesystem::create_directories(std::filesystem::path(root + path).parent_path());
    std::ofstream(root + path) << text;
  }
  Kernel kernel;
  Result<Topology> topology = read_topology(kernel, root);
  ASSERT_TRUE(topology) << to_string(topology.error());
  EXPECT_EQ(topology->nodes.size(), 2u);
  EXPECT_EQ(topology->nodes[1].cpus, (std::vector<int>{2, 3, 6, 7}));
  std::filesystem::remove_all(root);
}

TEST(CpuTopology, AKernelWithoutNumaIsOneNode) {
  FakeKernel kernel("/");
  kernel.files["/sys/devices/system/cpu/online"] = "0-3\n";
  kernel.files["/proc/meminfo"] = "MemTotal: 8388608 kB\n";
  kernel.files["/proc/cpuinfo"] = "processor : 0\nCPU implementer\t: 0x41\n";
  Result<Topology> topology = read_topology(kernel, "");
  ASSERT_TRUE(topology);
  ASSERT_EQ(topology->nodes.size(), 1u);
  EXPECT_EQ(topology->nodes[0].cpus.size(), 4u);
  EXPECT_EQ(topology->nodes[0].memory_bytes, 8 * kGiB);
  EXPECT_EQ(topology->model, "ARM CPU");
}

TEST(CpuTopology, NothingReadableIsAnError) {
  FakeKernel kernel("/");
  EXPECT_EQ(read_topology(kernel, "").error().reason, Reason::IoError);
}

TEST(CpuTopology, NumberListsGoBothWays) {
  for (const char* text : {"0", "0-3", "0-1,4-5", "1,3,5-7"})
    EXPECT_EQ(format_number_list(parse_number_list(text)), text);
  EXPECT_EQ(format_number_list(parse_number_list("3,1,2,2")), "1-3");
  EXPECT_TRUE(parse_number_list("").empty());
  EXPECT_TRUE(parse_number_list("x,-1,2-x").empty());
  EXPECT_LE(parse_number_list("0-99999999").size(), static_cast<size_t>(kMaxCpuNumber) + 1);
}

TEST(CpuProviderOnThisMachine, FindsADevice) {
  Kernel kernel;
  Result<std::vector<Device>> devices = CpuProvider(kernel, nullptr).discover();
  ASSERT_TRUE(devices) << to_string(devices.error());
  ASSERT_FALSE(devices->empty());
  EXPECT_GT(devices->at(0).memory_bytes, 0u);
  EXPECT_GT(devices->at(0).compute_units, 0u);
  EXPECT_FALSE(devices->at(0).model.empty());
}

}  // namespace
}  // namespace tweendeck::device
