#include "placement/machine_book.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "placement/cluster/broken.h"

namespace tweendeck::placement {
namespace {

constexpr uint32_t kPermillePerPercent = kWholeCompute / 100;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_letter(char a, char b) {
  return lower(a) == lower(b);
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) { return lower(c); });
  return text;
}

NodeFacts facts_of(const Device& device) {
  DeviceFacts facts;
  facts.id = device.id;
  facts.vendor = lower(device.vendor);
  facts.model = device.model;
  facts.memory_bytes = device.memory_bytes;
  facts.isolation = device.isolation;
  facts.healthy = device.healthy;
  facts.numa_node = device.numa_node;
  facts.max_claims = UINT16_MAX;
  NodeFacts node;
  node.name = device.id;
  node.devices.push_back(std::move(facts));
  return node;
}

void put(Cluster& cluster, const NodeFacts& facts) {
  if (!cluster.put_node(facts)) broken("a device of this machine was not taken into the book");
}

// The device is put as large and healthy first, so that all it holds can be booked, whatever became of it.
void put_open(Cluster& cluster, const Device& device, const Snapshot& snapshot) {
  NodeFacts open = facts_of(device);
  DeviceFacts& facts = open.devices.front();
  uint64_t held = 0;
  for (const Slice& slice : snapshot.slices) {
    if (slice.device_id == device.id) held += slice.share.memory_bytes;
  }
  facts.memory_bytes = std::max(facts.memory_bytes, held);
  facts.healthy = true;
  put(cluster, open);
}

std::optional<Holder::Held> take(Cluster& cluster, const Slice& slice) {
  const NodeIndex node = cluster.find_node(slice.device_id);
  if (node == kNoNode) return std::nullopt;
  Request request;
  request.devices = 1;
  request.memory_bytes = slice.share.memory_bytes;
  request.compute_permille = std::min<uint32_t>(cluster.nodes()[node].compute_free[0],
                                                slice.share.compute_percent * kPermillePerPercent);
  if (request.memory_bytes == 0 && request.compute_permille == 0) return std::nullopt;
  const Result<ShapeId> shape = cluster.shape_id(request);
  if (!shape) broken("a slice of this machine was not taken into the book");
  const Holder::Held held{cluster.spot(node, 1, *shape), *shape};
  cluster.take(held.spot, held.shape);
  return held;
}

// Values that the claim accepts; where none of the machine's is one, the wish itself, so that nothing fits.
template <class Accepts>
std::vector<std::string> accepted(const Snapshot& snapshot, std::string Device::* value,
                                  const Accepts& accepts, const std::string& wish) {
  std::vector<std::string> list;
  for (const Device& device : snapshot.devices) {
    if (accepts(device)) list.push_back(device.*value);
  }
  if (list.empty()) list.push_back(wish);
  return list;
}

}  // namespace

MachineBook book_of(const Snapshot& snapshot) {
  MachineBook book;
  for (const Device& device : snapshot.devices) put_open(book.cluster, device, snapshot);
  for (const Slice& slice : snapshot.slices) book.held.push_back(take(book.cluster, slice));
  for (const Device& device : snapshot.devices) put(book.cluster, facts_of(device));
  return book;
}

Request request_of(const Snapshot& snapshot, const Claim& claim) {
  Request request;
  request.devices = 1;
  request.memory_bytes = std::min(claim.share.memory_bytes, kMaxMemoryBytes);
  request.compute_permille = std::min(claim.share.compute_percent, 100u) * kPermillePerPercent;
  request.min_isolation = claim.min_isolation;
  request.prefer = claim.spread == Spread::Pack ? Prefer::Pack : Prefer::Spread;
  request.vendor = lower(claim.vendor);
  if (!claim.device_ids.empty()) {
    const auto named = [&](const Device& device) {
      return std::ranges::any_of(claim.device_ids, [&](const std::string& name) {
        return name == device.id || name == device.provider;
      });
    };
    request.device_ids = accepted(snapshot, &Device::id, named, claim.device_ids.front());
  }
  if (!claim.model.empty()) {
    const auto of_model = [&](const Device& device) {
      return !std::ranges::search(device.model, claim.model, same_letter).empty();
    };
    request.models = accepted(snapshot, &Device::model, of_model, claim.model);
  }
  return request;
}

}  // namespace tweendeck::placement
