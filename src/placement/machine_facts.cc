#include "placement/machine_facts.h"

#include <algorithm>
#include <string_view>

namespace tweendeck::placement {
namespace {

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

// More than the whole stays more than the whole, without overflow.
uint32_t permille(uint32_t percent) {
  return std::min(percent, 1000u) * kPermillePerPercent;
}

// Values that the claim accepts; where none of the machine's is one, the wish itself, so that nothing fits.
template <class Accepts>
std::vector<std::string> accepted(const std::vector<Device>& devices, std::string Device::* value,
                                  const Accepts& accepts, const std::string& wish) {
  std::vector<std::string> list;
  for (const Device& device : devices) {
    if (accepts(device)) list.push_back(device.*value);
  }
  if (list.empty()) list.push_back(wish);
  return list;
}

}  // namespace

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

Request request_of(const std::vector<Device>& devices, const MachineClaim& claim) {
  Request request;
  request.devices = 1;
  request.memory_bytes = std::min(claim.share.memory_bytes, kMaxMemoryBytes);
  request.compute_permille = permille(claim.share.compute_percent);
  request.min_isolation = claim.min_isolation;
  request.prefer = claim.spread == Spread::Pack ? Prefer::Pack : Prefer::Spread;
  request.vendor = lower(claim.vendor);
  if (!claim.device_ids.empty()) {
    const auto named = [&](const Device& device) {
      return std::ranges::any_of(claim.device_ids, [&](const std::string& name) {
        return name == device.id || name == device.provider;
      });
    };
    request.device_ids = accepted(devices, &Device::id, named, claim.device_ids.front());
  }
  if (!claim.model.empty()) {
    const auto of_model = [&](const Device& device) {
      return !std::ranges::search(device.model, claim.model, same_letter).empty();
    };
    request.models = accepted(devices, &Device::model, of_model, claim.model);
  }
  return request;
}

Request request_of(const Share& share) {
  Request request;
  request.memory_bytes = std::min(share.memory_bytes, kMaxMemoryBytes);
  request.compute_permille = permille(share.compute_percent);
  request.devices = request.memory_bytes > 0 || request.compute_permille > 0 ? 1 : 0;
  return request;
}

}  // namespace tweendeck::placement
