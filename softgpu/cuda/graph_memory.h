// Memory nodes of graphs. The address of an allocation is known when its node is made; it has bytes from a
// launch on until it is freed, by a free node or by cuMemFree(Async).
//
// Its memory is charged at the first launch and stays charged when it is freed, for the next launch, until
// cuDeviceGraphMemTrim or until no graph and no executable graph has the node any more. Safe from any thread.
#pragma once

#include <cstdint>
#include <memory>

#include "softgpu/cuda/abi_graph.h"

namespace tweendeck::softgpu {

struct GraphAllocation {
  int device = 0;
  CUdeviceptr address = 0;
  uint64_t bytes = 0;
  uint64_t charge = 0;
  bool charged = false;
  bool allocated = false;

  ~GraphAllocation();
};

// nullptr: no address space is left.
std::shared_ptr<GraphAllocation> make_graph_allocation(int device, uint64_t bytes);

// What a launch does: OUT_OF_MEMORY, or INVALID_VALUE when it is allocated still and `again` is false.
CUresult allocate(const std::shared_ptr<GraphAllocation>& allocation, bool again);
bool free_graph_allocation(CUdeviceptr address);  // false: it is not allocated

void trim_graph_memory(int device);

}  // namespace tweendeck::softgpu
