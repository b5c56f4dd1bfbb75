// For tests: a decision about devices and slices as they are, which a new machine adopts first, as after a restart.
#pragma once

#include <string>
#include <vector>

#include "placement/machine.h"

namespace tweendeck::placement {

struct Snapshot {
  std::vector<Device> devices;
  std::vector<Slice> slices;  // those without an id get one
};

inline std::vector<std::string> new_ids(uint32_t count) {
  std::vector<std::string> ids;
  for (uint32_t i = 0; i < count; ++i) ids.push_back("new-" + std::to_string(i));
  return ids;
}

inline void observe(Machine& machine, Snapshot snapshot) {
  size_t number = 0;
  for (Slice& slice : snapshot.slices) {
    if (slice.id.empty()) slice.id = "held-" + std::to_string(number++);
  }
  machine.observe(snapshot.devices, snapshot.slices);
}

inline Decision place(const Snapshot& snapshot, const MachineClaim& claim) {
  Machine machine;
  observe(machine, snapshot);
  return machine.place(claim, new_ids(claim.count));
}

}  // namespace tweendeck::placement
