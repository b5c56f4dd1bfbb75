// Calls that put work on the device. Each names its kernel and shape; throttle.h does the rest.
#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/graph_memory.h"
#include "vgpu/preload/slow_launch.h"
#include "vgpu/preload/tenant.h"
#include "vgpu/preload/throttle.h"

using namespace tweendeck::vgpu;

namespace {

inline bool is_paid_cuLaunchKernel(Form form, CUfunction f, unsigned gx, unsigned gy, unsigned gz,
                                   unsigned bx, unsigned by, unsigned bz, unsigned, const CUstream& stream,
                                   void**, void**) {
  return spend(shape_of(f, gx, gy, gz, bx, by, bz), stream, form);
}
CUresult on_cuLaunchKernel(auto* ask, Form form, CUfunction f, unsigned gx, unsigned gy, unsigned gz,
                           unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream stream,
                           void** params, void** extra) {
  return slow_launch(shape_of(f, gx, gy, gz, bx, by, bz), plain_stream(stream, form),
                     [&] { return ask(f, gx, gy, gz, bx, by, bz, shared, stream, params, extra); });
}

inline bool is_paid_cuLaunchKernelEx(Form form, const CUlaunchConfig* c, CUfunction f, void**, void**) {
  return c && spend(shape_of(*c, f), c->stream, form);
}
CUresult on_cuLaunchKernelEx(auto* ask, Form form, const CUlaunchConfig* c, CUfunction f, void** params,
                             void** extra) {
  if (!c) return ask(c, f, params, extra);
  return slow_launch(shape_of(*c, f), plain_stream(c->stream, form),
                     [&] { return ask(c, f, params, extra); });
}

inline bool is_paid_cuLaunchCooperativeKernel(Form form, CUfunction f, unsigned gx, unsigned gy, unsigned gz,
                                              unsigned bx, unsigned by, unsigned bz, unsigned,
                                              const CUstream& stream, void**) {
  return spend(shape_of(f, gx, gy, gz, bx, by, bz), stream, form);
}
CUresult on_cuLaunchCooperativeKernel(auto* ask, Form form, CUfunction f, unsigned gx, unsigned gy,
                                      unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                                      CUstream stream, void** params) {
  return slow_launch(shape_of(f, gx, gy, gz, bx, by, bz), plain_stream(stream, form),
                     [&] { return ask(f, gx, gy, gz, bx, by, bz, shared, stream, params); });
}

inline bool is_paid_cuGraphLaunch(Form form, CUgraphExec graph, CUstream stream) {
  return spend(shape_of(graph), stream, form);
}
CUresult on_cuGraphLaunch(auto* ask, Form form, CUgraphExec graph, CUstream stream) {
  return with_graph_memory(graph, [&] {
    return slow_launch(shape_of(graph), plain_stream(stream, form), [&] { return ask(graph, stream); });
  });
}

template <class Ask>
CUresult begin_capture(Ask ask) {
  if (mode() == Mode::Limited) capture_begins();
  const CUresult result = ask();
  if (result != CUDA_SUCCESS && mode() == Mode::Limited) capture_ends();
  return result;
}

CUresult on_cuStreamBeginCapture(auto* ask, Form, CUstream stream) {
  return begin_capture([&] { return ask(stream); });
}
CUresult on_cuStreamBeginCapture_v2(auto* ask, Form, CUstream stream, int mode) {
  return begin_capture([&] { return ask(stream, mode); });
}
CUresult on_cuStreamBeginCaptureToGraph(auto* ask, Form, CUstream stream, CUgraph graph,
                                        const CUgraphNode* after, const void* edges, size_t count, int mode) {
  return begin_capture([&] { return ask(stream, graph, after, edges, count, mode); });
}

// Also a capture that went wrong ends here.
CUresult on_cuStreamEndCapture(auto* ask, Form, CUstream stream, CUgraph* graph) {
  const CUresult result = ask(stream, graph);
  if (mode() == Mode::Limited) capture_ends();
  return result;
}

// Before the driver gives the handle to another.
CUresult on_cuGraphExecDestroy(auto* ask, CUgraphExec graph) {
  graph_gone(graph);
  const CUresult result = ask(graph);
  if (result == CUDA_SUCCESS) graph_memory_gone(graph);
  return result;
}

template <class Ask>
CUresult change_graph(CUgraphExec graph, Ask ask) {
  const CUresult result = ask();
  if (mode() == Mode::Limited) graph_changed(graph);
  return result;
}

CUresult on_cuGraphExecUpdate(auto* ask, CUgraphExec exec, CUgraph graph, CUgraphNode* node, int* result) {
  return change_graph(exec, [&] { return ask(exec, graph, node, result); });
}
CUresult on_cuGraphExecUpdate_v2(auto* ask, CUgraphExec exec, CUgraph graph, void* result) {
  return change_graph(exec, [&] { return ask(exec, graph, result); });
}
CUresult on_cuGraphExecKernelNodeSetParams(auto* ask, CUgraphExec exec, CUgraphNode node,
                                           const void* params) {
  return change_graph(exec, [&] { return ask(exec, node, params); });
}
CUresult on_cuGraphExecKernelNodeSetParams_v2(auto* ask, CUgraphExec exec, CUgraphNode node,
                                              const void* params) {
  return change_graph(exec, [&] { return ask(exec, node, params); });
}
CUresult on_cuGraphExecNodeSetParams(auto* ask, CUgraphExec exec, CUgraphNode node, void* params) {
  return change_graph(exec, [&] { return ask(exec, node, params); });
}

}  // namespace

#include "wrappers_launch.inc"
