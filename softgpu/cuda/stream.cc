// Streams and events.
#include <algorithm>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/capture.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/host_calls.h"

using namespace tweendeck::softgpu;

namespace {

uint32_t card_of(const Context& context) {
  return Driver::get()->device(context.device)->card;
}

// An event handle that is usable; locks it.
CUresult resolve_event(CUevent handle, Event*& event) {
  TW_DRIVER(driver);
  event = reinterpret_cast<Event*>(handle);
  if (event == nullptr || !event->alive.load(std::memory_order_relaxed)) return CUDA_ERROR_INVALID_HANDLE;
  return CUDA_SUCCESS;
}

constexpr unsigned kExternal = 1;  // CU_EVENT_RECORD_EXTERNAL, CU_EVENT_WAIT_EXTERNAL: a node of its own

CUresult record(CUevent handle, CUstream stream_handle, unsigned flags, bool per_thread) {
  Event* event = nullptr;
  Stream* stream = nullptr;
  if (flags > kExternal) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = resolve_event(handle, event); error != CUDA_SUCCESS) return error;
  if (CUresult error = resolve_stream(stream_handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  if (stream->context->device != event->context->device) return CUDA_ERROR_INVALID_HANDLE;
  if (flags == kExternal && is_capturing(*stream)) {
    return capture_operation(*stream, EventRecordOperation{event});
  }
  return capture_record(*event, *stream) ? CUDA_SUCCESS : record_event(*event, *stream);
}

bool is_complete(Event& event) {
  Driver& driver = *Driver::get();
  return driver.client().is_done(card_of(*event.context), event.ticket) &&
         event.not_before_ns <= driver.model().now() && poll_host_call(event.host_call);
}

uint64_t completion_ns(Event& event) {
  const auto end = Driver::get()->client().end_of(card_of(*event.context), event.ticket);
  return std::max({event.recorded_ns, end.value_or(event.expected_end_ns), event.not_before_ns});
}

CUresult wait(CUstream stream_handle, CUevent handle, unsigned flags, bool per_thread) {
  Event* event = nullptr;
  Stream* stream = nullptr;
  if (flags > kExternal) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = resolve_event(handle, event); error != CUDA_SUCCESS) return error;
  if (CUresult error = resolve_stream(stream_handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  if (flags == kExternal && is_capturing(*stream)) {
    return capture_operation(*stream, EventWaitOperation{event});
  }
  CUresult result = CUDA_SUCCESS;
  return capture_wait(*stream, *event, result) ? result : wait_event(*stream, *event);
}

CUresult create_stream(CUstream* out, unsigned flags, int priority) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (out == nullptr || flags > kStreamNonBlocking) return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<CUstream>(driver->create_stream(context, flags, priority));
  return CUDA_SUCCESS;
}

CUresult synchronize_stream(CUstream handle, bool per_thread) {
  TW_DRIVER(driver);
  Stream* stream = nullptr;
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  if (CUresult error = refuse_captured(*stream); error != CUDA_SUCCESS) return error;
  synchronize(*stream);
  return CUDA_SUCCESS;
}

CUresult query_stream(CUstream handle, bool per_thread) {
  TW_DRIVER(driver);
  Stream* stream = nullptr;
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  if (CUresult error = refuse_captured(*stream); error != CUDA_SUCCESS) return error;
  return is_idle(*stream) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

template <class T, class Read>
CUresult describe(CUstream handle, bool per_thread, T* out, Read read) {
  TW_DRIVER(driver);
  Stream* stream = nullptr;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  *out = read(*stream);
  return CUDA_SUCCESS;
}

constexpr auto kReadFlags = [](const Stream& stream) { return stream.flags; };
constexpr auto kReadPriority = [](const Stream& stream) { return stream.priority; };
constexpr auto kReadId = [](const Stream& stream) -> unsigned long long { return stream.id; };
constexpr auto kReadContext = [](const Stream& stream) {
  return reinterpret_cast<CUcontext>(stream.context);
};
constexpr auto kReadDevice = [](const Stream& stream) { return stream.context->device; };

}  // namespace

namespace tweendeck::softgpu {

CUresult record_event(Event& event, Stream& stream) {
  if (!event.alive.load(std::memory_order_relaxed)) return CUDA_ERROR_INVALID_HANDLE;
  join_virtual_time();
  Driver& driver = *Driver::get();
  const uint64_t ticket = tail_ticket(stream);
  const uint64_t now = driver.model().now();
  std::lock_guard guard(event.mutex);
  event.recorded = true;
  event.ticket = ticket;
  event.host_call = tail_host_call(stream);
  event.not_before_ns = stream.not_before_ns.load();
  event.recorded_ns = now;
  event.expected_end_ns = driver.client().end_of(card_of(*event.context), ticket).value_or(now);
  return CUDA_SUCCESS;
}

CUresult wait_event(Stream& stream, Event& event) {
  if (!event.alive.load(std::memory_order_relaxed)) return CUDA_ERROR_INVALID_HANDLE;
  std::lock_guard guard(event.mutex);
  if (!event.recorded) return CUDA_SUCCESS;
  raise(stream.not_before_ns, event.not_before_ns);
  raise(stream.last_host_call, event.host_call);
  if (stream.context->device == event.context->device) {
    order_after(stream, event.ticket);
  } else {
    raise(stream.not_before_ns, completion_ns(event));
  }
  return CUDA_SUCCESS;
}

}  // namespace tweendeck::softgpu

CUresult cuStreamCreate(CUstream* out, unsigned flags) {
  return create_stream(out, flags, kLowestStreamPriority);
}
CUresult cuStreamCreateWithPriority(CUstream* out, unsigned flags, int priority) {
  return create_stream(out, flags, priority);
}

CUresult cuStreamDestroy_v2(CUstream handle) {
  TW_DRIVER(driver);
  if (reinterpret_cast<uintptr_t>(handle) <= kPerThreadStream) return CUDA_ERROR_INVALID_HANDLE;
  auto* stream = reinterpret_cast<Stream*>(handle);
  if (!stream->alive.load()) return CUDA_ERROR_INVALID_HANDLE;
  driver->destroy_stream(stream);
  return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream) {
  return synchronize_stream(stream, false);
}
CUresult cuStreamSynchronize_ptsz(CUstream stream) {
  return synchronize_stream(stream, true);
}
CUresult cuStreamQuery(CUstream stream) {
  return query_stream(stream, false);
}
CUresult cuStreamQuery_ptsz(CUstream stream) {
  return query_stream(stream, true);
}
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
  return wait(stream, event, flags, false);
}
CUresult cuStreamWaitEvent_ptsz(CUstream stream, CUevent event, unsigned flags) {
  return wait(stream, event, flags, true);
}
CUresult cuStreamGetFlags(CUstream s, unsigned* out) {
  return describe(s, false, out, kReadFlags);
}
CUresult cuStreamGetFlags_ptsz(CUstream s, unsigned* out) {
  return describe(s, true, out, kReadFlags);
}
CUresult cuStreamGetPriority(CUstream s, int* out) {
  return describe(s, false, out, kReadPriority);
}
CUresult cuStreamGetPriority_ptsz(CUstream s, int* out) {
  return describe(s, true, out, kReadPriority);
}
CUresult cuStreamGetId(CUstream s, unsigned long long* out) {
  return describe(s, false, out, kReadId);
}
CUresult cuStreamGetId_ptsz(CUstream s, unsigned long long* out) {
  return describe(s, true, out, kReadId);
}
CUresult cuStreamGetCtx(CUstream s, CUcontext* out) {
  return describe(s, false, out, kReadContext);
}
CUresult cuStreamGetCtx_ptsz(CUstream s, CUcontext* out) {
  return describe(s, true, out, kReadContext);
}
CUresult cuStreamGetDevice(CUstream s, CUdevice* out) {
  return describe(s, false, out, kReadDevice);
}
CUresult cuStreamGetDevice_ptsz(CUstream s, CUdevice* out) {
  return describe(s, true, out, kReadDevice);
}
CUresult cuEventCreate(CUevent* out, unsigned flags) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<CUevent>(driver->create_event(context, flags));
  return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent handle) {
  Event* event = nullptr;
  if (CUresult error = resolve_event(handle, event); error != CUDA_SUCCESS) return error;
  Driver::get()->destroy_event(event);
  return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
  return record(event, stream, 0, false);
}
CUresult cuEventRecord_ptsz(CUevent event, CUstream stream) {
  return record(event, stream, 0, true);
}
CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags) {
  return record(event, stream, flags, false);
}
CUresult cuEventRecordWithFlags_ptsz(CUevent event, CUstream stream, unsigned flags) {
  return record(event, stream, flags, true);
}

