#include "placement/machine.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "placement/cluster/broken.h"
#include "placement/event_log.h"
#include "placement/machine_facts.h"
#include "placement/policy/make_policy.h"

namespace tweendeck::placement {
namespace {

// The claims of a machine all say how they want to be put, so what the policy does with others does not matter.
std::unique_ptr<Engine> make_engine() {
  Result<std::unique_ptr<Policy>> policy = make_policy({.name = "spread", .weights = {}});
  if (!policy) broken("a policy of the machine is gone");
  return std::make_unique<Engine>(std::move(*policy));
}

Apart apart_of(const MachineClaim& claim) {
  if (claim.distinct_devices) return Apart::Required;
  return claim.spread == Spread::Spread ? Apart::Preferred : Apart::No;
}

// As the engine sees it.
bool same_place(const Slice& a, const Slice& b) {
  return a.device_id == b.device_id && a.deployment == b.deployment &&
         a.share.memory_bytes == b.share.memory_bytes && a.share.compute_percent == b.share.compute_percent;
}

}  // namespace

Machine::Machine() : engine_(make_engine()) {}

std::vector<ClaimDecision> Machine::send(const Event& event) {
  std::vector<ClaimDecision> decisions;
  if (const Status applied = engine_->apply(event, decisions); !applied) {
    broken("the engine did not take an event of this machine");
  }
  return decisions;
}

// Errors: InvalidArgument when no device could hold it.
Result<uint32_t> Machine::shape_number(const Request& request) {
  const std::string text = to_line(ShapeDefined{0, request});
  if (const auto known = shapes_.find(text); known != shapes_.end()) return known->second;
  const auto number = static_cast<uint32_t>(shapes_.size());
  std::vector<ClaimDecision> none;
  if (Status defined = engine_->apply(ShapeDefined{number, request}, none); !defined)
    return fail(defined.error());
  shapes_.emplace(text, number);
  return number;
}

// ---------------------------------------------------------------- what there is

void Machine::observe(const std::vector<Device>& devices, const std::vector<Slice>& slices) {
  std::map<std::string, const Slice*> now;
  for (const Slice& slice : slices) now.emplace(slice.id, &slice);
  std::erase_if(held_, [&](const auto& entry) {
    const Held& held = entry.second;
    const auto it = now.find(entry.first);
    const bool same = it != now.end() && held.reservation == 0 && same_place(held.slice, *it->second);
    if (!same) withdraw(held);
    return !same;
  });
  devices_ = devices;
  observe_devices(devices);
  if (squeezed_ || shapes_.size() > kMaxMachineShapes || !in_order()) start_anew();
  for (const Slice& slice : slices) {
    Held& held = held_[slice.id];
    held.slice = slice;
    if (held.claim == 0) adopt(held);
  }
}

void Machine::observe_devices(const std::vector<Device>& devices) {
  std::map<std::string, NodeFacts> now;
  for (const Device& device : devices) {
    NodeFacts facts = facts_of(device);
    const auto known = known_.find(device.id);
    if (known == known_.end()) {
      send(NodePut{facts});
    } else if (known->second != facts) {
      NodeFacts turned = known->second;
      turned.devices[0].healthy = facts.devices[0].healthy;
      if (turned == facts) {
        send(DeviceHealth{device.id, facts.devices[0].healthy});
      } else {
        send(NodePut{facts});
      }
    }
    now.emplace(device.id, std::move(facts));
  }
  for (const auto& [name, facts] : known_) {
    if (!now.contains(name)) send(NodeGone{name});
  }
  known_ = std::move(now);
}

// Whether nodes are in the order of the devices, which decides between equals.
bool Machine::in_order() const {
  NodeIndex last = 0;
  for (size_t i = 0; i < devices_.size(); ++i) {
    const NodeIndex node = engine_->cluster().find_node(devices_[i].id);
    if (i > 0 && node <= last) return false;
    last = node;
  }
  return true;
}

// The same as after a restart.
void Machine::start_anew() {
  engine_ = make_engine();
  known_.clear();
  shapes_.clear();
  squeezed_ = false;
  for (auto& [id, held] : held_) held.claim = 0;
  observe_devices(devices_);
  for (auto& [id, held] : held_) adopt(held);
}

void Machine::adopt(Held& held) {
  const NodeIndex node = node_of(held.slice);
  if (held.family == 0) held.family = family_of(held.slice.deployment);
  if (node == kNoNode) return;
  Request request = request_of(held.slice.share);
  const uint32_t free = engine_->cluster().nodes()[node].compute_free[0];
  if (request.compute_permille > free) {
    squeezed_ = true;
    request.compute_permille = free;
    request.devices = request.memory_bytes > 0 || free > 0 ? 1 : 0;
  }
  ClaimAdopted event;
  event.claim.claim = ++claims_;
  event.claim.shape = *shape_number(request);
  event.claim.priority = held.slice.share.priority;
  event.claim.family = held.family;
  event.node = held.slice.device_id;
  if (request.devices > 0) event.devices.push_back({held.slice.device_id, 0});
  if (send(event).back().verdict != Verdict::Bound) broken("a slice of this machine was not adopted");
  held.claim = claims_;
}

void Machine::withdraw(const Held& held) {
  if (held.claim != 0) send(ClaimWithdrawn{held.claim, 0});
}

// Slices of one deployment are of one family; without one each is by itself.
FamilyId Machine::family_of(const std::string& deployment) {
  if (!deployment.empty()) {
    for (const auto& [id, held] : held_) {
      if (held.family != 0 && held.slice.deployment == deployment) return held.family;
    }
  }
  return ++families_;
}

NodeIndex Machine::node_of(const Slice& slice) const {
  return engine_->cluster().find_node(slice.device_id);
}

// ---------------------------------------------------------------- claims

Decision Machine::place(const MachineClaim& claim, const std::vector<std::string>& slice_ids) {
  Decision decision;
  if (slice_ids.empty()) return decision;
  const Result<uint32_t> shape = shape_number(request_of(devices_, claim));
  const FamilyId family = family_of(claim.name);
  bool placed = shape.has_value() && slice_ids.size() <= kMaxClaimSlices;
  for (size_t i = 0; placed && i < slice_ids.size(); ++i) {
    placed = reserve(claim, *shape, family, slice_ids[i]);
    if (placed) decision.device_ids.push_back(held_.at(slice_ids[i]).slice.device_id);
  }
  if (placed) return decision;
  for (size_t i = 0; i < decision.device_ids.size(); ++i) give_back(slice_ids[i]);
  decision.device_ids.clear();
  Cluster book = engine_->cluster();
  decision.refusal = refuse(book, devices_, held_slices(), claim);
  return decision;
}

bool Machine::reserve(const MachineClaim& claim, uint32_t shape, FamilyId family,
                      const std::string& slice_id) {
  ClaimSubmitted event;
  event.claim = ++claims_;
  event.shape = shape;
  event.priority = claim.share.priority;
  event.family = family;
  event.apart = apart_of(claim);
  const ClaimDecision answer = send(event).back();
  if (answer.verdict != Verdict::Placed) {
    send(ClaimWithdrawn{event.claim, 0});
    return false;
  }
  Held held;
  held.slice.id = slice_id;
  held.slice.device_id = engine_->cluster().facts(answer.spot.node).name;
  held.slice.share = claim.share;
  held.slice.deployment = claim.name;
  held.claim = event.claim;
  held.reservation = answer.reservation;
  held.family = family;
  if (!held_.emplace(slice_id, std::move(held)).second) broken("a slice was placed that is held");
  return true;
}

void Machine::confirm(const std::string& slice_id) {
  Held& held = held_.at(slice_id);
  send(BindConfirmed{held.claim, held.reservation, 0});
  held.reservation = 0;
}

void Machine::give_back(const std::string& slice_id) {
  const Held& held = held_.at(slice_id);
  send(BindFailed{held.claim, held.reservation, 0});
  withdraw(held);
  held_.erase(slice_id);
}

std::vector<HeldSlice> Machine::held_slices() const {
  std::vector<HeldSlice> list;
  for (const auto& [id, held] : held_) {
    if (held.claim == 0) continue;
    const ClaimStatus status = *engine_->status(held.claim);
    list.push_back({&held.slice, {status.spot, status.shape}});
  }
  return list;
}

// ---------------------------------------------------------------- held slices

Status Machine::resize(const std::string& slice_id, const Share& wanted) {
  const auto found = held_.find(slice_id);
  if (found == held_.end()) return fail(Reason::NotFound, fmt::format("slice {} does not exist", slice_id));
  Held& held = found->second;
  if (held.claim == 0 || node_of(held.slice) == kNoNode) {
    return fail(Reason::NotFound,
                fmt::format("the device {} of slice {} is gone", held.slice.device_id, slice_id),
                "`tweendeck devices` lists what is there");
  }
  const Result<uint32_t> shape = shape_number(request_of(wanted));
  if (!shape) return fail(shape.error());
  if (send(Resize{held.claim, *shape, 0}).front().verdict != Verdict::Resized) {
    return fail(resize_problem(held.slice, wanted));
  }
  held.slice.share = wanted;
  return {};
}

// Why the engine had no room for it.
Error Machine::resize_problem(const Slice& slice, const Share& wanted) const {
  const NodeState& node = engine_->cluster().nodes()[node_of(slice)];
  const Share& held = slice.share;
  if (!engine_->cluster().facts(node_of(slice)).devices[0].healthy) {
    return {Reason::DeviceUnhealthy, fmt::format("{} reports a fault; nothing grows there", slice.device_id),
            "`tweendeck doctor` has the details"};
  }
  const auto free_memory = static_cast<uint64_t>(std::max<int64_t>(0, node.memory_free[0]));
  const uint32_t free_compute = node.compute_free[0] / kPermillePerPercent;
  const bool compute = wanted.compute_percent > held.compute_percent &&
                       wanted.compute_percent - held.compute_percent > free_compute;
  const bool memory = node.memory_free[0] < 0 || (wanted.memory_bytes > held.memory_bytes &&
                                                  wanted.memory_bytes - held.memory_bytes > free_memory);
  if (memory || !compute) {
    return {Reason::InsufficientMemory,
            fmt::format("slice {} holds {} of {} and wants {}; {} are free there", slice.id,
                        format_bytes(held.memory_bytes), slice.device_id, format_bytes(wanted.memory_bytes),
                        format_bytes(free_memory)),
            "shrink or stop another slice of the device"};
  }
  return {Reason::InsufficientCompute,
          fmt::format("slice {} holds {} % of {} and wants {} %; {} % are free there", slice.id,
                      held.compute_percent, slice.device_id, wanted.compute_percent, free_compute),
          "shrink or stop another slice of the device, or raise only the ceiling"};
}

Status Machine::holds(const std::string& slice_id) const {
  const Slice& slice = held_.at(slice_id).slice;
  const NodeIndex index = node_of(slice);
  if (index == kNoNode) {
    return fail(
        Reason::DeviceGone, "the device " + slice.device_id + " of slice " + slice.id + " is gone",
        "`tweendeck devices` lists what is there; stop the deployment and serve it again to place it anew");
  }
  const int64_t free = engine_->cluster().nodes()[index].memory_free[0];
  if (free >= 0) return {};
  const uint64_t memory = engine_->cluster().facts(index).devices[0].memory_bytes;
  return fail(Reason::DeviceGone,
              fmt::format("{} has {} now, its slices hold {}", slice.device_id, format_bytes(memory),
                          format_bytes(memory + static_cast<uint64_t>(-free))),
              "stop a deployment there");
}

}  // namespace tweendeck::placement
