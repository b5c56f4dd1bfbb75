// A stand-in libcuda.so.1 whose calls do next to nothing, so that what a library in front of it adds can be
// seen.
//
// It manages no memory and runs no kernels: an allocation is the address freed last by this thread, or the
// next one that nobody had; every kernel has taken kKernelNs. Its clock (tw_softgpu_now_ns, which the vgpu
// library uses where a driver has it) runs kClockFactor times as fast as the machine's, so that launches a
// few nanoseconds apart are microseconds apart on the device and a cap of 50 % does not bind. tw_null_call
// gives a function as it is, whatever stands in front of the exported one.
#include <time.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#define NULL_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr uint64_t kKernelNs = 1000;
constexpr uint64_t kClockFactor = 1000;
constexpr uint64_t kMemoryBytes = 80ull << 30;
constexpr uint64_t kFirstAddress = 0x7000'0000'0000;
constexpr uint64_t kGrainBytes = 512;
constexpr uint64_t kThreadBytes = 1ull << 34;  // addresses of one thread, so that threads share no counter
constexpr uint32_t kKept = 1 << 11;
constexpr uint32_t kMaxEvents = 1 << 16;
constexpr int kNotFound = 500;
constexpr int kInvalid = 1;
constexpr int kOutOfMemory = 2;

struct Heap {
  uint64_t next = 0;
  uint32_t kept_count = 0;
  uint64_t kept[kKept];
};
constexpr uint32_t kMaxThreads = 64;
Heap g_heaps[kMaxThreads];
uint32_t g_threads = 0;
// One word: a library that is opened at run time finds little room for the fast kind of thread-local.
__attribute__((tls_model("initial-exec"))) thread_local Heap* t_heap = nullptr;
uint64_t g_event_times[kMaxEvents];
uint32_t g_events = 0;
uint64_t g_device_ns = 0;
char g_context = 0;

uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec)) *
         kClockFactor;
}

Heap* new_heap() {
  const uint32_t index = __atomic_fetch_add(&g_threads, 1, __ATOMIC_RELAXED) % kMaxThreads;
  g_heaps[index].next = kFirstAddress + kThreadBytes * index;
  return &g_heaps[index];
}

uint64_t* event_time(void* event) {
  return static_cast<uint64_t*>(event);
}

}  // namespace

NULL_EXPORT uint64_t tw_softgpu_now_ns() {
  return now_ns();
}
NULL_EXPORT void tw_softgpu_sleep_until_ns(uint64_t until) {
  const uint64_t now = now_ns();
  if (now >= until) return;
  const uint64_t span = (until - now) / kClockFactor;
  const timespec wait{static_cast<time_t>(span / 1'000'000'000), static_cast<long>(span % 1'000'000'000)};
  nanosleep(&wait, nullptr);
}

NULL_EXPORT int cuInit(unsigned) {
  return 0;
}
NULL_EXPORT int cuDriverGetVersion(int* version) {
  *version = 13000;
  return 0;
}
NULL_EXPORT int cuDeviceGetCount(int* count) {
  *count = 1;
  return 0;
}
NULL_EXPORT int cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return ordinal == 0 ? 0 : kInvalid;
}
NULL_EXPORT int cuDeviceGetUuid_v2(unsigned char* uuid, int) {
  memset(uuid, 0x11, 16);
  return 0;
}
NULL_EXPORT int cuDeviceGetAttribute(int* value, int, int) {
  *value = 0;
  return 0;
}
NULL_EXPORT int cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = kMemoryBytes;
  return 0;
}
NULL_EXPORT int cuDevicePrimaryCtxRetain(void** context, int) {
  *context = &g_context;
  return 0;
}
NULL_EXPORT int cuDevicePrimaryCtxRelease_v2(int) {
  return 0;
}
NULL_EXPORT int cuCtxSetCurrent(void*) {
  return 0;
}
NULL_EXPORT int cuCtxGetCurrent(void** context) {
  *context = &g_context;
  return 0;
}
NULL_EXPORT int cuCtxGetDevice(int* device) {
  *device = 0;
  return 0;
}
NULL_EXPORT int cuCtxSynchronize() {
  return 0;
}

NULL_EXPORT int cuMemAlloc_v2(uint64_t* out, size_t bytes) {
  if (t_heap == nullptr) t_heap = new_heap();
  Heap& heap = *t_heap;
  if (heap.kept_count > 0) {
    *out = heap.kept[--heap.kept_count];
    return 0;
  }
  if (bytes > kMemoryBytes) return kOutOfMemory;
  *out = heap.next;
  heap.next += kGrainBytes;
  return 0;
}
NULL_EXPORT int cuMemFree_v2(uint64_t address) {
  if (t_heap == nullptr) t_heap = new_heap();
  Heap& heap = *t_heap;
  if (heap.kept_count < kKept) heap.kept[heap.kept_count++] = address;
  return 0;
}
NULL_EXPORT int cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
  *free_bytes = *total = kMemoryBytes;
  return 0;
}

NULL_EXPORT int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                               void*, void**, void**) {
  return 0;
}
NULL_EXPORT int cuStreamIsCapturing(void*, int* capturing) {
  *capturing = 0;
  return 0;
}
NULL_EXPORT int cuStreamSynchronize(void*) {
  return 0;
}
NULL_EXPORT int cuEventCreate(void** event, unsigned) {
  const uint32_t index = __atomic_fetch_add(&g_events, 1, __ATOMIC_RELAXED);
  if (index >= kMaxEvents) return kOutOfMemory;
  *event = &g_event_times[index];
  return 0;
}
NULL_EXPORT int cuEventDestroy_v2(void*) {
  return 0;
}
NULL_EXPORT int cuEventRecord(void* event, void*) {
  *event_time(event) = __atomic_add_fetch(&g_device_ns, kKernelNs, __ATOMIC_RELAXED);
  return 0;
}
NULL_EXPORT int cuEventQuery(void*) {
  return 0;
}
NULL_EXPORT int cuEventSynchronize(void*) {
  return 0;
}
NULL_EXPORT int cuEventElapsedTime(float* milliseconds, void* from, void* to) {
  const auto span = static_cast<int64_t>(*event_time(to) - *event_time(from));
  *milliseconds = static_cast<float>(span) / 1e6f;
  return 0;
}

namespace {
template <class F>
void* address(F* function) {
  return reinterpret_cast<void*>(function);
}
struct Named {
  const char* name;
  void* function;
};
const Named kCalls[] = {
    {"cuInit", address(cuInit)},
    {"cuMemAlloc_v2", address(cuMemAlloc_v2)},
    {"cuMemFree_v2", address(cuMemFree_v2)},
    {"cuMemGetInfo_v2", address(cuMemGetInfo_v2)},
    {"cuLaunchKernel", address(cuLaunchKernel)},
};
}  // namespace

NULL_EXPORT void* tw_null_call(const char* name) {
  for (const Named& call : kCalls) {
    if (strcmp(call.name, name) == 0) return call.function;
  }
  return nullptr;
}
NULL_EXPORT int cuGetProcAddress_v2(const char*, void** function, int, uint64_t, int*) {
  *function = nullptr;
  return kNotFound;
}
