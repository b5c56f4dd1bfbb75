// The life of contexts: what one takes of the device is measured, and what was allocated in it goes with it.
#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/charge.h"
#include "vgpu/preload/footprint.h"
#include "vgpu/preload/heaps.h"
#include "vgpu/preload/pools.h"
#include "vgpu/preload/tenant.h"
#include "vgpu/preload/throttle.h"
#include "vgpu/preload/tiles.h"

using namespace tweendeck::vgpu;

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
  heaps_gone(context);
  tiles_of_context_gone(context);
  forget_launches_of(context);
}

void primary_gone(CUdevice device) {
  if (device < 0 || device >= kMaxDevices) return;
  __atomic_store_n(&g_primary[device].retained, 0, __ATOMIC_RELEASE);
  if (const uint64_t context = __atomic_exchange_n(&g_primary[device].context, 0, __ATOMIC_ACQ_REL))
    context_gone(context);
  if (const int index = page_device(device); index >= 0) pools_emptied(index);
}

CUresult release_primary(auto* ask, CUdevice device) {
  const CUresult result = ask(device);
  if (result == CUDA_SUCCESS && device >= 0 && device < kMaxDevices &&
      __atomic_sub_fetch(&g_primary[device].retained, 1, __ATOMIC_ACQ_REL) == 0) {
    primary_gone(device);
  }
  return result;
}

CUresult reset_primary(auto* ask, CUdevice device) {
  const CUresult result = ask(device);
  if (result == CUDA_SUCCESS) primary_gone(device);
  return result;
}

CUresult destroy_context(auto* ask, CUcontext context) {
  const CUresult result = ask(context);
  if (result == CUDA_SUCCESS) context_gone(reinterpret_cast<uint64_t>(context));
  return result;
}

// The context's own charge is kept under its handle and ends with it.
CUresult charge_context(Footprint& footprint, uint64_t context) {
  return footprint.charge(context, context, TW_VGPU_KIND_CONTEXT);
}

template <class Context, class Ask>
CUresult create(Context* out, CUdevice device, Call destroy, Ask ask) {
  Footprint footprint(page_device(device));
  const CUresult result = ask();
  if (result != CUDA_SUCCESS) return result;
  const CUresult charged = charge_context(footprint, reinterpret_cast<uint64_t>(*out));
  if (charged == CUDA_SUCCESS) return result;
  if (auto* const undo = real<CUresult(Context)>(destroy)) undo(*out);
  *out = nullptr;
  return charged;
}

CUresult on_cuCtxCreate(auto* ask, CUcontext* out, unsigned flags, CUdevice device) {
  return create(out, device, kCall_cuCtxDestroy_v2, [&] { return ask(out, flags, device); });
}
CUresult on_cuCtxCreate_v2(auto* ask, CUcontext* out, unsigned flags, CUdevice device) {
  return create(out, device, kCall_cuCtxDestroy_v2, [&] { return ask(out, flags, device); });
}
CUresult on_cuCtxCreate_v3(auto* ask, CUcontext* out, void* affinity, int count, unsigned flags,
                           CUdevice device) {
  return create(out, device, kCall_cuCtxDestroy_v2, [&] { return ask(out, affinity, count, flags, device); });
}
CUresult on_cuCtxCreate_v4(auto* ask, CUcontext* out, void* parameters, unsigned flags, CUdevice device) {
  return create(out, device, kCall_cuCtxDestroy_v2, [&] { return ask(out, parameters, flags, device); });
}

CUresult on_cuGreenCtxCreate(auto* ask, CUgreenCtx* out, CUdevResourceDesc resources, CUdevice device,
                             unsigned flags) {
  return create(out, device, kCall_cuGreenCtxDestroy, [&] { return ask(out, resources, device, flags); });
}

CUresult on_cuGreenCtxDestroy(auto* ask, CUgreenCtx context) {
  const CUresult result = ask(context);
  if (result == CUDA_SUCCESS) context_gone(reinterpret_cast<uint64_t>(context));
  return result;
}

CUresult on_cuDevicePrimaryCtxRetain(auto* ask, CUcontext* out, CUdevice device) {
  const bool tracked = device >= 0 && device < kMaxDevices;
  if (!tracked) return ask(out, device);
  const bool first = __atomic_load_n(&g_primary[device].retained, __ATOMIC_ACQUIRE) == 0;
  Footprint footprint(first ? page_device(device) : kNoDevice);
  const CUresult result = ask(out, device);
  if (result != CUDA_SUCCESS) return result;
  const CUresult charged = charge_context(footprint, reinterpret_cast<uint64_t>(*out));
  if (charged != CUDA_SUCCESS) {
    if (auto* const undo = real<CUresult(CUdevice)>(kCall_cuDevicePrimaryCtxRelease_v2)) undo(device);
    *out = nullptr;
    return charged;
  }
  __atomic_store_n(&g_primary[device].context, reinterpret_cast<uint64_t>(*out), __ATOMIC_RELEASE);
  __atomic_add_fetch(&g_primary[device].retained, 1, __ATOMIC_ACQ_REL);
  return result;
}

CUresult on_cuDevicePrimaryCtxRelease(auto* ask, CUdevice device) {
  return release_primary(ask, device);
}
CUresult on_cuDevicePrimaryCtxRelease_v2(auto* ask, CUdevice device) {
  return release_primary(ask, device);
}
CUresult on_cuDevicePrimaryCtxReset(auto* ask, CUdevice device) {
  return reset_primary(ask, device);
}
CUresult on_cuDevicePrimaryCtxReset_v2(auto* ask, CUdevice device) {
  return reset_primary(ask, device);
}
CUresult on_cuCtxDestroy(auto* ask, CUcontext context) {
  return destroy_context(ask, context);
}
CUresult on_cuCtxDestroy_v2(auto* ask, CUcontext context) {
  return destroy_context(ask, context);
}

}  // namespace

#include "wrappers_contexts.inc"
