#include <gtest/gtest.h>

#include "placement/why/report.h"

namespace tweendeck::placement {
namespace {

constexpr uint64_t kGiB = 1ull << 30;

NodeFacts machine(const std::string& name, uint32_t devices, const std::string& model = "H100") {
  NodeFacts node;
  node.name = name;
  node.cpu_milli = 16'000;
  node.memory_bytes = 64 * kGiB;
  for (uint32_t i = 0; i < devices; ++i) {
    DeviceFacts device;
    device.id = name + "-gpu" + std::to_string(i);
    device.vendor = "NVIDIA";
    device.model = model;
    device.memory_bytes = 80 * kGiB;
    node.devices.push_back(device);
  }
  return node;
}

Request share(uint64_t memory, uint32_t compute, uint32_t devices = 1) {
  Request request;
  request.devices = devices;
  request.memory_bytes = memory;
  request.compute_permille = compute;
  return request;
}

class WhyTest : public testing::Test {
 protected:
  WhyTest() {
    put(machine("a", 2));
    put(machine("b", 2));
    put(machine("old", 1, "V100"));
    put(machine("login", 0));
    hold("train", 5, 0, 1, share(60 * kGiB, 500));
    hold("chat", 0, 0, 2, share(30 * kGiB, 200));
    hold("code", 0, 0, 2, share(20 * kGiB, 200));
    hold("batch", 0, 1, 1, share(70 * kGiB, 900));
    hold("more", 0, 1, 2, share(70 * kGiB, 900));
  }

  NodeIndex put(const NodeFacts& facts) { return cluster_.put_node(facts).value(); }
  ShapeId shape(const Request& request) { return cluster_.shape_id(request).value(); }
  void hold(const std::string& name, int32_t priority, NodeIndex node, uint16_t devices,
            const Request& request) {
    const Holder::Held held{cluster_.spot(node, devices, shape(request)), shape(request)};
    cluster_.take(held.spot, held.shape);
    holders_.push_back({name, priority, {held}});
  }
  Question about(const Request& request) {
    Question question;
    question.shape = shape(request);
    question.tried_ms = 42;
    question.holders = [this](NodeIndex node) {
      std::vector<Holder> there;
      for (const Holder& holder : holders_) {
        if (holder.held.front().spot.node == node) there.push_back(holder);
      }
      return there;
    };
    return question;
  }
  Report why(const Request& request) { return reporter_.why(cluster_, about(request)); }

