// Physical memory of cuMemCreate. It is charged once, when it is made, however often it is mapped, and is
// given back with the last of its handles and mappings. Memory that another process made is not charged: the
// exporter pays. Safe from any thread, inside a slice only.
#pragma once

#include <stdint.h>

#include "vgpu/preload/abi.h"

namespace tweendeck::vgpu {

// One more user of the handle's memory, by the number of that memory; 0: not known, so nobody is charged.
uint64_t hold_memory_of(CUmemGenericAllocationHandle handle);
void let_go_memory(uint64_t number);

// After fork: the child has none of the parent's memory.
void forget_virtual();

}  // namespace tweendeck::vgpu
