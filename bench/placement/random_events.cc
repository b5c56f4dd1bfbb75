#include "bench/placement/random_events.h"

#include <string>

namespace tweendeck::bench {
namespace {

using namespace placement;

constexpr uint32_t kNodes = 160;
constexpr uint32_t kRackNodes = 8;
constexpr uint32_t kShapes = 48;
constexpr uint32_t kQueues = 6;     // the first is the parent of the others
constexpr uint64_t kRunning = 600;  // claims back that an event may be about
constexpr uint64_t kGiB = 1ull << 30;
const std::vector<PartitionProfile> kPartitions = {{"1g.10gb", 10 * kGiB, 140, 1, 0b01111111},
                                                   {"2g.20gb", 20 * kGiB, 280, 2, 0b00010101},
                                                   {"3g.40gb", 40 * kGiB, 420, 4, 0b00010001}};
constexpr uint32_t kSlices[] = {100, 200, 250, 320, 470, 500, 650, 810};

std::string node_name(uint64_t number) {
  return "node-" + std::to_string(number);
}

}  // namespace

NodeFacts RandomEvents::node(uint32_t number) {
  static constexpr struct {
    uint32_t devices, cpu_milli;
    const char* model;
    uint64_t memory;
  } kKinds[] = {{8, 96'000, "H100", 80},
                {4, 64'000, "A100", 80},
                {2, 16'000, "P100", 16},
                {2, 104'000, "T4", 16},
                {0, 128'000, "", 0}};
  const auto& kind = kKinds[number % std::size(kKinds)];
  NodeFacts facts;
  facts.name = node_name(number);
  facts.cpu_milli = kind.cpu_milli;
  facts.memory_bytes = 512 * kGiB;
  facts.rack = "rack-" + std::to_string(number / kRackNodes);
  facts.block = "block-" + std::to_string(number / kRackNodes / 4);
  for (uint32_t i = 0; i < kind.devices; ++i) {
    DeviceFacts device;
    device.id = facts.name + "/" + std::to_string(i);
    device.model = kind.model;
    device.memory_bytes = kind.memory * kGiB;
    device.numa_node = static_cast<int32_t>(2 * i / kind.devices);
    if (number % 20 == 1) device.partitions = kPartitions;
    facts.devices.push_back(device);
  }
  return facts;
}

Request RandomEvents::request(uint32_t number) {
  Request request;
  request.cpu_milli = 500 + 500 * static_cast<uint32_t>(random_.below(24));
  request.node_memory_bytes = (1 + random_.below(32)) * kGiB;
  switch (number % 12) {
    case 0:
      return request;
    case 1:
      request.devices = 2 << random_.below(3);
      request.compute_permille = 1000;
      break;
    case 2:
      request.devices = 1;
      request.partition = kPartitions[random_.below(kPartitions.size())].name;
      break;
    case 3:
      request.devices = 2;
      request.memory_percent = 50;
      request.near = Near::SameNuma;
      request.near_required = random_.below(2) == 0;
      break;
    case 4:
      request.devices = 1;
      request.exclusive = true;
      request.compute_permille = 300;
      break;
    case 5:
      request.devices = 1;
      request.compute_permille = 500;
      request.prefer = random_.below(2) == 0 ? Prefer::Pack : Prefer::Spread;
      break;
    case 6:
    case 7:
      request.models = {"P100", "T4"};
      [[fallthrough]];
    case 8:
      request.memory_bytes = (1 + random_.below(12)) * kGiB;
      [[fallthrough]];
    default:
      request.devices = 1;
      request.compute_permille = kSlices[random_.below(std::size(kSlices))];
  }
  return request;
}

std::vector<Event> RandomEvents::begin() {
  std::vector<Event> events;
  for (uint32_t i = 0; i < kNodes; ++i) events.push_back(NodePut{node(i)});
  for (uint32_t i = 0; i < kShapes; ++i) events.push_back(ShapeDefined{i, request(i)});
  events.push_back(QueuePut{0, {"all", "", 1, {{"devices", 0, 500}}}});
  for (uint32_t i = 1; i < kQueues; ++i) {
    events.push_back(QueuePut{i, {"team-" + std::to_string(i), "all", i, {{"compute", 30'000, 60'000 * i}}}});
  }
  return events;
}

ClaimId RandomEvents::some_claim() {
  return claims_ - random_.below(std::min(claims_, kRunning) + 1);
}

Event RandomEvents::of_node() {
  const uint64_t number = random_.below(kNodes);
  const std::string device = node_name(number) + "/0";
  switch (random_.below(6)) {
    case 0:
      return NodeGone{node_name(number)};
    case 1:
      return NodeCordon{node_name(number), random_.below(3) == 0};
    case 2:
      return DeviceHealth{device, random_.below(3) != 0};
    case 3:
      return DeviceCordon{device, random_.below(3) == 0};
    default:
      return NodePut{node(static_cast<uint32_t>(number))};
  }
}

Event RandomEvents::bind() {
  if (!to_stop_.empty() && random_.below(3) != 0) {
    const ClaimId claim = to_stop_.back();
    to_stop_.pop_back();
    return ClaimWithdrawn{claim, now_};
  }
  if (to_bind_.empty()) return Timer{now_};
  const size_t which = random_.below(to_bind_.size());
  const auto [claim, reservation] = to_bind_[which];
  if (random_.below(8) == 0) return BindFailed{claim, reservation, now_};
  to_bind_[which] = to_bind_.back();
  to_bind_.pop_back();
  return BindConfirmed{claim, reservation, now_};
}

Event RandomEvents::submit() {
  ClaimSubmitted claim{
      .claim = ++claims_, .shape = static_cast<uint32_t>(random_.below(kShapes)), .time_ms = now_};
  if (joining_ > 0) {
    --joining_;
    claim.shape = 9;
    claim.group = groups_;
    return claim;
  }
  if (random_.below(3) == 0) claim.queue = 1 + static_cast<uint32_t>(random_.below(kQueues - 1));
  claim.priority = static_cast<int32_t>(random_.below(3));
  return claim;
}

Event RandomEvents::next() {
  now_ += static_cast<int64_t>(random_.below(40));
  switch (random_.below(20)) {
    case 0:
      return random_.below(10) == 0 ? of_node() : Event(Timer{now_});
    case 1:
      return Timer{now_};
    case 2:
      if (joining_ > 0 || random_.below(8) != 0)
        return Resize{some_claim(), static_cast<uint32_t>(random_.below(kShapes)), now_};
      joining_ = 2 + static_cast<uint32_t>(random_.below(6));
      return GroupPut{++groups_,
                      {{9, 2, 8, Level::Cluster}},
                      static_cast<Level>(random_.below(4)),
                      Level::Node,
                      kNoNumber,
                      1,
                      now_};
    case 3:
      if (groups_ > 4) return GroupGone{groups_ - 1 - random_.below(4)};
      [[fallthrough]];
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
      return ClaimWithdrawn{some_claim(), now_};
    case 9:
    case 10:
    case 11:
    case 12:
    case 13:
      return bind();
    default:
      return submit();
  }
}

void RandomEvents::heed(const std::vector<ClaimDecision>& decisions) {
  for (const ClaimDecision& decision : decisions) {
    if (decision.verdict == Verdict::Placed) to_bind_.emplace_back(decision.claim, decision.reservation);
    if (decision.verdict == Verdict::Stop) to_stop_.push_back(decision.claim);
  }
}

}  // namespace tweendeck::bench
