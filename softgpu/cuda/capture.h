// Stream capture: what the streams of a capture are asked to do becomes nodes of a graph instead.
//
// A capture is begun on one stream, its origin; another stream joins it by waiting for an event that was
// recorded in it, and must be joined back into the origin in the same way before the origin ends it. What the
// driver forbids meanwhile (waiting for a capturing stream, an unsafe call such as cuMemAlloc in a thread
// whose mode forbids it, the legacy stream beside a blocking one that is captured) is refused and invalidates
// the capture. Safe from any thread.
#pragma once

#include "softgpu/cuda/operation.h"

namespace tweendeck::softgpu {

bool is_capturing(const Stream& stream);
CUresult capture_operation(Stream& stream, const Operation& operation);

// For calls that cannot be part of a capture: CUDA_SUCCESS when `stream` is in none.
CUresult refuse_captured(Stream& stream);
// For unsafe calls: CUDA_SUCCESS unless a capture in progress forbids them to this thread.
CUresult refuse_unsafe();
// For calls that wait for, or go into, the legacy stream or the whole context.
enum class Invalidate : bool { No, Yes };
CUresult refuse_implicit(Context& context, Invalidate invalidate = Invalidate::Yes);
bool is_captured_into(const Graph& graph);  // Graphs::mutex is held

// cuEventRecord and cuStreamWaitEvent where a capture is involved; false: none is, do it now.
bool capture_record(Event& event, Stream& stream);
bool capture_wait(Stream& stream, Event& event, CUresult& result);
bool is_captured(Event& event);

void leave_capture(Stream& stream);  // a stream that is being destroyed

}  // namespace tweendeck::softgpu
