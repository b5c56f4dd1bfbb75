#include "vgpu/preload/graph_memory.h"

#include <sys/mman.h>

#include "vgpu/preload/address_map.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/charge.h"
#include "vgpu/preload/lock.h"
#include "vgpu/preload/tenant.h"

namespace tweendeck::vgpu {

uint32_t g_allocating_graphs;

namespace {

constexpr int kNodeOfGraph = 4, kNodeAllocates = 10;  // CUgraphNodeType
constexpr int kKeptNow = 2;                           // CUgraphMem_attribute
constexpr int kDeepest = 32;                          // graphs within graphs that are looked into

struct Allocating {
  uint64_t bytes[TW_VGPU_MAX_DEVICES];
  uint64_t
      given;  // the trim count at its last launch, plus one: it has its memory unless there was a trim since
};

constinit Lock g_lock;
constinit AddressMap<Allocating> g_graphs;
uint64_t g_charged[TW_VGPU_MAX_DEVICES];
CUdevice g_device[TW_VGPU_MAX_DEVICES];  // CUDA's number
uint64_t g_trims;

// Makes the charge what the driver keeps. `ahead` is in the books already.
void settle(int device, uint64_t ahead) {
  static auto* const get = driver<CUresult(CUdevice, int, void*)>("cuDeviceGetGraphMemAttribute");
  const uint64_t have = g_charged[device] + ahead;
  uint64_t keeps = 0;
  if (!get || get(g_device[device], kKeptNow, &keeps) != CUDA_SUCCESS) keeps = have;
  g_charged[device] = keeps;
  if (keeps > have) charge_anyway(device, keeps - have, TW_VGPU_KIND_GRAPH);
  if (keeps < have) unreserve(device, have - keeps, TW_VGPU_KIND_GRAPH);
}

void settle_all() {
  for (int device = 0; device < TW_VGPU_MAX_DEVICES; ++device) {
    if (g_charged[device]) settle(device, 0);
  }
}

void add_node(CUgraphNode node, Allocating& sum) {
  static auto* const get =
      driver<CUresult(CUgraphNode, CUmemAllocNodeParams*)>("cuGraphMemAllocNodeGetParams");
  CUmemAllocNodeParams params = {};
  if (!get || get(node, &params) != CUDA_SUCCESS || params.pool.location_type != kLocationDevice) return;
  const int device = page_device(params.pool.location_id);
  if (device < 0) return;
  g_device[device] = params.pool.location_id;
  sum.bytes[device] += in_granules(params.bytes);
}

// All that the graph's nodes allocate; what one frees before another allocates may be used twice by the driver, which
// settle() then sees.
void add_graph(CUgraph graph, Allocating& sum, int depth) {
  static auto* const list = driver<CUresult(CUgraph, CUgraphNode*, size_t*)>("cuGraphGetNodes");
  static auto* const type_of = driver<CUresult(CUgraphNode, int*)>("cuGraphNodeGetType");
  static auto* const child_of = driver<CUresult(CUgraphNode, CUgraph*)>("cuGraphChildGraphNodeGetGraph");
  size_t count = 0;
  if (depth == kDeepest || !list || !type_of || list(graph, nullptr, &count) != CUDA_SUCCESS || count == 0)
    return;
  const size_t size = count * sizeof(CUgraphNode);
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return;
  auto* const nodes = static_cast<CUgraphNode*>(memory);
  if (list(graph, nodes, &count) != CUDA_SUCCESS) count = 0;
  for (size_t i = 0; i < count; ++i) {
    int type = 0;
    CUgraph child = nullptr;
    if (type_of(nodes[i], &type) != CUDA_SUCCESS) continue;
    if (type == kNodeAllocates) add_node(nodes[i], sum);
    if (type == kNodeOfGraph && child_of && child_of(nodes[i], &child) == CUDA_SUCCESS)
      add_graph(child, sum, depth + 1);
  }
  munmap(memory, size);
}

bool allocates(const Allocating& sum) {
  for (const uint64_t bytes : sum.bytes) {
    if (bytes) return true;
  }
  return false;
}

template <class Ask>
CUresult instantiate(CUgraphExec* out, CUgraph graph, Ask ask) {
  const CUresult result = ask();
  if (result != CUDA_SUCCESS || !out) return result;
  Allocating sum = {};
  const Locked locked(g_lock);
  add_graph(graph, sum, 0);
  if (!allocates(sum)) return result;
  if (Allocating* known = g_graphs.insert(reinterpret_cast<uint64_t>(*out))) *known = sum;
  __atomic_store_n(&g_allocating_graphs, g_graphs.size(), __ATOMIC_RELAXED);
  return result;
}

CUresult on_cuGraphInstantiate(auto* ask, CUgraphExec* out, CUgraph graph, CUgraphNode* node, char* log,
                               size_t size) {
  return instantiate(out, graph, [&] { return ask(out, graph, node, log, size); });
}
CUresult on_cuGraphInstantiate_v2(auto* ask, CUgraphExec* out, CUgraph graph, CUgraphNode* node, char* log,
                                  size_t size) {
  return instantiate(out, graph, [&] { return ask(out, graph, node, log, size); });
}
CUresult on_cuGraphInstantiateWithFlags(auto* ask, CUgraphExec* out, CUgraph graph,
                                        unsigned long long flags) {
  return instantiate(out, graph, [&] { return ask(out, graph, flags); });
}
CUresult on_cuGraphInstantiateWithParams(auto* ask, Form, CUgraphExec* out, CUgraph graph, void* params) {
  return instantiate(out, graph, [&] { return ask(out, graph, params); });
}

CUresult on_cuGraphUpload(auto* ask, Form, CUgraphExec exec, CUstream stream) {
  return with_graph_memory(exec, [&] { return ask(exec, stream); });
}

// The driver gives memory back with the last of a graph and its executable graphs.
CUresult on_cuGraphDestroy(auto* ask, CUgraph graph) {
  const CUresult result = ask(graph);
  const Locked locked(g_lock);
  settle_all();
  return result;
}

CUresult on_cuDeviceGraphMemTrim(auto* ask, CUdevice device) {
  const Locked locked(g_lock);
  const CUresult result = ask(device);
  ++g_trims;
  settle_all();
  return result;
}

}  // namespace

CUresult GraphMemory::begin(CUgraphExec exec) {
  {
    const Locked locked(g_lock);
    const Allocating* const graph = g_graphs.find(reinterpret_cast<uint64_t>(exec));
    if (!graph || graph->given == g_trims + 1) return CUDA_SUCCESS;
    for (int device = 0; device < TW_VGPU_MAX_DEVICES; ++device) ahead_[device] = graph->bytes[device];
  }
  for (int device = 0; device < TW_VGPU_MAX_DEVICES; ++device) {
    const CUresult granted =
        ahead_[device] ? reserve(device, ahead_[device], TW_VGPU_KIND_GRAPH) : CUDA_SUCCESS;
    if (granted == CUDA_SUCCESS) continue;
    while (device-- > 0) {
      if (ahead_[device]) unreserve(device, ahead_[device], TW_VGPU_KIND_GRAPH);
    }
    return granted;
  }
  return CUDA_SUCCESS;
}

void GraphMemory::end(CUgraphExec exec, bool launched) {
  const Locked locked(g_lock);
  for (int device = 0; device < TW_VGPU_MAX_DEVICES; ++device) {
    if (ahead_[device]) settle(device, ahead_[device]);
  }
  if (!launched) return;
  if (Allocating* graph = g_graphs.find(reinterpret_cast<uint64_t>(exec))) graph->given = g_trims + 1;
}

void graph_memory_gone(CUgraphExec exec) {
  if (__atomic_load_n(&g_allocating_graphs, __ATOMIC_RELAXED) == 0) return;
  const Locked locked(g_lock);
  g_graphs.erase(reinterpret_cast<uint64_t>(exec));
  __atomic_store_n(&g_allocating_graphs, g_graphs.size(), __ATOMIC_RELAXED);
  settle_all();
}

void forget_graph_memory() {
  g_lock = {};
  g_graphs.clear();
  for (uint64_t& charged : g_charged) charged = 0;
  __atomic_store_n(&g_allocating_graphs, 0, __ATOMIC_RELAXED);
}

}  // namespace tweendeck::vgpu

using namespace tweendeck::vgpu;
#include "wrappers_graph_memory.inc"
