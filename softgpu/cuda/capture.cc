#include "softgpu/cuda/capture.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/forms.h"
#include "softgpu/cuda/graph.h"

using namespace tweendeck::softgpu;

namespace tweendeck::softgpu {

// Guarded by Graphs::mutex.
struct Capture {
  uint64_t id = 0;
  Graph* graph = nullptr;
  bool owns_graph = false;  // false: captured into a graph of the caller's
  bool invalidated = false;
  CUstreamCaptureMode mode = kCaptureGlobal;
  std::thread::id thread;
  Stream* origin = nullptr;
  std::vector<Stream*> streams;
};

namespace {

std::vector<std::unique_ptr<Capture>> g_captures;  // guarded by Graphs::mutex
std::atomic<size_t> g_capture_count{0};
uint64_t g_next_capture_id = 1;

CUstreamCaptureMode& thread_mode() {
  thread_local CUstreamCaptureMode mode = kCaptureGlobal;
  return mode;
}

void attach(Capture& capture, Stream& stream, std::vector<Node*> tail) {
  stream.capture_tail = std::move(tail);
  stream.capture.store(&capture, std::memory_order_release);
  capture.streams.push_back(&stream);
}

void drop_graph(Capture& capture) {
  if (capture.owns_graph) Graphs::get().graphs.erase(capture.graph);
}

void finish(Capture& capture) {
  for (Stream* stream : capture.streams) {
    stream->capture.store(nullptr, std::memory_order_release);
    stream->capture_tail.clear();
  }
  std::erase_if(g_captures, [&](const auto& own) { return own.get() == &capture; });
  g_capture_count.store(g_captures.size(), std::memory_order_release);
}

Capture* find_capture(uint64_t id) {
  const auto found = std::ranges::find(g_captures, id, [](const auto& own) { return own->id; });
  return found == g_captures.end() ? nullptr : found->get();
}

void merge(std::vector<Node*>& into, const std::vector<Node*>& nodes) {
  for (Node* node : nodes) {
    if (std::ranges::find(into, node) == into.end()) into.push_back(node);
  }
}

// Whether everything that the other streams captured is behind the origin's last nodes.
bool is_joined(const Capture& capture) {
  std::unordered_set<const Node*> reached;
  std::vector<const Node*> open(capture.origin->capture_tail.begin(), capture.origin->capture_tail.end());
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (!reached.insert(node).second) continue;
    open.insert(open.end(), node->dependencies.begin(), node->dependencies.end());
  }
  return std::ranges::all_of(capture.streams, [&](const Stream* stream) {
    return std::ranges::all_of(stream->capture_tail,
                               [&](const Node* node) { return reached.contains(node); });
  });
}

CUresult resolve_nodes(const CUgraphNode* handles, size_t count, std::vector<Node*>& nodes) {
  if (count > 0 && handles == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < count; ++i) {
    Node* node = Graphs::get().find(handles[i]);
    if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
    nodes.push_back(node);
  }
  return CUDA_SUCCESS;
}

CUresult begin(CUstream handle, bool per_thread, CUstreamCaptureMode mode, CUgraph graph_handle,
               const CUgraphNode* dependencies, size_t count) {
  TW_DRIVER(driver);
  Stream* stream = nullptr;
  if (mode < kCaptureGlobal || mode > kCaptureRelaxed) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  if (stream == &stream->context->legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  Graphs& graphs = Graphs::get();
  std::lock_guard guard(graphs.mutex);
  if (stream->capture.load() != nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  auto capture = std::make_unique<Capture>();
  std::vector<Node*> tail;
  if (graph_handle != nullptr) {
    capture->graph = graphs.find(graph_handle);
    if (capture->graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (CUresult error = resolve_nodes(dependencies, count, tail); error != CUDA_SUCCESS) return error;
  } else {
    auto graph = std::make_unique<Graph>();
    capture->graph = graph.get();
    capture->owns_graph = true;
    graphs.graphs.emplace(graph.get(), std::move(graph));
  }
  capture->id = g_next_capture_id++;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->origin = stream;
  attach(*capture, *stream, std::move(tail));
  g_captures.push_back(std::move(capture));
  g_capture_count.store(g_captures.size(), std::memory_order_release);
  return CUDA_SUCCESS;
}

CUresult end(CUstream handle, bool per_thread, CUgraph* out) {
  TW_DRIVER(driver);
  Stream* stream = nullptr;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  std::lock_guard guard(Graphs::get().mutex);
  Capture* capture = stream->capture.load();
  if (capture == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  *out = nullptr;
  if (capture->mode != kCaptureRelaxed && capture->thread != std::this_thread::get_id()) {
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  }
  if (capture->origin != stream) {
    capture->invalidated = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  }
  CUresult result = CUDA_SUCCESS;
  if (capture->invalidated) {
    result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  } else if (!is_joined(*capture)) {
    result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
  }
  if (result == CUDA_SUCCESS) {
    *out = handle_of(capture->graph);
  } else {
    drop_graph(*capture);
  }
  finish(*capture);
  return result;
}

struct Info {
  CUstreamCaptureStatus status = kCaptureNone;
  uint64_t id = 0;
  CUgraph graph = nullptr;
  std::vector<Node*> tail;
};

CUresult describe(CUstream handle, bool per_thread, Info& info) {
  TW_DRIVER(driver);
  Stream* stream = nullptr;
  const bool may_be_legacy = reinterpret_cast<uintptr_t>(handle) <= kLegacyStream && !per_thread;
  if (may_be_legacy && g_capture_count.load() != 0) {
    TW_CONTEXT(context);
    if (CUresult error = refuse_implicit(*context, Invalidate::No); error != CUDA_SUCCESS) return error;
  }
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  std::lock_guard guard(Graphs::get().mutex);
  const Capture* capture = stream->capture.load();
  if (capture == nullptr) return CUDA_SUCCESS;
  info.status = capture->invalidated ? kCaptureInvalidated : kCaptureActive;
  info.id = capture->id;
  info.graph = handle_of(capture->graph);
  info.tail = stream->capture_tail;
  return CUDA_SUCCESS;
}

CUresult status_of(CUstream stream, bool per_thread, CUstreamCaptureStatus* status, uint64_t* id) {
  Info info;
  if (status == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = describe(stream, per_thread, info); error != CUDA_SUCCESS) return error;
  *status = info.status;
  if (id != nullptr && info.status == kCaptureActive) *id = info.id;
  return CUDA_SUCCESS;
}

// What the lists point at stays valid until this thread asks again.
CUresult info_of(CUstream stream, bool per_thread, CUstreamCaptureStatus* status, uint64_t* id,
                 CUgraph* graph, const CUgraphNode** dependencies, const CUgraphEdgeData** edges,
                 size_t* count) {
  thread_local std::vector<Node*> tail;
  thread_local std::vector<CUgraphEdgeData> edge_data;
  Info info;
  if (status == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = describe(stream, per_thread, info); error != CUDA_SUCCESS) return error;
  *status = info.status;
  if (info.status != kCaptureActive) return CUDA_SUCCESS;
  tail = std::move(info.tail);
  edge_data.assign(tail.size(), CUgraphEdgeData{});
  if (id != nullptr) *id = info.id;
  if (graph != nullptr) *graph = info.graph;
  if (dependencies != nullptr) *dependencies = reinterpret_cast<const CUgraphNode*>(tail.data());
  if (edges != nullptr) *edges = edge_data.data();
  if (count != nullptr) *count = tail.size();
  return CUDA_SUCCESS;
}

CUresult update_tail(CUstream handle, bool per_thread, CUgraphNode* dependencies, size_t count,
                     unsigned flags) {
  TW_DRIVER(driver);
  Stream* stream = nullptr;
  if (flags > kCaptureSetDependencies) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  std::lock_guard guard(Graphs::get().mutex);
  const Capture* capture = stream->capture.load();
  if (capture == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  std::vector<Node*> nodes;
  if (CUresult error = resolve_nodes(dependencies, count, nodes); error != CUDA_SUCCESS) return error;
  if (!std::ranges::all_of(nodes, [&](const Node* node) { return node->graph == capture->graph; })) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (flags == kCaptureSetDependencies) stream->capture_tail.clear();
  merge(stream->capture_tail, nodes);
  return CUDA_SUCCESS;
}

}  // namespace

bool is_capturing(const Stream& stream) {
  return stream.capture.load(std::memory_order_acquire) != nullptr;
}

CUresult capture_operation(Stream& stream, const Operation& operation) {
  std::lock_guard guard(Graphs::get().mutex);
  Capture* capture = stream.capture.load();
  if (capture == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  stream.capture_tail = {add_node(*capture->graph, operation, stream.capture_tail)};
  return CUDA_SUCCESS;
}

CUresult refuse_captured(Stream& stream) {
  if (!is_capturing(stream)) return CUDA_SUCCESS;
  std::lock_guard guard(Graphs::get().mutex);
  Capture* capture = stream.capture.load();
  if (capture == nullptr) return CUDA_SUCCESS;
  capture->invalidated = true;
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult refuse_unsafe() {
  if (g_capture_count.load(std::memory_order_acquire) == 0 || thread_mode() == kCaptureRelaxed) {
    return CUDA_SUCCESS;
  }
  std::lock_guard guard(Graphs::get().mutex);
  CUresult result = CUDA_SUCCESS;
  for (const auto& capture : g_captures) {
    const bool own = capture->thread == std::this_thread::get_id() && capture->mode != kCaptureRelaxed;
    const bool global = capture->mode == kCaptureGlobal && thread_mode() == kCaptureGlobal;
    if (!own && !global) continue;
    capture->invalidated = true;
    result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return result;
}

CUresult refuse_implicit(Context& context, Invalidate invalidate) {
  if (g_capture_count.load(std::memory_order_acquire) == 0) return CUDA_SUCCESS;
  std::lock_guard guard(Graphs::get().mutex);
  CUresult result = CUDA_SUCCESS;
  for (const auto& capture : g_captures) {
    const bool implied = std::ranges::any_of(capture->streams, [&](const Stream* stream) {
      return stream->context == &context && stream->blocking;
    });
    if (!implied) continue;
    if (invalidate == Invalidate::Yes) capture->invalidated = true;
    result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  }
  return result;
}

bool is_captured_into(const Graph& graph) {
  return std::ranges::any_of(g_captures, [&](const auto& capture) { return capture->graph == &graph; });
}

bool capture_record(Event& event, Stream& stream) {
  if (!is_capturing(stream) && event.capture_id.load() == 0) return false;
  std::lock_guard guard(Graphs::get().mutex);
  const Capture* capture = stream.capture.load();
  event.capture_id = capture == nullptr ? 0 : capture->id;
  event.capture_tail = capture == nullptr ? std::vector<Node*>{} : stream.capture_tail;
  return capture != nullptr;
}

bool capture_wait(Stream& stream, Event& event, CUresult& result) {
  const uint64_t id = event.capture_id.load();
  if (id == 0 && !is_capturing(stream)) return false;
  std::lock_guard guard(Graphs::get().mutex);
  Capture* own = stream.capture.load();
  Capture* other = find_capture(id);
  result = CUDA_SUCCESS;
  if (id == 0) {  // a capture cannot depend on what is outside it
    own->invalidated = true;
    result = CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  } else if (other == nullptr) {  // its capture has ended
    result = CUDA_ERROR_CAPTURED_EVENT;
  } else if (own != nullptr && own != other) {
    own->invalidated = other->invalidated = true;
    result = CUDA_ERROR_STREAM_CAPTURE_MERGE;
  } else if (other->invalidated) {
    result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  } else if (own == nullptr) {
    attach(*other, stream, event.capture_tail);
  } else {
    merge(stream.capture_tail, event.capture_tail);
  }
  return true;
}

bool is_captured(Event& event) {
  const uint64_t id = event.capture_id.load();
  if (id == 0) return false;
  std::lock_guard guard(Graphs::get().mutex);
  if (Capture* capture = find_capture(id)) capture->invalidated = true;
  return true;
}

void leave_capture(Stream& stream) {
  if (!is_capturing(stream)) return;
  std::lock_guard guard(Graphs::get().mutex);
  Capture* capture = stream.capture.load();
  if (capture == nullptr) return;
  if (capture->origin == &stream) {
    drop_graph(*capture);
    finish(*capture);
    return;
  }
  capture->invalidated = true;
  std::erase(capture->streams, &stream);
  stream.capture.store(nullptr);
  stream.capture_tail.clear();
}

}  // namespace tweendeck::softgpu

TW_TWO_FORMS(cuStreamBeginCapture, _ptsz, (CUstream stream),
             begin(stream, kPerThread, kCaptureGlobal, nullptr, nullptr, 0))
TW_TWO_FORMS(cuStreamBeginCapture_v2, _ptsz, (CUstream stream, CUstreamCaptureMode mode),
             begin(stream, kPerThread, mode, nullptr, nullptr, 0))
TW_TWO_FORMS(cuStreamBeginCaptureToGraph, _ptsz,
             (CUstream stream, CUgraph graph, const CUgraphNode* dependencies, const CUgraphEdgeData*,
              size_t count, CUstreamCaptureMode mode),
             graph == nullptr ? CUDA_ERROR_INVALID_VALUE
                              : begin(stream, kPerThread, mode, graph, dependencies, count))
TW_TWO_FORMS(cuStreamEndCapture, _ptsz, (CUstream stream, CUgraph* out), end(stream, kPerThread, out))
TW_TWO_FORMS(cuStreamIsCapturing, _ptsz, (CUstream stream, CUstreamCaptureStatus* status),
             status_of(stream, kPerThread, status, nullptr))
TW_TWO_FORMS(cuStreamGetCaptureInfo, _ptsz, (CUstream stream, CUstreamCaptureStatus* status, uint64_t* id),
             status_of(stream, kPerThread, status, id))
TW_TWO_FORMS(cuStreamGetCaptureInfo_v2, _ptsz,
             (CUstream stream, CUstreamCaptureStatus* status, uint64_t* id, CUgraph* graph,
              const CUgraphNode** dependencies, size_t* count),
             info_of(stream, kPerThread, status, id, graph, dependencies, nullptr, count))
TW_TWO_FORMS(cuStreamGetCaptureInfo_v3, _ptsz,
             (CUstream stream, CUstreamCaptureStatus* status, uint64_t* id, CUgraph* graph,
              const CUgraphNode** dependencies, const CUgraphEdgeData** edges, size_t* count),
             info_of(stream, kPerThread, status, id, graph, dependencies, edges, count))
TW_TWO_FORMS(cuStreamUpdateCaptureDependencies, _ptsz,
             (CUstream stream, CUgraphNode* dependencies, size_t count, unsigned flags),
             update_tail(stream, kPerThread, dependencies, count, flags))
TW_TWO_FORMS(cuStreamUpdateCaptureDependencies_v2, _ptsz,
             (CUstream stream, CUgraphNode* dependencies, const CUgraphEdgeData*, size_t count,
              unsigned flags),
             update_tail(stream, kPerThread, dependencies, count, flags))

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  TW_DRIVER(driver);
  if (mode == nullptr || *mode < kCaptureGlobal || *mode > kCaptureRelaxed) return CUDA_ERROR_INVALID_VALUE;
  std::swap(*mode, thread_mode());
  return CUDA_SUCCESS;
}
