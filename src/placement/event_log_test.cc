#include "placement/event_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tweendeck::placement {
namespace {

using ::testing::HasSubstr;

std::vector<Event> examples() {
  NodeFacts node;
  node.name = "n 1";
  node.cpu_milli = 96'000;
  node.memory_bytes = 1ull << 40;
  node.rack = "r=7";
  node.attributes = {{"pool", "a%b"}, {"empty", ""}};
  DeviceFacts device;
  device.id = "GPU-1";
  device.vendor = "NVIDIA";
  device.model = "H100 80GB";
  device.memory_bytes = 80ull << 30;
  device.isolation = Isolation::Hardware;
  device.numa_node = 1;
  device.healthy = false;
  device.max_claims = 10;
  device.partitions = {{"1g.10gb", 10ull << 30, 142, 1, 0x7f}};
  node.devices = {device, DeviceFacts()};
  Request request;
  request.cpu_milli = 4000;
  request.devices = 2;
  request.memory_percent = 50;
  request.models = {"A", "B"};
  request.near = Near::SameIsland;
  request.near_required = false;
  request.prefer = Prefer::Mutex;
  request.conditions = {{"tier", Condition::Op::AtLeast, {"3"}}, {"zone", Condition::Op::Absent, {}}};
  return {
      NodePut{node},
      NodeGone{"n 1"},
      NodeCordon{"n", false},
      DeviceHealth{"GPU-1", true},
      DeviceCordon{"GPU-1", true},
      ShapeDefined{3, request},
      QueuePut{2, {"team", "org", 5, {{"devices", 2, 6}, {"model:A", 0, kUnlimited}}}},
      GroupPut{8, {{3, 2, 4, Level::Node}, {1, 1, 1, Level::Cluster}}, Level::Block, Level::Rack, 2, 1, 9, 3},
      GroupGone{8},
      ClaimSubmitted{17, 3, 2, -5, 1200, 8, 1, 4, 6, 7, 60'000, false, 5, Apart::Required},
      ClaimWithdrawn{17, 1300},
      BindConfirmed{17, 4, 1400},
      BindFailed{17, 4, 1400},
      Resize{17, 9, 1500},
      Timer{99},
      NamespacePut{4, "team a", {{"limits.nvidia.com/gpu", "8"}, {"requests.nvidia.com/gpumem", "64Ki"}}},
      BudgetPut{7, 2, 1},
      WeightsOnNode{"n 1", 6, 400},
      ClaimAdopted{{17, 3, 2, -5, 1200, 8, 1, 4, 6, 7, 60'000, false}, "n 1", {{"GPU-1", 4}, {"GPU-2", 0}}}};
}

TEST(EventLog, EveryEventIsReadAsItWasWritten) {
  for (const Event& event : examples()) {
    const std::string line = to_line(event);
    const Result<Event> read = parse_event(line);
    ASSERT_TRUE(read) << line << ": " << to_string(read.error());
    EXPECT_EQ(*read, event) << line;
    EXPECT_TRUE(is_event_line(line));
  }
  EXPECT_EQ(examples().size(), std::variant_size_v<Event>);
  EXPECT_EQ(to_line(examples()[9]),
            "submit claim=17 shape=3 queue=2 priority=-5 time=1200 group=8 role=1 namespace=4 "
            "weights=6 budget=7 min-runtime=60000 preemptible=no family=5 apart=required");
  EXPECT_EQ(to_line(ClaimAdopted{{17, 3}, "n1", {{"GPU-1", 4}}}),
            "adopt claim=17 shape=3 node=n1 device id=GPU-1 start=4");
  EXPECT_EQ(to_line(BudgetPut{7, 2}), "budget number=7 min-available=2");
}

TEST(EventLog, MistakesAreNamed) {
  const auto error = [](std::string_view line) { return parse_event(line).error().message; };
  EXPECT_THAT(error("sumbit claim=1"), HasSubstr("no event 'sumbit'"));
  EXPECT_THAT(error("submit claim=x"), HasSubstr("claim=x is no number"));
  EXPECT_THAT(error("submit claim=-1"), HasSubstr("claim=-1 is no number"));
  EXPECT_THAT(error("submit claim=1 claim=2"), HasSubstr("claim=2 is not a field here, or twice"));
  EXPECT_THAT(error("submit claim=1 device id=2"), HasSubstr("'device' does not belong here"));
  EXPECT_THAT(error("shape near=rack"), HasSubstr("near=rack"));
  EXPECT_THAT(error("namespace number=1 rule key=a"), HasSubstr("'rule' does not belong here"));
  EXPECT_THAT(error("budget number=1 min-available=-1"), HasSubstr("min-available=-1 is no number"));
  EXPECT_THAT(error("node name=%2"), HasSubstr("not escaped"));
  EXPECT_THAT(error("node partition name=1g"), HasSubstr("'partition' does not belong here"));
  EXPECT_THAT(error("device-health id=a on=maybe"), HasSubstr("neither yes nor no"));
  EXPECT_THAT(error("adopt claim=1 partition name=1g"), HasSubstr("'partition' does not belong here"));
  EXPECT_THAT(error("adopt claim=1 device start=256"), HasSubstr("start=256 is no number that fits"));
  EXPECT_THAT(error(""), HasSubstr("no event"));
  EXPECT_EQ(parse_event(std::string(kMaxEventLine + 1, 'x')).error().reason, Reason::LimitExceeded);
  EXPECT_FALSE(is_event_line("  # a comment"));
  EXPECT_FALSE(is_event_line(""));
}

}  // namespace
}  // namespace tweendeck::placement
