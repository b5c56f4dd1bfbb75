// Memory that graphs allocate in their nodes. The driver takes it at the first launch of an executable graph and keeps it
// for the next, until it is trimmed or the graph has gone; the slice is charged what the driver keeps. Safe from any
// thread, inside a slice only.
#pragma once

#include <stdint.h>

#include "vgpu/page.h"
#include "vgpu/preload/abi.h"

namespace tweendeck::vgpu {

extern uint32_t g_allocating_graphs;  // executable graphs of this process that allocate

class GraphMemory {
 public:
  // Before a launch or upload: reserves what the graph has not been given yet.
  CUresult begin(CUgraphExec exec);
  // After it.
  void end(CUgraphExec exec, bool launched);

 private:
  uint64_t ahead_[TW_VGPU_MAX_DEVICES] = {};
};

// `ask` launches or uploads the executable graph.
template <class Ask>
CUresult with_graph_memory(CUgraphExec exec, Ask ask) {
  if (__atomic_load_n(&g_allocating_graphs, __ATOMIC_RELAXED) == 0) return ask();
  GraphMemory memory;
  const CUresult granted = memory.begin(exec);
  if (granted != CUDA_SUCCESS) return granted;
  const CUresult result = ask();
  memory.end(exec, result == CUDA_SUCCESS);
  return result;
}

// The executable graph has gone.
void graph_memory_gone(CUgraphExec exec);
// After fork.
void forget_graph_memory();

}  // namespace tweendeck::vgpu
