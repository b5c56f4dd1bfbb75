#include "vgpu/preload/calls.h"

#include <stddef.h>
#include <string.h>

#include "vgpu/preload/abi.h"
#include "vgpu/preload/loader.h"

#define TW_SYMBOL(text, call)
#define TW_NAME(text, since, form, call)
// Addresses of our exports only; their types are where they are defined.
#define TW_CALL(symbol, text, form, klass) extern "C" void symbol();
#include "calls_rows.inc"
#undef TW_CALL

namespace tweendeck::vgpu {

const CallInfo kCallInfo[kCalls] = {
#define TW_CALL(symbol, text, form, klass) {reinterpret_cast<void*>(&symbol), text, Form::form, Class::klass},
#include "calls_rows.inc"
#undef TW_CALL
};
#define TW_CALL(symbol, text, form, klass)

namespace {

constexpr char kText[] = {
#include "calls_text.inc"
};

struct Symbol {
  uint16_t text;
  Call call;
};
constexpr Symbol kSymbols[] = {
#undef TW_SYMBOL
#define TW_SYMBOL(text, call) {text, call},
#include "calls_rows.inc"
#undef TW_SYMBOL
#define TW_SYMBOL(text, call)
};

struct Name {
  int since;
  uint16_t text;
  Call call;
  Form form;
};
constexpr Name kNames[] = {
#undef TW_NAME
#define TW_NAME(text, since, form, call) {since, text, call, Form::form},
#include "calls_rows.inc"
};

bool is_nvml(const char* symbol) {
  return symbol[0] == 'n';
}

// The first row that does not come before `text`; rows are sorted by it.
template <class Row, size_t kRows>
const Row* lower_bound(const Row (&rows)[kRows], const char* text) {
  size_t low = 0, high = kRows;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (strcmp(kText + rows[middle].text, text) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return rows + low;
}

}  // namespace

Call find_symbol(const char* symbol) {
  const Symbol* row = lower_bound(kSymbols, symbol);
  const bool found =
      row != kSymbols + sizeof(kSymbols) / sizeof(Symbol) && strcmp(kText + row->text, symbol) == 0;
  return found ? row->call : kUnknown;
}

Call find_entry(const char* name, int version, uint64_t flags) {
  const Form wanted = flags & kProcAddressPerThread ? Form::PerThread : Form::Legacy;
  const Name* const end = kNames + sizeof(kNames) / sizeof(Name);
  const Name* row = lower_bound(kNames, name);
  Call best = kUnknown;
  // Rows of one name are sorted by version.
  for (; row != end && strcmp(kText + row->text, name) == 0; ++row) {
    if (row->since <= version && (row->form == Form::Any || row->form == wanted)) best = row->call;
  }
  return best;
}

void* g_real[kCalls];

void* find_real(Call call) {
  const char* symbol = kText + kCallInfo[call].text;
  void* address = is_nvml(symbol) ? nvml_symbol(symbol) : driver_symbol(symbol);
  remember_real(call, address);
  return address;
}

void find_all_real(Class klass) {
  for (uint16_t call = 0; call < kCalls; ++call) {
    if (kCallInfo[call].klass == klass) real_address(static_cast<Call>(call));
  }
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
