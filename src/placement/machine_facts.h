// A machine's devices, slices and claims in the words of the cluster's book. Pure.
#pragma once

#include <vector>

#include "placement/cluster/facts.h"

namespace tweendeck::placement {

using MachineClaim = tweendeck::Claim;  // a request for slices; the engine's own Claim is its record of one

// A device as a node of its own, of the same name, with that one device: the slices of a claim are claims of one device
// each, several of which may share a device, and a machine may have more devices than a node of the book.
NodeFacts facts_of(const Device& device);

// One slice of the claim: selectors by part of a name, and whatever their case, become the exact ones of the devices. A
// request that no book takes is one that no device could hold: nothing asked, or more than all of a device's compute.
Request request_of(const std::vector<Device>& devices, const MachineClaim& claim);

// What a slice holds, wherever it is: a node's claim without a device when it holds nothing.
Request request_of(const Share& share);

inline constexpr uint32_t kPermillePerPercent = kWholeCompute / 100;

}  // namespace tweendeck::placement
