// The fields of each thing in an event log, once for both directions: `words` is a WordWriter or a WordReader. Private to
// event_log.cc and event_parse.cc.
#pragma once

#include "placement/event_words.h"
#include "placement/events.h"

namespace tweendeck::placement {

inline constexpr std::string_view kIsolation[] = {"none", "library", "driver", "kernel", "hardware"};
inline constexpr std::string_view kNear[] = {"anywhere", "numa", "pcie", "island"};
inline constexpr std::string_view kPrefer[] = {"default", "pack", "spread", "mutex"};
inline constexpr std::string_view kApart[] = {"no", "preferred", "required"};
inline constexpr std::string_view kLevel[] = {"cluster", "block", "rack", "node", "island"};
inline constexpr std::string_view kOp[] = {"in", "not-in", "exists", "absent", "at-least", "at-most"};

template <class Words, class T>
void partition_fields(Words& words, T& profile) {
  words.text("name", profile.name);
  words.number("memory", profile.memory_bytes, 0);
  words.number("compute", profile.compute_permille, 0);
  words.number("slots", profile.slots, 1);
  words.number("starts", profile.starts, 0);
}

template <class Words, class T>
void device_fields(Words& words, T& device) {
  words.text("id", device.id);
  words.text("vendor", device.vendor);
  words.text("model", device.model);
  words.number("memory", device.memory_bytes, 0);
  words.choice("isolation", device.isolation, Isolation::Library, kIsolation);
  words.flag("healthy", device.healthy, true);
  words.flag("cordoned", device.cordoned, false);
  words.number("numa", device.numa_node, -1);
  words.number("pcie", device.pcie_root, -1);
  words.number("island", device.link_island, -1);
  words.number("max-claims", device.max_claims, 1000);
  words.attributes(device.attributes);
}

template <class Words, class T>
void node_fields(Words& words, T& node) {
  words.text("name", node.name);
  words.number("cpu", node.cpu_milli, 0);
  words.number("memory", node.memory_bytes, 0);
  words.flag("cordoned", node.cordoned, false);
  words.text("rack", node.rack);
  words.text("block", node.block);
  words.attributes(node.attributes);
}

template <class Words, class T>
void condition_fields(Words& words, T& condition) {
  words.text("name", condition.name);
  words.choice("op", condition.op, Condition::Op::In, kOp);
  words.list("value", condition.values);
}

template <class Words, class T>
void shape_fields(Words& words, T& event) {
  auto& request = event.request;
  words.number("number", event.shape, 0);
  words.number("cpu", request.cpu_milli, 0);
  words.number("node-memory", request.node_memory_bytes, 0);
  words.number("devices", request.devices, 0);
  words.number("memory", request.memory_bytes, 0);
  words.number("percent", request.memory_percent, 0);
  words.number("compute", request.compute_permille, 0);
  words.flag("exclusive", request.exclusive, false);
  words.text("partition", request.partition);
  words.list("model", request.models);
  words.list("id", request.device_ids);
  words.text("vendor", request.vendor);
  words.choice("isolation", request.min_isolation, Isolation::None, kIsolation);
  words.choice("near", request.near, Near::Anywhere, kNear);
  words.flag("near-required", request.near_required, true);
  words.choice("prefer", request.prefer, Prefer::Default, kPrefer);
}

template <class Words, class T>
void rule_fields(Words& words, T& rule) {
  words.text("resource", rule.resource);
  words.number("guaranteed", rule.guaranteed, 0);
  words.number("limit", rule.limit, kUnlimited);
}

template <class Words, class T>
void queue_fields(Words& words, T& event) {
  words.number("number", event.queue, 0);
  words.text("name", event.spec.name);
  words.text("parent", event.spec.parent);
  words.number("weight", event.spec.weight, 1);
}

template <class Words, class T>
void role_fields(Words& words, T& role) {
  words.number("shape", role.shape, 0);
  words.number("min", role.min, 1);
  words.number("max", role.max, 1);
  words.choice("within", role.within, Level::Cluster, kLevel);
}

template <class Words, class T>
void group_fields(Words& words, T& event) {
  words.number("group", event.group, 0);
  words.choice("required", event.required, Level::Cluster, kLevel);
  words.choice("preferred", event.preferred, Level::Cluster, kLevel);
  words.number("queue", event.queue, kNoNumber);
  words.number("priority", event.priority, 0);
  words.number("time", event.time_ms, 0);
  words.number("namespace", event.space, kNoNumber);
}

template <class Words, class T>
void submit_fields(Words& words, T& event) {
  words.number("claim", event.claim, 0);
  words.number("shape", event.shape, 0);
  words.number("queue", event.queue, kNoNumber);
  words.number("priority", event.priority, 0);
  words.number("time", event.time_ms, 0);
  words.number("group", event.group, 0);
  words.number("role", event.role, 0);
  words.number("namespace", event.space, kNoNumber);
  words.number("weights", event.weights, kNoNumber);
  words.number("budget", event.budget, 0);
  words.number("min-runtime", event.min_runtime_ms, 0);
  words.flag("preemptible", event.preemptible, true);
  words.number("family", event.family, 0);
  words.choice("apart", event.apart, Apart::No, kApart);
}

template <class Words, class T>
void adopt_fields(Words& words, T& event) {
  submit_fields(words, event.claim);
  words.text("node", event.node);
}

template <class Words, class T>
void adopted_device_fields(Words& words, T& device) {
  words.text("id", device.id);
  words.number("start", device.start, 0);
}

template <class Words, class T>
void withdraw_fields(Words& words, T& event) {
  words.number("claim", event.claim, 0);
  words.number("time", event.time_ms, 0);
}

template <class Words, class T>
void bind_fields(Words& words, T& event) {
  words.number("claim", event.claim, 0);
  words.number("reservation", event.reservation, 0);
  words.number("time", event.time_ms, 0);
}

template <class Words, class T>
void resize_fields(Words& words, T& event) {
  words.number("claim", event.claim, 0);
  words.number("shape", event.shape, 0);
  words.number("time", event.time_ms, 0);
}

template <class Words, class T>
void namespace_fields(Words& words, T& event) {
  words.number("number", event.space, 0);
  words.text("name", event.name);
}

// A pair of ResourceQuota's `hard`.
template <class Words, class T>
void hard_fields(Words& words, T& pair) {
  words.text("key", pair.first);
  words.text("value", pair.second);
}

template <class Words, class T>
void budget_fields(Words& words, T& event) {
  words.number("number", event.budget, 0);
  words.number("min-available", event.min_available, 0);
  words.number("max-unavailable", event.max_unavailable, kNoNumber);
}

template <class Words, class T>
void weights_fields(Words& words, T& event) {
  words.text("node", event.node);
  words.number("number", event.weights, 0);
  words.number("permille", event.permille, 1000);
}

}  // namespace tweendeck::placement
