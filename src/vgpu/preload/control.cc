// Start of the driver, look-up of its functions, and the life of contexts.
#include <string.h>

#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/tenant.h"
#include "vgpu/preload/throttle.h"

using namespace tweendeck::vgpu;

namespace tweendeck::vgpu {
void release_context(uint64_t context);  // memory.cc
}

namespace {

constexpr int kMaxDevices = 64;

// Primary contexts are counted by the driver; the last release destroys them.
struct Primary {
  uint64_t context;
  uint32_t retained;
};
Primary g_primary[kMaxDevices];

void context_gone(uint64_t context) {
  release_context(context);
  forget_launches_of(context);
}

void primary_gone(CUdevice device) {
  if (device < 0 || device >= kMaxDevices) return;
  __atomic_store_n(&g_primary[device].retained, 0, __ATOMIC_RELEASE);
  if (const uint64_t context = __atomic_exchange_n(&g_primary[device].context, 0, __ATOMIC_ACQ_REL))
    context_gone(context);
}

CUresult release_primary(Call call, CUdevice device) {
  auto* ask = real<CUresult(CUdevice)>(call);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  const CUresult result = ask(device);
  if (result == CUDA_SUCCESS && device >= 0 && device < kMaxDevices &&
      __atomic_sub_fetch(&g_primary[device].retained, 1, __ATOMIC_ACQ_REL) == 0) {
    primary_gone(device);
  }
  return result;
}

CUresult reset_primary(Call call, CUdevice device) {
  auto* ask = real<CUresult(CUdevice)>(call);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  const CUresult result = ask(device);
  if (result == CUDA_SUCCESS) primary_gone(device);
  return result;
}

CUresult destroy_context(Call call, CUcontext context) {
  auto* ask = real<CUresult(CUcontext)>(call);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  const CUresult result = ask(context);
  if (result == CUDA_SUCCESS) context_gone(reinterpret_cast<uint64_t>(context));
  return result;
}

// Replaces what the driver found by ours. The driver is asked first, so names it does not know stay unknown.
void stand_in_front(const char* symbol, void** function, int version, uint64_t flags) {
  if (!symbol || !function || !*function || !*symbol) return;
  const Call call = find_entry(symbol, version, flags);
  if (call == kCalls) {
    count_unclassified();
    return;
  }
  remember_real(call, *function);
  *function = kCallInfo[call].ours;
}

}  // namespace

TW_EXPORT CUresult cuInit(unsigned flags) {
  auto* ask = real<CUresult(unsigned)>(kCall_cuInit);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  if (mode_attached() == Mode::Broken) return CUDA_ERROR_SYSTEM_NOT_READY;
  return ask(flags);
}

TW_EXPORT CUresult cuGetProcAddress(const char* symbol, void** function, int version, uint64_t flags) {
  auto* ask = real<CUresult(const char*, void**, int, uint64_t)>(kCall_cuGetProcAddress);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  const CUresult result = ask(symbol, function, version, flags);
  if (result == CUDA_SUCCESS) stand_in_front(symbol, function, version, flags);
  return result;
}

TW_EXPORT CUresult cuGetProcAddress_v2(const char* symbol, void** function, int version, uint64_t flags,
                                       int* status) {
  auto* ask = real<CUresult(const char*, void**, int, uint64_t, int*)>(kCall_cuGetProcAddress_v2);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  const CUresult result = ask(symbol, function, version, flags, status);
  if (result == CUDA_SUCCESS) stand_in_front(symbol, function, version, flags);
  return result;
}

TW_EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  auto* ask = real<CUresult(CUcontext*, CUdevice)>(kCall_cuDevicePrimaryCtxRetain);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  const CUresult result = ask(context, device);
  if (result == CUDA_SUCCESS && device >= 0 && device < kMaxDevices) {
    __atomic_store_n(&g_primary[device].context, reinterpret_cast<uint64_t>(*context), __ATOMIC_RELEASE);
    __atomic_add_fetch(&g_primary[device].retained, 1, __ATOMIC_ACQ_REL);
  }
  return result;
}

TW_EXPORT CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  return release_primary(kCall_cuDevicePrimaryCtxRelease, device);
}
TW_EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  return release_primary(kCall_cuDevicePrimaryCtxRelease_v2, device);
}
TW_EXPORT CUresult cuDevicePrimaryCtxReset(CUdevice device) {
  return reset_primary(kCall_cuDevicePrimaryCtxReset, device);
}
TW_EXPORT CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
  return reset_primary(kCall_cuDevicePrimaryCtxReset_v2, device);
}
TW_EXPORT CUresult cuCtxDestroy(CUcontext context) {
  return destroy_context(kCall_cuCtxDestroy, context);
}
TW_EXPORT CUresult cuCtxDestroy_v2(CUcontext context) {
  return destroy_context(kCall_cuCtxDestroy_v2, context);
}
