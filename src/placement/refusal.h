// A claim on the book of one machine, and why it has no place there.
#pragma once

#include <vector>

#include "placement/machine_book.h"

namespace tweendeck::placement {

struct MachineClaim {
  const Snapshot& snapshot;
  const Claim& claim;
  MachineBook& book;
  ShapeId shape;
  std::vector<uint32_t> own_slices;  // of the claim's deployment, by device
  std::vector<Range> ranges;         // by device: how many slices of the claim it may take at most
};

MachineClaim machine_claim(const Snapshot& snapshot, const Claim& claim, MachineBook& book, ShapeId shape);

// For a claim of which only `fitting` slices fit. The book is as it was on return.
Refusal refuse(MachineClaim& claim, uint32_t fitting);

}  // namespace tweendeck::placement
