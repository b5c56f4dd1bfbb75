// Start of the driver and look-up of its functions.
#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/tenant.h"

using namespace tweendeck::vgpu;

namespace {

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

}  // namespace

#include "wrappers_control.inc"
