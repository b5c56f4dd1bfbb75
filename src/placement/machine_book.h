// The devices and slices of one machine as a book (cluster/cluster.h), so that one engine decides for a machine and for
// a cluster.
//
// Each device is a node of its own with that one device: the slices of a claim are claims of one device each, several of
// which may share a device, and a machine may have more devices than a node of the book.
#pragma once

#include <optional>
#include <vector>

#include "placement/cluster/cluster.h"
#include "placement/placement.h"
#include "placement/why/ends.h"

namespace tweendeck::placement {

struct MachineBook {
  Cluster cluster;                                // node i is devices[i] of the snapshot
  std::vector<std::optional<Holder::Held>> held;  // by slice; nothing when its device is gone
};

// What the slices hold stays booked where a device shrank below it. Compute cannot shrink; slices that together hold more
// than all of it count as all of it.
MachineBook book_of(const Snapshot& snapshot);

// One slice of the claim: selectors by part of a name, and whatever their case, become the exact ones of the snapshot.
// The share must ask for something; compute above 100 % counts as 100 %.
Request request_of(const Snapshot& snapshot, const Claim& claim);

}  // namespace tweendeck::placement
