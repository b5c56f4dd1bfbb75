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

// What the driver found is replaced by ours. The driver is asked first, so names it does not know stay
// unknown. A driver that is newer than the table may have a form that the table does not know, with other
// parameters: it is known if the newest version of the table gets the same function.
template <class Again>
void stand_in_front(const char* symbol, void** function, int version, uint64_t flags, Again again) {
  if (!symbol || !function || !*function || !*symbol) return;
  Call call = find_entry(symbol, version, flags);
  if (call < kCalls && version > kNewestVersion) {
    void* known = nullptr;
    if (again(&known) != CUDA_SUCCESS || known != *function) call = kUnknown;
  }
  if (call == kUnknown) count_unclassified();
  if (call >= kCalls) return;
  remember_real(call, *function);
  *function = kCallInfo[call].ours;
}

CUresult on_cuInit(auto* ask, unsigned flags) {
  if (mode_attached() == Mode::Broken) return CUDA_ERROR_SYSTEM_NOT_READY;
  return ask(flags);
}

CUresult on_cuGetProcAddress(auto* ask, const char* symbol, void** function, int version, uint64_t flags) {
  const CUresult result = ask(symbol, function, version, flags);
  if (result == CUDA_SUCCESS) {
    stand_in_front(symbol, function, version, flags,
                   [&](void** known) { return ask(symbol, known, kNewestVersion, flags); });
  }
  return result;
}

CUresult on_cuGetProcAddress_v2(auto* ask, const char* symbol, void** function, int version, uint64_t flags,
                                int* status) {
  const CUresult result = ask(symbol, function, version, flags, status);
  if (result == CUDA_SUCCESS) {
    int unused = 0;
    stand_in_front(symbol, function, version, flags,
                   [&](void** known) { return ask(symbol, known, kNewestVersion, flags, &unused); });
  }
  return result;
}

CUresult on_cuDevicePrimaryCtxRetain(auto* ask, CUcontext* out, CUdevice device) {
  const CUresult result = ask(out, device);
  if (result == CUDA_SUCCESS && device >= 0 && device < kMaxDevices) {
    __atomic_store_n(&g_primary[device].context, reinterpret_cast<uint64_t>(*out), __ATOMIC_RELEASE);
    __atomic_add_fetch(&g_primary[device].retained, 1, __ATOMIC_ACQ_REL);
  }
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

#include "wrappers_control.inc"
