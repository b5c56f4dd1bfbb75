// Contexts: primary ones, created ones, and each thread's stack of current contexts.
#include <algorithm>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/capture.h"
#include "softgpu/cuda/driver.h"

using namespace tweendeck::softgpu;

namespace {

CUcontext to_handle(Context* context) {
  return reinterpret_cast<CUcontext>(context);
}
Context* from_handle(CUcontext handle) {
  return reinterpret_cast<Context*>(handle);
}

// A context argument; null means the current one.
CUresult resolve_context(CUcontext handle, Context*& context) {
  TW_DRIVER(driver);
  context = handle == nullptr ? current_context() : from_handle(handle);
  if (context == nullptr || !driver->is_context(context)) return CUDA_ERROR_INVALID_CONTEXT;
  return CUDA_SUCCESS;
}

CUresult create(CUcontext* out, unsigned flags, CUdevice device) {
  TW_DRIVER(driver);
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  Context* context = driver->create_context(device, flags, ContextKind::Created);
  if (context == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  context_stack().push_back(context);
  *out = to_handle(context);
  return CUDA_SUCCESS;
}

// Retain, release and reset of primary contexts: two threads' first retain must give one context.
std::mutex g_primary_mutex;

void reset_primary(Driver& driver, Device& device) {
  if (device.primary == nullptr) return;
  driver.destroy_context(device.primary);
  device.primary = nullptr;
}

enum Limit : int { kStackLimit = 0, kPrintfLimit = 1, kHeapLimit = 2 };  // CUlimit
constexpr size_t kLimits = 8;  // CUlimit numbers that cuCtxSetLimit takes
constexpr size_t kDefaultLimits[kLimits] = {1024, 1 << 20, 8 << 20, 2, 2048, 128, 0, 0};

size_t limit_of(const Context& context, int limit) {
  return context.limits[limit] != 0 ? context.limits[limit] : kDefaultLimits[limit];
}

// What a limit takes of the card; the defaults are in what every context takes.
uint64_t bytes_for(const CardInfo& card, int limit, uint64_t value) {
  if (limit == kPrintfLimit || limit == kHeapLimit) return value;
  return limit == kStackLimit ? value * card.sm_count * card.threads_per_sm : 0;
}

}  // namespace

CUresult cuDevicePrimaryCtxRetain(CUcontext* out, CUdevice ordinal) {
  TW_DRIVER(driver);
  Device* device = driver->device(ordinal);
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  std::lock_guard guard(g_primary_mutex);
  if (device->primary == nullptr)
    device->primary = driver->create_context(ordinal, device->primary_flags, ContextKind::Primary);
  if (device->primary == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  ++device->primary_references;
  *out = to_handle(device->primary);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice ordinal) {
  TW_DRIVER(driver);
  Device* device = driver->device(ordinal);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  std::lock_guard guard(g_primary_mutex);
  if (device->primary_references == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (--device->primary_references == 0) reset_primary(*driver, *device);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice ordinal) {
  TW_DRIVER(driver);
  Device* device = driver->device(ordinal);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  std::lock_guard guard(g_primary_mutex);
  reset_primary(*driver, *device);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice ordinal, unsigned flags) {
  TW_DRIVER(driver);
  Device* device = driver->device(ordinal);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  device->primary_flags = flags;
  if (device->primary != nullptr) device->primary->flags = flags;
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice ordinal, unsigned* flags, int* active) {
  TW_DRIVER(driver);
  Device* device = driver->device(ordinal);
  if (flags == nullptr || active == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *flags = device->primary_flags;
  *active = device->primary != nullptr ? 1 : 0;
  return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v2(CUcontext* out, unsigned flags, CUdevice device) {
  return create(out, flags, device);
}

CUresult cuCtxCreate_v3(CUcontext* out, void* affinity, int affinities, unsigned flags, CUdevice device) {
  if (affinities > 0 || affinity != nullptr) return CUDA_ERROR_NOT_SUPPORTED;  // no MPS here
  return create(out, flags, device);
}

CUresult cuCtxCreate_v4(CUcontext* out, void* parameters, unsigned flags, CUdevice device) {
  if (parameters != nullptr) return CUDA_ERROR_NOT_SUPPORTED;  // affinity and graphics interoperation
  return create(out, flags, device);
}

CUresult cuCtxDestroy_v2(CUcontext handle) {
  Context* context = nullptr;
  if (handle == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (CUresult error = resolve_context(handle, context); error != CUDA_SUCCESS) return error;
  if (context->primary || context->sms != 0) return CUDA_ERROR_INVALID_CONTEXT;
  Driver::get()->destroy_context(context);
  auto& stack = context_stack();
  if (!stack.empty() && stack.back() == context) stack.pop_back();
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* out) {
  TW_DRIVER(driver);
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = to_handle(current_context());
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext handle) {
  TW_DRIVER(driver);
  auto& stack = context_stack();
  if (handle != nullptr && !driver->is_context(from_handle(handle))) return CUDA_ERROR_INVALID_CONTEXT;
  if (!stack.empty()) stack.pop_back();
  if (handle != nullptr) stack.push_back(from_handle(handle));
  return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext handle) {
  TW_DRIVER(driver);
  if (handle == nullptr || !driver->is_context(from_handle(handle))) return CUDA_ERROR_INVALID_CONTEXT;
  context_stack().push_back(from_handle(handle));
  return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext* out) {
  TW_DRIVER(driver);
  auto& stack = context_stack();
  if (stack.empty()) return CUDA_ERROR_INVALID_CONTEXT;
  if (out != nullptr) *out = to_handle(stack.back());
  stack.pop_back();
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *device = context->device;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice_v2(CUdevice* device, CUcontext handle) {
  Context* context = nullptr;
  if (CUresult error = resolve_context(handle, context); error != CUDA_SUCCESS) return error;
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *device = context->device;
  return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize() {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (CUresult error = refuse_implicit(*context); error != CUDA_SUCCESS) return error;
  synchronize(*context);
  return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize_v2(CUcontext handle) {
  Context* context = nullptr;
  if (CUresult error = resolve_context(handle, context); error != CUDA_SUCCESS) return error;
  if (CUresult error = refuse_implicit(*context); error != CUDA_SUCCESS) return error;
  synchronize(*context);
  return CUDA_SUCCESS;
}

CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (least != nullptr) *least = kLowestStreamPriority;
  if (greatest != nullptr) *greatest = kHighestStreamPriority;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetFlags(unsigned* flags) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = context->flags;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext handle, unsigned long long* id) {
  Context* context = nullptr;
  if (CUresult error = resolve_context(handle, context); error != CUDA_SUCCESS) return error;
  if (id == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *id = context->id;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext handle, unsigned* version) {
  Context* context = nullptr;
  if (CUresult error = resolve_context(handle, context); error != CUDA_SUCCESS) return error;
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *version = kDriverVersion;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetLimit(size_t* value, int limit) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (value == nullptr || limit < 0 || limit >= static_cast<int>(kLimits)) return CUDA_ERROR_INVALID_VALUE;
  *value = limit_of(*context, limit);
  return CUDA_SUCCESS;
}

CUresult cuCtxSetLimit(int limit, size_t value) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  constexpr size_t kLargestLimit = size_t{1} << 40;
  if (limit < 0 || limit >= static_cast<int>(kLimits) || value > kLargestLimit)
    return CUDA_ERROR_INVALID_VALUE;
  if (value == 0) value = kDefaultLimits[limit];
  const Device& device = *driver->device(context->device);
  std::lock_guard guard(driver->mutex);
  const CardInfo& card = driver->info(context->device);
  const uint64_t before = bytes_for(card, limit, limit_of(*context, limit));
  const uint64_t after = bytes_for(card, limit, value);
  if (after > before && !driver->client().reserve(device.card, after - before))
    return CUDA_ERROR_OUT_OF_MEMORY;
  if (after < before) driver->client().release(device.card, before - after);
  context->charged += after - before;
  context->limits[limit] = value;
  return CUDA_SUCCESS;
}

CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned flags) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  Context* other = from_handle(peer);
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (other == nullptr || other == context || !driver->is_context(other)) return CUDA_ERROR_INVALID_CONTEXT;
  std::lock_guard guard(driver->mutex);
  return context->peers.insert(other).second ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
}

CUresult cuCtxDisablePeerAccess(CUcontext peer) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  std::lock_guard guard(driver->mutex);
  return context->peers.erase(from_handle(peer)) == 1 ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
}