  Cluster cluster_;
  std::vector<Holder> holders_;
  Reporter reporter_;
};

TEST_F(WhyTest, SaysWhatLacksWhereAndWhoseEndWouldHelp) {
  Request request = share(40 * kGiB, 300);
  request.models = {"H100"};
  EXPECT_EQ(why(request).text(),
            "It needs 1 device with 40 GiB of memory and 30 % of the compute, of model H100.\n"
            "No node has room. Of 4 nodes with 5 devices:\n"
            "  2 nodes (4 devices)  too little free memory [InsufficientMemory]\n"
            "  1 node (1 device)    the device is of another model [ModelMismatch]\n"
            "  1 node               there is no device at all [NoDevices]\n"
            "Nearest is a: a-gpu1 lacks 10 GiB of memory.\n"
            "What would help:\n"
            "- the end of code would make room on a.\n");
  EXPECT_EQ(
      why(request).json(),
      R"({"reason":"InsufficientMemory","nodes":4,"devices":5,"fitting_nodes":0,"reasons":[)"
      R"({"reason":"InsufficientMemory","nodes":2,"devices":4},{"reason":"ModelMismatch","nodes":1,"devices":1},)"
      R"({"reason":"NoDevices","nodes":1,"devices":0}],"nearest":{"node":"a","reason":"InsufficientMemory",)"
      R"("devices_missing":1,"devices":[{"id":"a-gpu1","reason":"InsufficientMemory",)"
      R"("lacks_memory_bytes":10737418240,"lacks_compute_permille":0}],"lacks_cpu_milli":0,)"
      R"("lacks_host_memory_bytes":0,"detail":""},"remedies":[{"kind":"end","names":["code"],"node":"a","at_ms":null,)"
      R"("fewest":true,"reason":"None","detail":""}],"tried_ms":42})");
}

TEST_F(WhyTest, ANodeThatIsClosedOrFaultyAndHasRoomIsNamed) {
  put(machine("c", 2));
  Request request = share(80 * kGiB, 1000, 2);
  EXPECT_EQ(why(request).fitting_nodes, 1u);
  EXPECT_EQ(why(request).reason(), Reason::None);
  ASSERT_TRUE(cluster_.set_cordon("c", true));
  const Report closed = why(request);
  ASSERT_FALSE(closed.remedies.empty());
  EXPECT_EQ(closed.remedies.back().kind, Remedy::Kind::Reopen);
  EXPECT_EQ(closed.remedies.back().node, "c");
  EXPECT_EQ(closed.remedies.back().reason, Reason::NodeCordoned);
  ASSERT_TRUE(cluster_.set_cordon("c", false));
  ASSERT_TRUE(cluster_.set_device_health("c-gpu1", false));
  EXPECT_EQ(why(request).remedies.back().reason, Reason::DeviceUnhealthy);
}

TEST_F(WhyTest, AQuotaIsSaidFirstAndTooLargeClaimsHaveNoRemedy) {
  Question question = about(share(100 * kGiB, 100));
  const Report large = reporter_.why(cluster_, question);
  EXPECT_EQ(large.reason(), Reason::MemoryExceedsDevice);
  ASSERT_EQ(large.remedies.size(), 1u);
  EXPECT_EQ(large.remedies.front().kind, Remedy::Kind::None);
  question.admission = Reason::LimitExceeded;
  question.admission_detail = "queue research has 8 of 8 devices";
  const Report limited = reporter_.why(cluster_, question);
  EXPECT_EQ(limited.reason(), Reason::LimitExceeded);
  EXPECT_NE(limited.text().find("- room in the quota: queue research has 8 of 8 devices"), std::string::npos);
}

TEST_F(WhyTest, WhoLeavesFirstAndMakesRoomIsNamed) {
  Request request = share(40 * kGiB, 300);
  request.models = {"H100"};
  Question question = about(request);
  question.now_ms = 60'000;
  question.name_of = [this](uint64_t claim) { return holders_[claim].name; };
  question.leaving = {{1, 70'000, holders_[1].held.front()},  // chat: too little
                      {3, 80'000, holders_[3].held.front()}};
  const uint64_t before = cluster_.hash();
  const Report report = reporter_.why(cluster_, question);
  EXPECT_EQ(cluster_.hash(), before);
  ASSERT_EQ(report.remedies.size(), 2u);
  EXPECT_EQ(report.remedies[1].kind, Remedy::Kind::Leave);
  EXPECT_EQ(report.remedies[1].names, std::vector<std::string>{"chat"});
  EXPECT_EQ(report.remedies[1].at_ms, 70'000);
  EXPECT_NE(report.text().find("room on a when chat ends, in 10.0 s, at 1m10s"), std::string::npos)
      << report.text();
}

TEST_F(WhyTest, WhatIfChangesNothing) {
  const Question question = about(share(80 * kGiB, 1000, 2));
  const uint64_t before = cluster_.hash();
  Hypothesis ended;
  for (const Holder& holder : holders_) {
    if (holder.held.front().spot.node == 1) ended.ended.push_back(holder.held.front());
  }
  EXPECT_EQ(what_if(cluster_, ended, question)->fitting_nodes, 1u);
  Hypothesis bought;
  bought.nodes.push_back(machine("new", 2));
  EXPECT_EQ(what_if(cluster_, bought, question)->fitting_nodes, 1u);
  Hypothesis impossible;
  impossible.started.push_back(holders_.back().held.front());
  EXPECT_EQ(what_if(cluster_, impossible, question).error().reason, Reason::InvalidArgument);
  EXPECT_EQ(cluster_.hash(), before);
  EXPECT_EQ(reporter_.why(cluster_, question).fitting_nodes, 0u);
}

TEST(Why, AnEmptyClusterHasNoNode) {
  Cluster cluster;
  Reporter reporter;
  Question question;
  question.shape = cluster.shape_id(share(kGiB, 10)).value();
  const Report report = reporter.why(cluster, question);
  EXPECT_EQ(report.reason(), Reason::NoDevices);
  EXPECT_EQ(report.text(),
            "It needs 1 device with 1 GiB of memory and 1 % of the compute.\nThere is no node at all.\n");
}

}  // namespace
}  // namespace tweendeck::placement
