// Makes the calling program a tenant of a slice on the null driver: writes the slice's two pages, and starts
// the program again with the library before the driver. Only for test programs that are linked with that
// driver.
#pragma once

#include <cstdint>
#include <string>

#include "vgpu/page.h"

namespace tweendeck::vgpu::test {

// Returns when the program is the tenant. `limit_bytes` is the slice's on its one device.
void become_tenant(char** argv, uint64_t limit_bytes);

// Lets allocations that find no room wait for some. The null driver's clock is a thousand times faster than the
// machine's.
void set_memory_wait(uint32_t device_ms);

// The slice's usage page as everybody sees it.
tw_vgpu_usage_page* usage_page();
inline uint64_t claimed() {
  return tw_vgpu_memory_claimed(usage_page(), 0, nullptr);
}

// Of the library's table, by the linker.
extern "C" {
int cuInit(unsigned flags);
int cuMemAlloc_v2(uint64_t* out, size_t bytes);
int cuMemFree_v2(uint64_t address);
int cuMemGetInfo_v2(size_t* free_bytes, size_t* total);
}
inline constexpr int kSuccess = 0;
inline constexpr int kOutOfMemory = 2;

}  // namespace tweendeck::vgpu::test
