// The table of calls.def as data, and the way to the functions behind it.
//
// Safe from any thread. Real functions are looked up once and kept.
#pragma once

#include <stdint.h>

namespace tweendeck::vgpu {

enum class Form : uint8_t { Any, Legacy, PerThread };
enum class Class : uint8_t { Control, Allocate, Free, Info, Launch, Refused };

enum Call : uint16_t {
#define TW_CALL(symbol, name, since, form, klass) kCall_##symbol,
#include "vgpu/preload/calls.def"
#undef TW_CALL
  kCalls,
};

struct CallInfo {
  const char* symbol;
  const char* name;  // for cuGetProcAddress; null = not the CUDA driver's
  int since;
  Form form;
  Class klass;
  void* ours;
};
extern const CallInfo kCallInfo[kCalls];

// The entry for an exported symbol; kCalls = none.
Call find_symbol(const char* symbol);
// The entry that cuGetProcAddress(name, version, flags) means; kCalls = none.
Call find_entry(const char* name, int version, uint64_t flags);

// The driver's own function, or null. `remember` keeps one that cuGetProcAddress gave for a symbol that is
// not exported.
void* real_address(Call call);
void remember_real(Call call, void* address);
// Any other function of the CUDA driver or of NVML, by symbol; null = absent.
void* driver_symbol(const char* symbol);
void* nvml_symbol(const char* symbol);

template <class F>
F* real(Call call) {
  return reinterpret_cast<F*>(real_address(call));
}

}  // namespace tweendeck::vgpu
