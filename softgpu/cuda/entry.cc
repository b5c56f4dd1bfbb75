// cuGetProcAddress, and two calls of our own for programs that must live in the cards' time.
#include <string_view>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"

using namespace tweendeck::softgpu;

namespace {

struct Entry {
  std::string_view name;
  int version;
  void* function;
  void* per_thread;  // the form whose default stream is the thread's own; null where there is no difference
};

const Entry kEntries[] = {
#define TW_ENTRY(name, version, function) {#name, version, reinterpret_cast<void*>(&function), nullptr},
#define TW_ENTRY_STREAM(name, version, function, per_thread) \
  {#name, version, reinterpret_cast<void*>(&function), reinterpret_cast<void*>(&per_thread)},
#include "softgpu/cuda/entries.def"
#undef TW_ENTRY_STREAM
#undef TW_ENTRY
};

}  // namespace

// Not found is a success with a null pointer, as the API defines it.
CUresult cuGetProcAddress_v2(const char* symbol, void** pfn, int version, uint64_t flags,
                             CUdriverProcAddressQueryResult* status) {
  if (symbol == nullptr || pfn == nullptr || flags > kProcAddressPerThreadStream)
    return CUDA_ERROR_INVALID_VALUE;
  *pfn = nullptr;
  CUdriverProcAddressQueryResult found = kProcAddressNotFound;
  const Entry* best = nullptr;
  for (const Entry& entry : kEntries) {
    if (entry.name != symbol) continue;
    if (found == kProcAddressNotFound) found = kProcAddressVersionTooLow;
    if (entry.version <= version && (best == nullptr || entry.version > best->version)) best = &entry;
  }
  if (best != nullptr) {
    const bool per_thread = (flags & kProcAddressPerThreadStream) != 0 && best->per_thread != nullptr;
    *pfn = per_thread ? best->per_thread : best->function;
    found = kProcAddressFound;
  }
  if (status != nullptr) *status = found;
  return CUDA_SUCCESS;
}

CUresult cuGetProcAddress(const char* symbol, void** pfn, int version, uint64_t flags) {
  const CUresult result = cuGetProcAddress_v2(symbol, pfn, version, flags, nullptr);
  if (result == CUDA_SUCCESS && *pfn == nullptr) return CUDA_ERROR_NOT_FOUND;
  return result;
}

// There are no private interfaces here.
CUresult cuGetExportTable(const void** table, const CUuuid*) {
  if (table == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *table = nullptr;
  return CUDA_ERROR_NOT_FOUND;
}

uint64_t tw_softgpu_now_ns() {
  Driver* driver = Driver::get();
  return driver == nullptr ? monotonic_ns() : driver->model().now();
}

void tw_softgpu_sleep_until_ns(uint64_t time_ns) {
  Driver* driver = Driver::get();
  if (driver == nullptr) return;
  join_virtual_time();
  driver->client().sleep_until(time_ns);
}
