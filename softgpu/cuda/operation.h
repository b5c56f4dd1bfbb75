// One piece of work as a stream, a capture and a graph node know it: the same data is either done at once (a
// stream), remembered (a stream that is being captured) or done whenever a graph is launched. Plain data;
// copying it copies everything that a launch needs, also a kernel's argument.
#pragma once

#include <memory>
#include <variant>

#include "softgpu/cuda/abi_graph.h"

namespace tweendeck::softgpu {

struct Context;
struct Stream;
struct Event;
struct Graph;
struct GraphAllocation;

struct KernelOperation {
  CUlaunchConfig shape{};  // without stream and attributes
  CUfunction function = nullptr;
  Context* context = nullptr;
  uint64_t argument_ns = 0;  // tw_spin's
  uint64_t duration_ns = 0;
  uint32_t sms = 0;  // that its blocks fill
  bool cooperative = false;
  unsigned cluster[3] = {};  // 0 = no clusters
  int priority = 0;
};
struct CopyOperation {
  CUDA_MEMCPY3D copy{};
};
struct FillOperation {
  CUDA_MEMSET_NODE_PARAMS fill{};
};
struct HostOperation {
  CUDA_HOST_NODE_PARAMS call{};
};
struct ChildOperation {
  std::shared_ptr<Graph> graph;  // a copy of the node's own
};
struct EmptyOperation {};
struct EventWaitOperation {
  Event* event = nullptr;
};
struct EventRecordOperation {
  Event* event = nullptr;
};

struct AllocOperation {
  std::shared_ptr<GraphAllocation> allocation;
};
struct FreeOperation {
  CUdeviceptr address = 0;
};

using Operation =
    std::variant<KernelOperation, CopyOperation, FillOperation, HostOperation, ChildOperation, EmptyOperation,
                 EventWaitOperation, EventRecordOperation, AllocOperation, FreeOperation>;

CUgraphNodeType node_type(const Operation& operation);

// Does it in the stream, or adds it to the graph that the stream is being captured into.
CUresult perform(Stream& stream, const Operation& operation);
CUresult run_now(Stream& stream, const Operation& operation);

// launch.cc: checks a launch as the driver does and works out what it takes.
// `sms`: the most that it may use; 0 = all.
CUresult describe_kernel(const CUlaunchConfig& config, CUfunction function, void** parameters, void** extra,
                         Context* context, unsigned sms, KernelOperation& kernel);

// copy.cc: bytes move at the call. `check` finds what is wrong without moving any.
CUDA_MEMCPY3D linear_copy(CUmemorytype to_type, uint64_t to, CUmemorytype from_type, uint64_t from,
                          size_t bytes);
CUresult check_copy(const CUDA_MEMCPY3D& copy);
CUresult move_bytes(const CUDA_MEMCPY3D& copy);
CUresult check_fill(const CUDA_MEMSET_NODE_PARAMS& fill);
CUresult fill_bytes(const CUDA_MEMSET_NODE_PARAMS& fill);

// memory.cc: whatever kind of memory starts there, at once.
CUresult free_now(CUdeviceptr address);

// async_memory.cc
CUresult make_alloc(const CUDA_MEM_ALLOC_NODE_PARAMS* parameters, AllocOperation& operation);
void describe_alloc(const AllocOperation& operation, CUDA_MEM_ALLOC_NODE_PARAMS& out);

// stream.cc
CUresult record_event(Event& event, Stream& stream);
CUresult wait_event(Stream& stream, Event& event);

}  // namespace tweendeck::softgpu
