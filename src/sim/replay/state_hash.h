// A hash of node states for the caches of the replay. Pure; no order of any result depends on it.
#pragma once

#include <bit>
#include <cstring>

#include "sim/replay/node_state.h"

namespace tweendeck::sim {

struct StateHash {
  size_t operator()(const NodeState& node) const {
    static_assert(sizeof(node.rest) == 16);
    uint64_t rests[2];
    std::memcpy(rests, node.rest.data(), sizeof rests);
    uint64_t hash = static_cast<uint64_t>(node.cpu_milli) << 24 | static_cast<uint64_t>(node.model) << 16 |
                    static_cast<uint64_t>(node.gpus) << 8 | node.classes;
    for (uint64_t word : rests) hash = (std::rotl(hash, 29) ^ word) * 0x9E3779B97F4A7C15ull;
    return hash ^ hash >> 32;
  }
};

}  // namespace tweendeck::sim
