// Machines and requests for the tests of this folder.
#pragma once

#include <string>

#include "placement/cluster/cluster.h"

namespace tweendeck::placement::fragmentation {

inline NodeFacts machine(const std::string& name, uint32_t devices, uint32_t cpu_milli,
                         const std::string& model = "G2", uint64_t device_memory = 0) {
  NodeFacts node;
  node.name = name;
  node.cpu_milli = cpu_milli;
  node.memory_bytes = 1ull << 40;
  for (uint32_t i = 0; i < devices; ++i) {
    DeviceFacts device;
    device.id = name + "/" + std::to_string(i);
    device.model = model;
    device.memory_bytes = device_memory;
    node.devices.push_back(device);
  }
  return node;
}

inline Request ask(uint32_t cpu_milli, uint32_t devices, uint32_t compute) {
  Request request;
  request.cpu_milli = cpu_milli;
  request.devices = devices;
  request.compute_permille = compute;
  return request;
}

// SplitMix64: the tests' source of chance.
class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed) {}
  uint32_t below(uint32_t bound) {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return static_cast<uint32_t>((z ^ (z >> 31)) % bound);
  }

 private:
  uint64_t state_;
};

}  // namespace tweendeck::placement::fragmentation