CUresult cuEventQuery(CUevent handle) {
  Event* event = nullptr;
  if (CUresult error = resolve_event(handle, event); error != CUDA_SUCCESS) return error;
  if (is_captured(*event)) return CUDA_ERROR_CAPTURED_EVENT;
  join_virtual_time();
  std::lock_guard guard(event->mutex);
  return !event->recorded || is_complete(*event) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuEventSynchronize(CUevent handle) {
  Event* event = nullptr;
  if (CUresult error = resolve_event(handle, event); error != CUDA_SUCCESS) return error;
  if (is_captured(*event)) return CUDA_ERROR_CAPTURED_EVENT;
  join_virtual_time();
  uint64_t ticket = 0;
  uint64_t not_before_ns = 0;
  uint64_t host_call = 0;
  {
    std::lock_guard guard(event->mutex);
    if (!event->recorded) return CUDA_SUCCESS;
    ticket = event->ticket;
    not_before_ns = event->not_before_ns;
    host_call = event->host_call;
  }
  Driver& driver = *Driver::get();
  driver.client().wait_done(card_of(*event->context), ticket);
  driver.client().sleep_until(not_before_ns);
  wait_host_call(host_call);
  return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime(float* milliseconds, CUevent start_handle, CUevent end_handle) {
  Event* events[2] = {};
  if (milliseconds == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = resolve_event(start_handle, events[0]); error != CUDA_SUCCESS) return error;
  if (CUresult error = resolve_event(end_handle, events[1]); error != CUDA_SUCCESS) return error;
  uint64_t times[2] = {};
  for (int i = 0; i < 2; ++i) {
    if (is_captured(*events[i])) return CUDA_ERROR_CAPTURED_EVENT;
    std::lock_guard guard(events[i]->mutex);
    if (!events[i]->recorded || (events[i]->flags & kEventDisableTiming) != 0)
      return CUDA_ERROR_INVALID_HANDLE;
    if (!is_complete(*events[i])) return CUDA_ERROR_NOT_READY;
    times[i] = completion_ns(*events[i]);
  }
  constexpr double kNsPerMs = 1e6;
  *milliseconds =
      static_cast<float>((static_cast<double>(times[1]) - static_cast<double>(times[0])) / kNsPerMs);
  return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent start, CUevent end) {
  return cuEventElapsedTime(milliseconds, start, end);
}
