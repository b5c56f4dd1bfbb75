#include "vgpu/preload/calls.h"

#include <string.h>

#include "vgpu/preload/abi.h"
#include "vgpu/preload/loader.h"

// Addresses of our exports only; their types are where they are defined.
#define TW_CALL(symbol, name, since, form, klass) extern "C" void symbol();
#include "vgpu/preload/calls.def"
#undef TW_CALL

namespace tweendeck::vgpu {

const CallInfo kCallInfo[kCalls] = {
#define TW_CALL(symbol, name, since, form, klass) \
  {#symbol, name, since, Form::form, Class::klass, reinterpret_cast<void*>(&symbol)},
#include "vgpu/preload/calls.def"
#undef TW_CALL
};

namespace {

void* g_real[kCalls];

bool is_nvml(const char* symbol) {
  return symbol[0] == 'n';
}

}  // namespace

Call find_symbol(const char* symbol) {
  for (uint16_t i = 0; i < kCalls; ++i) {
    if (strcmp(kCallInfo[i].symbol, symbol) == 0) return static_cast<Call>(i);
  }
  return kCalls;
}

Call find_entry(const char* name, int version, uint64_t flags) {
  const Form wanted = flags & kProcAddressPerThread ? Form::PerThread : Form::Legacy;
  Call best = kCalls;
  for (uint16_t i = 0; i < kCalls; ++i) {
    const CallInfo& info = kCallInfo[i];
    if (!info.name || strcmp(info.name, name) != 0 || info.since > version) continue;
    if (info.form != Form::Any && info.form != wanted) continue;
    if (best == kCalls || info.since > kCallInfo[best].since) best = static_cast<Call>(i);
  }
  return best;
}

void* real_address(Call call) {
  void* address = __atomic_load_n(&g_real[call], __ATOMIC_ACQUIRE);
  if (address) return address;
  const char* symbol = kCallInfo[call].symbol;
  address = is_nvml(symbol) ? nvml_symbol(symbol) : driver_symbol(symbol);
  remember_real(call, address);
  return address;
}

void remember_real(Call call, void* address) {
  void* none = nullptr;
  if (address)
    __atomic_compare_exchange_n(&g_real[call], &none, address, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

void* driver_symbol(const char* symbol) {
  return library_symbol(Library::Cuda, symbol);
}
void* nvml_symbol(const char* symbol) {
  return library_symbol(Library::Nvml, symbol);
}

}  // namespace tweendeck::vgpu
