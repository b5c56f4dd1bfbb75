#include "app/daemon/api_json.h"

#include <gtest/gtest.h>

#include "app/daemon/state_metrics.h"
#include "base/text.h"
#include "base/units.h"

namespace tweendeck::daemon {
namespace {

net::JsonValue parsed(net::JsonWriter& w) {
  Result<net::JsonValue> value = net::parse_json(w.text());
  EXPECT_TRUE(value) << w.text();
  return value.value_or(net::JsonValue());
}

Slice slice_of(std::string id, std::string owner) {
  return {.id = std::move(id),
          .device_id = "cpu0",
          .share = {.memory_bytes = kGiB, .compute_percent = 40},
          .owner = std::move(owner),
          .deployment = "chat",
          .isolation = Isolation::Kernel,
          .isolation_reason = Reason::None};
}

serving::DeploymentView deployment() {
  serving::DeploymentView view;
  view.spec.name = "chat";
  view.spec.model = "smollm2";
  view.spec.replicas = 2;
  view.spec.claim.share = {.memory_bytes = kGiB, .compute_percent = 40};
  view.ready = 1;
  serving::ReplicaView ready;
  ready.id = "chat-1";
  ready.deployment = "chat";
  ready.phase = serving::ReplicaPhase::Ready;
  ready.slice = slice_of("s1", "chat-1");
  ready.pid = 4711;
  serving::ReplicaView waiting = ready;
  waiting.id = "chat-2";
  waiting.phase = serving::ReplicaPhase::Pending;
  waiting.reason = Reason::InsufficientMemory;
  waiting.message = "cpu0 lacks \"1.2 GiB\"";
  waiting.slice = {};
  waiting.tried_wall_ns = 1'700'000'000 * kSecond;
  waiting.last_exit.valid = true;
  waiting.last_exit.signal = 9;
  waiting.last_exit.reason = Reason::OutOfMemory;
  view.replicas = {ready, waiting};
  return view;
}

TEST(ApiJson, DeviceTellsWhatIsFree) {
  Device device{.id = "cpu0",
                .provider = "cpu",
                .vendor = "AMD",
                .model = "AMD EPYC",
                .uuid = "",
                .pci_bus_id = "",
                .memory_bytes = 4 * kGiB,
                .links = {}};
  net::JsonWriter w;
  write_device(w, device, {slice_of("s1", "chat-1"), slice_of("s2", "chat-2")},
               {{"s1", {.memory_bytes = 5}}});
  net::JsonValue json = parsed(w);
  EXPECT_EQ(json["free_memory_bytes"].integer_or(0), int64_t{2} << 30);
  EXPECT_EQ(json["free_compute_percent"].integer_or(0), 20);
  EXPECT_EQ(json["slices"].items().size(), 2);
  EXPECT_EQ(json["slices"].items()[0]["use"]["memory_bytes"].integer_or(0), 5);
  EXPECT_FALSE(json["slices"].items()[1].has("use"));
  EXPECT_EQ(json["slices"].items()[0]["isolation"].text_or(""), "kernel");
  EXPECT_EQ(json["slices"].items()[0]["compute_cap"].text_or(""), "time");
}

TEST(ApiJson, DeploymentKeepsSpecReplicasAndReasons) {
  net::JsonWriter w;
  write_deployment(w, deployment(), {});
  net::JsonValue json = parsed(w);
  EXPECT_EQ(json["name"].text_or(""), "chat");
  EXPECT_EQ(json["spec"]["replicas"].integer_or(0), 2);
  EXPECT_EQ(json["ready"].integer_or(0), 1);
  const net::JsonValue& waiting = json["replicas"].items()[1];
  EXPECT_EQ(waiting["phase"].text_or(""), "pending");
  EXPECT_EQ(waiting["reason"].text_or(""), "InsufficientMemory");
  EXPECT_EQ(waiting["message"].text_or(""), "cpu0 lacks \"1.2 GiB\"");
  EXPECT_TRUE(waiting["slice"].is_null());
  EXPECT_EQ(waiting["tried"].text_or(""), format_time(1'700'000'000 * kSecond));
  EXPECT_TRUE(json["replicas"].items()[0]["tried"].is_null());
  EXPECT_EQ(waiting["last_exit"]["signal"].integer_or(0), 9);
  EXPECT_TRUE(json["replicas"].items()[0]["last_exit"].is_null());
  EXPECT_TRUE(json["replicas"].items()[0]["reason"].is_null());
}

TEST(ApiJson, OnlyWarningsAndErrorsMakeItUnhealthy) {
  auto healthy = [](const std::vector<Finding>& findings) {
    return (*net::parse_json(findings_json(findings)))["healthy"].bool_or(false);
  };
  EXPECT_TRUE(healthy({}));
  EXPECT_TRUE(healthy({{"info", "nvidia", Reason::DriverMissing, "no GPU", ""}}));
  EXPECT_FALSE(healthy({{"warning", "cpu0", Reason::CgroupUnavailable, "no cgroup", ""}}));
}

TEST(StateMetrics, FollowsWhatExists) {
  Registry registry;
  StateMetrics metrics(registry);
  Device device{.id = "cpu0",
                .provider = "cpu",
                .vendor = "",
                .model = "",
                .uuid = "",
                .pci_bus_id = "",
                .memory_bytes = 4 * kGiB,
                .links = {}};
  metrics.update({device}, {slice_of("s1", "chat-1")},
                 {{"s1", {.memory_bytes = 5, .compute_ns = 1'500'000'000}}}, {deployment()});
  std::string text = registry.expose();
  EXPECT_NE(text.find("tweendeck_device_memory_bytes{device=\"cpu0\",provider=\"cpu\"} 4294967296"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("# TYPE tweendeck_slice_compute_seconds_total counter"), std::string::npos);
  EXPECT_NE(text.find("tweendeck_replicas{deployment=\"chat\",phase=\"ready\"} 1"), std::string::npos);
  metrics.update({device}, {}, {}, {});
  text = registry.expose();
  EXPECT_EQ(text.find("slice=\"s1\""), std::string::npos) << text;
  EXPECT_EQ(text.find("deployment=\"chat\""), std::string::npos);
  EXPECT_NE(text.find("device=\"cpu0\""), std::string::npos);
}

}  // namespace
}  // namespace tweendeck::daemon
