// Events in: what the cluster, shapes and queues are told. What happens to claims is in lifecycle.cc.
#include "placement/engine.h"

#include <algorithm>

namespace tweendeck::placement {

Engine::Engine(std::unique_ptr<Policy> policy, const EngineSettings& settings)
    : policy_(std::move(policy)), settings_(settings) {}

Status Engine::apply(const Event& event, std::vector<ClaimDecision>& out) {
  out_ = &out;
  searches_left_ = settings_.victim_searches_per_event;
  const Status status = std::visit([this](const auto& e) { return on(e); }, event);
  if (groups_ready_ || !waiting_.ready().empty()) retry();
  return status;
}

void Engine::at(int64_t time_ms) {
  time_ms = std::min(time_ms, kMaxTimeMs);
  if (time_ms <= now_ms_) return;
  now_ms_ = time_ms;
  queues_.set_now(now_ms_);
}

void Engine::grown(NodeIndex node) {
  waiting_.node_grew(cluster_, node);
  groups_may_go_on(node);
}

// What queues share: all devices of the nodes that are there, healthy or not, so that a fault moves no quota.
void Engine::set_capacity() {
  Amounts capacity{};
  for (const NodeType& type : cluster_.types()) {
    for (const DeviceFacts& device : type.facts.devices) {
      capacity[kDevices] += type.nodes;
      capacity[kMemory] += static_cast<int64_t>(type.nodes * device.memory_bytes);
      capacity[kCompute] += int64_t{type.nodes} * kWholeCompute;
      if (const int model = queues_.find_model(device.model); model >= 0) {
        capacity[static_cast<size_t>(model)] += type.nodes;
      }
    }
  }
  queues_.set_capacity(capacity, now_ms_);
  quota_changed();
  victims_changed_ = true;  // fair shares moved
}

Status Engine::on(const NodePut& event) {
  const Result<NodeIndex> node = cluster_.put_node(event.facts);
  if (!node) return fail(node.error());
  set_capacity();
  drop_unusable_reservations(*node);
  grown(*node);
  return {};
}

Status Engine::on(const NodeGone& event) {
  const NodeIndex node = cluster_.find_node(event.node);
  if (Status ok = cluster_.remove_node(event.node); !ok) return ok;
  residency_.forget(node);
  set_capacity();
  drop_unusable_reservations(node);
  return {};
}

Status Engine::on(const WeightsOnNode& event) {
  const NodeIndex node = cluster_.find_node(event.node);
  if (node == kNoNode) {
    return fail(Reason::NotFound, "there is no node '" + event.node + "' for weights to be on");
  }
  return residency_.set(event.weights, node, event.permille);
}

Status Engine::on(const NodeCordon& event) {
  if (Status ok = cluster_.set_cordon(event.node, event.cordoned); !ok) return ok;
  grown(cluster_.find_node(event.node));
  return {};
}

Status Engine::on(const DeviceHealth& event) {
  if (Status ok = cluster_.set_device_health(event.device, event.healthy); !ok) return ok;
  const NodeIndex node = cluster_.find_device(event.device)->first;
  drop_unusable_reservations(node);
  grown(node);
  return {};
}

Status Engine::on(const DeviceCordon& event) {
  if (Status ok = cluster_.set_device_cordon(event.device, event.cordoned); !ok) return ok;
  grown(cluster_.find_device(event.device)->first);
  return {};
}

Status Engine::on(const ShapeDefined& event) {
  if (event.shape >= kMaxNumber) {
    return fail(Reason::LimitExceeded, "shape number " + std::to_string(event.shape) + " is too large",
                "number shapes from 0 to " + std::to_string(kMaxNumber - 1));
  }
  const Result<ShapeId> shape = cluster_.shape_id(event.request);
  if (!shape) return fail(shape.error());
  if (event.shape >= shape_numbers_.size()) shape_numbers_.resize(event.shape + 1, kNoNumber);
  ShapeId& known = shape_numbers_[event.shape];
  if (known != kNoNumber && known != *shape) {
    return fail(Reason::AlreadyExists,
                "shape " + std::to_string(event.shape) + " has another meaning already",
                "give the new request a new number");
  }
  known = *shape;
  return {};
}

Status Engine::on(const QueuePut& event) {
  if (event.queue >= kMaxNumber) {
    return fail(Reason::LimitExceeded, "queue number " + std::to_string(event.queue) + " is too large",
                "number queues from 0 to " + std::to_string(kMaxNumber - 1));
  }
  if (event.queue < queue_numbers_.size() && queue_numbers_[event.queue] != kNoQueue &&
      queues_.spec(queue_numbers_[event.queue]).name != event.spec.name) {
    return fail(Reason::AlreadyExists, "queue " + std::to_string(event.queue) + " has another name already",
                "give the new queue a new number");
  }
  const size_t resources = queues_.resources();
  const Result<QueueId> queue = queues_.put(event.spec);
  if (queues_.resources() != resources) recount_models();
  if (!queue) return fail(queue.error());
  if (event.queue >= queue_numbers_.size()) queue_numbers_.resize(event.queue + 1, kNoQueue);
  queue_numbers_[event.queue] = *queue;
  set_capacity();
  return {};
}

std::optional<ShapeId> Engine::shape(uint32_t number) const {
  if (number >= shape_numbers_.size() || shape_numbers_[number] == kNoNumber) return std::nullopt;
  return shape_numbers_[number];
}

std::optional<ClaimStatus> Engine::status(ClaimId id) const {
  const ClaimSlot slot = claims_.find(id);
  if (slot == kNoSlot || claims_[slot].state == ClaimState::Ended) return std::nullopt;
  const Claim& claim = claims_[slot];
  ClaimStatus status{claim.state, claim.shape, claim.reason, claim.submitted_ms, claim.tried_ms, claim.spot};
  if (claim.state == ClaimState::Pending && claim.group != Groups::kNone && !claim.promised) {
    const Group& group = groups_[claim.group];
    const bool due = group.ready && group.rest_until_ms <= now_ms_;
    status.reason = !group.started && !group.gathered() ? Reason::GangIncomplete
                    : due                               ? Reason::SearchBudgetExhausted
                                                        : group.reasons[claim.role];
    status.tried_ms = group.tried_ms;
  } else if (claim.state == ClaimState::Pending && !claim.resting && !claim.promised) {
    const PendingClass& c = waiting_[claim.pending_class];
    status.reason = c.bar == PendingClass::Bar::Ready ? Reason::SearchBudgetExhausted : c.reason;
    status.tried_ms = c.tried_ms;
  }
  return status;
}

std::vector<ScoreTerm> Engine::terms(ClaimId id) {
  const std::optional<ClaimStatus> claim = status(id);
  if (!claim || claim->state == ClaimState::Pending) return {};
  return policy_->terms(cluster_, claim->shape, claim->spot);
}

uint64_t Engine::hash() const {
  uint64_t hash = cluster_.hash();
  for (const uint64_t value :
       {digest_, static_cast<uint64_t>(now_ms_), reservations_, submitted_, uint64_t{pending_count_},
        uint64_t{reserved_.size()}, uint64_t{bound_count_}}) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
    hash ^= hash >> 29;
  }
  return hash;
}

}  // namespace tweendeck::placement
