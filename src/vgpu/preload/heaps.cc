#include "vgpu/preload/heaps.h"

#include "vgpu/preload/abi.h"
#include "vgpu/preload/address_map.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/charge.h"
#include "vgpu/preload/lock.h"
#include "vgpu/preload/tenant.h"

namespace tweendeck::vgpu {
namespace {

enum Heap : int { kStack = 0, kPrintf = 1, kMalloc = 2, kHeaps = 3 };                  // CUlimit
enum DeviceAttribute : int { kMultiprocessors = 16, kThreadsPerMultiprocessor = 39 };  // CUdevice_attribute

// The most that each has been, with what the context came with: that is measured when the context is made. A limit
// that is lowered gives nothing back, since the driver does not say when it would.
struct Heaps {
  uint64_t bytes[kHeaps];
};

constinit Lock g_lock;
constinit AddressMap<Heaps> g_heaps;  // by context

uint64_t attribute(DeviceAttribute which) {
  static auto* const device_of = driver<CUresult(CUdevice*)>("cuCtxGetDevice");
  static auto* const get = driver<CUresult(int*, int, CUdevice)>("cuDeviceGetAttribute");
  CUdevice device = 0;
  int value = 0;
  if (!device_of || !get || device_of(&device) != CUDA_SUCCESS) return 1;
  return get(&value, which, device) == CUDA_SUCCESS && value > 0 ? static_cast<uint64_t>(value) : 1;
}

// A limit's memory; more than 64 bits can say stays so.
uint64_t bytes_of(int limit, uint64_t value) {
  if (limit != kStack) return value;
  uint64_t bytes = 0;
  const uint64_t threads = attribute(kMultiprocessors) * attribute(kThreadsPerMultiprocessor);
  return __builtin_mul_overflow(value, threads, &bytes) ? UINT64_MAX : bytes;
}

uint64_t bytes_now(int limit) {
  static auto* const get = driver<CUresult(size_t*, int)>("cuCtxGetLimit");
  size_t value = 0;
  return get && get(&value, limit) == CUDA_SUCCESS ? bytes_of(limit, value) : 0;
}

Heaps* heaps_of(uint64_t context) {
  if (Heaps* known = g_heaps.find(context)) return known;
  Heaps* const heaps = g_heaps.insert(context);
  for (int limit = 0; heaps && limit < kHeaps; ++limit) heaps->bytes[limit] = bytes_now(limit);
  return heaps;
}

CUresult on_cuCtxSetLimit(auto* ask, int limit, size_t value) {
  const int device = page_device_now();
  const uint64_t context = current_context();
  if (limit < 0 || limit >= kHeaps || device == kNoDevice || context == 0) return ask(limit, value);
  const Locked locked(g_lock);
  Heaps* const heaps = heaps_of(context);
  if (!heaps) return CUDA_ERROR_OUT_OF_MEMORY;
  uint64_t& most = heaps->bytes[limit];
  const uint64_t wanted = bytes_of(limit, value);
  const uint64_t ahead = wanted > most ? wanted - most : 0;
  if (ahead) {
    const CUresult granted = reserve(device, ahead, TW_VGPU_KIND_CONTEXT);
    if (granted != CUDA_SUCCESS) return granted;
  }
  const CUresult result = ask(limit, value);
  // The driver rounds, or leaves the limit as it was.
  const uint64_t now = result == CUDA_SUCCESS ? bytes_now(limit) : 0;
  const uint64_t taken = now > most ? now - most : 0;
  if (taken < ahead) unreserve(device, ahead - taken, TW_VGPU_KIND_CONTEXT);
  if (taken > ahead) charge_anyway(device, taken - ahead, TW_VGPU_KIND_CONTEXT);
  if (taken == 0) return result;
  most = now;
  add_to_charge(context, context, device, taken, TW_VGPU_KIND_CONTEXT);
  return result;
}

}  // namespace

void heaps_gone(uint64_t context) {
  const Locked locked(g_lock);
  g_heaps.erase(context);
}

void forget_heaps() {
  g_lock = {};
  g_heaps.clear();
}

}  // namespace tweendeck::vgpu

using namespace tweendeck::vgpu;
#include "wrappers_heaps.inc"
