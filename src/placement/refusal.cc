#include "placement/refusal.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "placement/why/judge.h"

namespace tweendeck::placement {
namespace {

// A device once it holds the slices of the claim that fit.
struct Filled {
  Reason reason = Reason::None;  // why it takes no more
  uint32_t slots = 0;            // that it took
  uint32_t shortfall = 0;
  DeviceLack lack;
};

bool out_of_question(Reason reason) {
  return distance(reason) > distance(Reason::DeviceHeld);
}

bool about_room(Reason reason) {
  switch (reason) {
    case Reason::InsufficientMemory:
    case Reason::InsufficientCompute:
    case Reason::MemoryExceedsDevice:
    case Reason::ComputeExceedsDevice:
      return true;
    default:
      return false;
  }
}

Filled fill(const MachineClaim& claim, NodeIndex node) {
  Cluster& cluster = claim.book.cluster;
  Filled filled;
  filled.slots = cluster.slots(node, claim.shape, std::min(claim.ranges[node].limit, claim.claim.count));
  for (uint32_t i = 0; i < filled.slots; ++i) cluster.take(cluster.spot(node, 1, claim.shape), claim.shape);
  const Judgement judgement = judge(cluster, node, claim.shape);
  filled.reason = judgement.reason;
  filled.shortfall = judgement.nearness.shortfall;
  filled.lack = judgement.lacks[0];
  const uint32_t compute = claim.claim.share.compute_percent;
  const uint32_t beyond = compute > 100 ? (compute - 100) * (kWholeCompute / 100) : 0;
  if (beyond > 0 && !out_of_question(filled.reason)) {
    filled.reason = Reason::ComputeExceedsDevice;
    filled.shortfall = beyond;
    filled.lack = {0, filled.reason, 0, 0};
  } else if (claim.claim.distinct_devices && claim.own_slices[node] + filled.slots > 0 &&
             !out_of_question(filled.reason)) {
    filled.reason = Reason::DeviceAlreadyUsed;
    filled.shortfall = 0;
    filled.lack = {};
  }
  if (beyond > 0 && about_room(filled.reason)) filled.lack.compute_permille += beyond;
  return filled;
}

// Everybody who holds something where the claim could go, except the claim's own deployment.
std::vector<Holder> stoppable(const MachineClaim& claim, const std::vector<Filled>& filled) {
  std::map<std::string_view, Holder> holders;
  for (size_t i = 0; i < claim.snapshot.slices.size(); ++i) {
    const Slice& slice = claim.snapshot.slices[i];
    const std::optional<Holder::Held>& held = claim.book.held[i];
    const bool own = !claim.claim.name.empty() && slice.deployment == claim.claim.name;
    if (!held || slice.owner.empty() || own || out_of_question(filled[held->spot.node].reason)) continue;
    Holder& holder = holders.try_emplace(slice.owner, Holder{slice.owner, INT32_MIN, {}}).first->second;
    holder.priority = std::max(holder.priority, slice.share.priority);
    holder.held.push_back(*held);
  }
  std::vector<Holder> list;
  for (auto& [name, holder] : holders) list.push_back(std::move(holder));
  return list;
}

std::optional<Share> largest_fit(const NodeState& node, const Claim& claim) {
  const uint32_t percent = node.compute_free[0] / (kWholeCompute / 100);
  if (node.memory_free[0] <= 0 || percent == 0) return std::nullopt;
  Share share;
  share.memory_bytes = static_cast<uint64_t>(node.memory_free[0]);
  share.compute_percent = percent;
  share.priority = claim.share.priority;
  return share;
}

std::string detail(const Device& device, Reason reason) {
  switch (reason) {
    case Reason::IsolationTooWeak: {
      std::string text = "isolates by '" + std::string(to_string(device.isolation)) + "'";
      if (device.isolation_reason != Reason::None) {
        text += ", " + std::string(to_string(device.isolation_reason));
      }
      return text;
    }
    case Reason::DeviceUnhealthy:
      return "reports " + std::string(to_string(device.health_reason));
    case Reason::ModelMismatch:
      return "is a '" + device.model + "'";
    case Reason::VendorMismatch:
      return "is from '" + device.vendor + "'";
    case Reason::DeviceAlreadyUsed:
      return "has a slice of it already";
    default:
      return {};
  }
}

NearestMiss nearest_miss(const MachineClaim& claim, const std::vector<Filled>& filled) {
  const EndSet ends =
      fewest_ends(claim.book.cluster, claim.shape, claim.claim.count, claim.ranges, stoppable(claim, filled));
  const auto rank = [&](size_t i) {
    const bool gains = !ends.names.empty() && ends.slots[i] > filled[i].slots;
    return std::make_tuple(!gains, distance(filled[i].reason), filled[i].shortfall);
  };
  size_t nearest = 0;
  for (size_t i = 1; i < filled.size(); ++i) {
    if (rank(i) < rank(nearest)) nearest = i;
  }
  const Filled& there = filled[nearest];
  NearestMiss miss;
  miss.device_id = claim.snapshot.devices[nearest].id;
  miss.reason = there.reason;
  if (about_room(there.reason)) {
    miss.lacks_memory_bytes = there.lack.memory_bytes;
    miss.lacks_compute_percent = there.lack.compute_permille / (kWholeCompute / 100);
    miss.largest_fit = largest_fit(claim.book.cluster.nodes()[nearest], claim.claim);
  }
  miss.stop_owners = ends.names;
  miss.stop_is_fewest = ends.fewest;
  miss.detail = detail(claim.snapshot.devices[nearest], miss.reason);
  return miss;
}

}  // namespace

MachineClaim machine_claim(const Snapshot& snapshot, const Claim& claim, MachineBook& book, ShapeId shape) {
  MachineClaim asked{snapshot, claim, book, shape, std::vector<uint32_t>(snapshot.devices.size()), {}};
  for (const Slice& slice : snapshot.slices) {
    const NodeIndex node = book.cluster.find_node(slice.device_id);
    if (node != kNoNode && !claim.name.empty() && slice.deployment == claim.name) ++asked.own_slices[node];
  }
  for (NodeIndex node = 0; node < snapshot.devices.size(); ++node) {
    uint32_t limit = UINT32_MAX;
    if (claim.distinct_devices) limit = asked.own_slices[node] > 0 ? 0 : 1;
    if (claim.share.compute_percent > 100) limit = 0;
    asked.ranges.push_back({node, limit});
  }
  return asked;
}

Refusal refuse(MachineClaim& claim, uint32_t fitting) {
  Refusal refusal;
  refusal.fitting = fitting;
  if (claim.snapshot.devices.empty()) {
    refusal.reasons.push_back({Reason::NoDevices, 0, {}});
    return refusal;
  }
  std::vector<Filled> filled;
  std::map<Reason, ReasonCount> counts;
  const Cluster::Mark mark = claim.book.cluster.mark();
  for (NodeIndex node = 0; node < claim.ranges.size(); ++node) {
    const Reason reason = filled.emplace_back(fill(claim, node)).reason;
    ReasonCount& count = counts.try_emplace(reason, ReasonCount{reason, 0, {}}).first->second;
    ++count.devices;
    count.device_ids.push_back(claim.snapshot.devices[node].id);
  }
  claim.book.cluster.undo_to(mark);
  for (auto& [reason, count] : counts) refusal.reasons.push_back(std::move(count));
  std::ranges::sort(refusal.reasons, [](const ReasonCount& a, const ReasonCount& b) {
    return std::tie(b.devices, a.reason) < std::tie(a.devices, b.reason);
  });
  refusal.nearest = nearest_miss(claim, filled);
  return refusal;
}

}  // namespace tweendeck::placement
