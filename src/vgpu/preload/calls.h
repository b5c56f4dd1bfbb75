// The table of driver.calls as data, and the way to the functions behind it.
//
// Safe from any thread. Real functions are looked up once and kept.
#pragma once

#include <stdint.h>

#include "vgpu/preload/abi.h"

namespace tweendeck::vgpu {

enum class Form : uint8_t { Any, Legacy, PerThread };
// In the per-thread forms stream 0 means the thread's own stream, which the plain forms know as handle 2.
inline CUstream plain_stream(CUstream stream, Form form) {
  return form == Form::PerThread && !stream ? reinterpret_cast<CUstream>(kPerThreadStream) : stream;
}

enum class Class : uint8_t { Control, Allocate, Free, Launch, Import, Query, Load, Refuse };

// One per wrapper, then kCalls: in the table and without a wrapper, and kNewestVersion.
enum Call : uint16_t {
#include "calls_enum.inc"
};
inline constexpr Call kUnknown{UINT16_MAX};  // not in the table

struct CallInfo {
  void* ours;
  uint16_t text;  // where the symbol is among all names
  Form form;
  Class klass;
};
TW_HIDDEN extern const CallInfo kCallInfo[kCalls];

// What the table says of an exported symbol, and of cuGetProcAddress(name, version, flags).
Call find_symbol(const char* symbol);
Call find_entry(const char* name, int version, uint64_t flags);

// The driver's own function, or null. `remember` keeps one that cuGetProcAddress gave for a symbol that is
// not exported.
TW_HIDDEN extern void* g_real[kCalls];
void* find_real(Call call);
inline void* real_address(Call call) {
  void* const address = __atomic_load_n(&g_real[call], __ATOMIC_ACQUIRE);
  return __builtin_expect(address != nullptr, 1) ? address : find_real(call);
}
void find_all_real(Class klass);
void remember_real(Call call, void* address);
// Any other function of the CUDA driver or of NVML, by symbol; null = absent.
void* driver_symbol(const char* symbol);
void* nvml_symbol(const char* symbol);

// Null as long as nobody has asked for it.
template <class F>
F* known(Call call) {
  return reinterpret_cast<F*>(__atomic_load_n(&g_real[call], __ATOMIC_ACQUIRE));
}

template <class F>
F* real(Call call) {
  return reinterpret_cast<F*>(real_address(call));
}

// A function of the driver that has no wrapper.
template <class F>
F* driver(const char* symbol) {
  return reinterpret_cast<F*>(driver_symbol(symbol));
}

}  // namespace tweendeck::vgpu
