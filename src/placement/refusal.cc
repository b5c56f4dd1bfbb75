#include "placement/refusal.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "placement/machine_facts.h"
#include "placement/why/judge.h"

namespace tweendeck::placement {
namespace {

// The claim on the book; devices by index, each a range of one node.
struct Asked {
  const std::vector<Device>& devices;
  const MachineClaim& claim;
  Cluster& book;
  ShapeId shape = 0;
  std::vector<uint32_t> own_slices;  // of the claim's deployment, by device
  std::vector<Range> ranges;         // how many slices of the claim each device may take at most
  std::vector<int32_t> device_at;    // by node; -1 = none that is there
};

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

Filled fill(const Asked& claim, size_t device) {
  Cluster& cluster = claim.book;
  const auto [node, limit] = claim.ranges[device];
  Filled filled;
  filled.slots = cluster.slots(node, claim.shape, std::min(limit, claim.claim.count));
  for (uint32_t i = 0; i < filled.slots; ++i) cluster.take(cluster.spot(node, 1, claim.shape), claim.shape);
  const Judgement judgement = judge(cluster, node, claim.shape);
  filled.reason = judgement.reason;
  filled.shortfall = judgement.nearness.shortfall;
  filled.lack = judgement.lacks[0];
  const uint32_t compute = claim.claim.share.compute_percent;
  const uint32_t beyond = compute > 100 ? (std::min(compute, 1000u) - 100) * kPermillePerPercent : 0;
  if (beyond > 0 && !out_of_question(filled.reason)) {
    filled.reason = Reason::ComputeExceedsDevice;
    filled.shortfall = beyond;
    filled.lack = {0, filled.reason, 0, 0};
  } else if (claim.claim.distinct_devices && claim.own_slices[device] + filled.slots > 0 &&
             !out_of_question(filled.reason)) {
    filled.reason = Reason::DeviceAlreadyUsed;
    filled.shortfall = 0;
    filled.lack = {};
  }
  if (beyond > 0 && about_room(filled.reason)) filled.lack.compute_permille += beyond;
  return filled;
}

// Everybody who holds something where the claim could go, except the claim's own deployment.
std::vector<Holder> stoppable(const Asked& claim, const std::vector<HeldSlice>& held,
                              const std::vector<Filled>& filled) {
  std::map<std::string_view, Holder> holders;
  for (const HeldSlice& each : held) {
    const Slice& slice = *each.slice;
    const int32_t device = claim.device_at[each.held.spot.node];
    const bool own = !claim.claim.name.empty() && slice.deployment == claim.claim.name;
    if (device < 0 || each.held.spot.devices == 0 || slice.owner.empty() || own) continue;
    if (out_of_question(filled[static_cast<size_t>(device)].reason)) continue;
    Holder& holder = holders.try_emplace(slice.owner, Holder{slice.owner, INT32_MIN, {}}).first->second;
    holder.priority = std::max(holder.priority, slice.share.priority);
    holder.held.push_back(each.held);
  }
  std::vector<Holder> list;
  for (auto& [name, holder] : holders) list.push_back(std::move(holder));
  return list;
}

std::optional<Share> largest_fit(const NodeState& node, const MachineClaim& claim) {
  const uint32_t percent = node.compute_free[0] / kPermillePerPercent;
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

NearestMiss nearest_miss(const Asked& claim, const std::vector<HeldSlice>& held,
                         const std::vector<Filled>& filled) {
  const EndSet ends =
      fewest_ends(claim.book, claim.shape, claim.claim.count, claim.ranges, stoppable(claim, held, filled));
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
  miss.device_id = claim.devices[nearest].id;
  miss.reason = there.reason;
  if (about_room(there.reason)) {
    miss.lacks_memory_bytes = there.lack.memory_bytes;
    miss.lacks_compute_percent = there.lack.compute_permille / kPermillePerPercent;
    miss.largest_fit = largest_fit(claim.book.nodes()[claim.ranges[nearest].node], claim.claim);
  }
  miss.stop_owners = ends.names;
  miss.stop_is_fewest = ends.fewest;
  miss.detail = detail(claim.devices[nearest], miss.reason);
  return miss;
}

Asked ask(Cluster& book, const std::vector<Device>& devices, const std::vector<HeldSlice>& held,
          const MachineClaim& claim, ShapeId shape) {
  Asked asked{devices, claim, book, shape, std::vector<uint32_t>(devices.size()), {}, {}};
  asked.device_at.resize(book.nodes().size(), -1);
  for (size_t i = 0; i < devices.size(); ++i) {
    asked.ranges.push_back({book.find_node(devices[i].id), UINT32_MAX});
    asked.device_at[asked.ranges[i].node] = static_cast<int32_t>(i);
  }
  for (const HeldSlice& each : held) {
    const int32_t device = asked.device_at[each.held.spot.node];
    const bool own = !claim.name.empty() && each.slice->deployment == claim.name;
    if (device >= 0 && own) ++asked.own_slices[static_cast<size_t>(device)];
  }
  for (size_t i = 0; i < devices.size(); ++i) {
    if (claim.distinct_devices) asked.ranges[i].limit = asked.own_slices[i] > 0 ? 0 : 1;
    if (claim.share.compute_percent > 100) asked.ranges[i].limit = 0;
  }
  return asked;
}

Refusal refuse_all(Reason reason) {
  return {.fitting = 0, .reasons = {{reason, 0, {}}}, .nearest = {}};
}

}  // namespace

Refusal refuse(Cluster& book, const std::vector<Device>& devices, const std::vector<HeldSlice>& held,
               const MachineClaim& claim) {
  if (claim.count > kMaxClaimSlices) return refuse_all(Reason::LimitExceeded);
  // What is asked beyond all of a device's compute is told as what the device lacks.
  Request request = request_of(devices, claim);
  request.compute_permille = std::min(request.compute_permille, kWholeCompute);
  const Result<ShapeId> shape = book.shape_id(request);
  if (!shape) return refuse_all(shape.error().reason);
  if (devices.empty()) return refuse_all(Reason::NoDevices);
  const Asked asked = ask(book, devices, held, claim, *shape);
  Refusal refusal;
  refusal.fitting = total_slots(book, *shape, asked.ranges, claim.count);
  std::vector<Filled> filled;
  std::map<Reason, ReasonCount> counts;
  const Cluster::Mark mark = book.mark();
  for (size_t i = 0; i < devices.size(); ++i) {
    const Reason reason = filled.emplace_back(fill(asked, i)).reason;
    ReasonCount& count = counts.try_emplace(reason, ReasonCount{reason, 0, {}}).first->second;
    ++count.devices;
    count.device_ids.push_back(devices[i].id);
  }
  book.undo_to(mark);
  for (auto& [reason, count] : counts) refusal.reasons.push_back(std::move(count));
  std::ranges::sort(refusal.reasons, [](const ReasonCount& a, const ReasonCount& b) {
    return std::tie(b.devices, a.reason) < std::tie(a.devices, b.reason);
  });
  refusal.nearest = nearest_miss(asked, held, filled);
  return refusal;
}

}  // namespace tweendeck::placement
