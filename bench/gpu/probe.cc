// A tenant for the GPU suite: what one process gets out of a slice, on a real GPU or a software one.
//
//   gpu_probe info             device name, memory as the tenant sees it
//   gpu_probe memory           allocates 64 MiB pieces until the driver (or the limit) refuses; prints the
//                              sum
//   gpu_probe spin SECONDS US  launches kernels of US microseconds back to back; prints the share of the time
//                              they ran
//   gpu_probe launch COUNT     nanoseconds of CPU time per launch of an empty kernel
//
// One JSON object on stdout. Needs only libc: the driver is opened at run time and declared here, no toolkit
// needed. tw_spin spins until its duration in ns has passed on the device's own timer.
#include <dlfcn.h>
#include <time.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr const char* kPtx = R"(
.version 6.0
.target sm_50
.address_size 64
.visible .entry tw_spin(.param .u64 duration_ns) {
  .reg .u64 %start, %now, %len;
  .reg .pred %more;
  ld.param.u64 %len, [duration_ns];
  mov.u64 %start, %globaltimer;
again:
  mov.u64 %now, %globaltimer;
  sub.u64 %now, %now, %start;
  setp.lt.u64 %more, %now, %len;
  @%more bra again;
  ret;
}
)";
constexpr uint64_t kPieceBytes = 64ull << 20;
constexpr int kMaxPieces = 1 << 14;
constexpr int kBatch = 16;  // launches between two waits: a queue as an engine keeps it
constexpr int kOutOfMemory = 2;

void* g_driver = nullptr;

template <class F>
F* symbol(const char* name) {
  void* found = dlsym(g_driver, name);
  if (found == nullptr) {
    std::fprintf(stderr, "the driver has no %s\n", name);
    std::exit(3);
  }
  F* function = nullptr;
  std::memcpy(&function, &found, sizeof(function));
  return function;
}

template <class... Args>
int call(const char* name, Args... args) {
  return symbol<int(Args...)>(name)(args...);
}

void check(const char* what, int code) {
  if (code == 0) return;
  std::fprintf(stderr, "%s failed with driver error %d\n", what, code);
  std::exit(1);
}

double seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

struct Kernel {
  void* function = nullptr;
  Kernel() {
    void* module = nullptr;
    check("cuModuleLoadData", call<void**, const void*>("cuModuleLoadData", &module, kPtx));
    check("cuModuleGetFunction",
          call<void**, void*, const char*>("cuModuleGetFunction", &function, module, "tw_spin"));
  }
  void launch(uint64_t duration_ns) const {
    void* arguments[] = {&duration_ns};
    check("cuLaunchKernel",
          call<void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**,
               void**>("cuLaunchKernel", function, 1, 1, 1, 1, 1, 1, 0, nullptr, arguments, nullptr));
  }
};

void wait_for_device() {
  check("cuCtxSynchronize", call<>("cuCtxSynchronize"));
}

int info() {
  char name[256] = "";
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  check("cuDeviceGetName", call<char*, int, int>("cuDeviceGetName", name, sizeof(name), 0));
  check("cuMemGetInfo", call<size_t*, size_t*>("cuMemGetInfo_v2", &free_bytes, &total_bytes));
  std::printf("{\"name\": \"%s\", \"free_bytes\": %zu, \"total_bytes\": %zu}\n", name, free_bytes,
              total_bytes);
  return 0;
}

int memory() {
  int code = 0;
  int pieces = 0;
  for (; pieces < kMaxPieces && code == 0; ++pieces) {
    uint64_t address = 0;
    code = call<uint64_t*, size_t>("cuMemAlloc_v2", &address, kPieceBytes);
  }
  std::printf("{\"granted_bytes\": %llu, \"refused_with\": %d}\n",
              static_cast<unsigned long long>((pieces - 1) * kPieceBytes), code);
  return code == kOutOfMemory ? 0 : 1;
}

int spin(double duration_s, uint64_t kernel_us) {
  const Kernel kernel;
  kernel.launch(1000);
  wait_for_device();
  const double started = seconds(CLOCK_MONOTONIC);
  uint64_t launches = 0;
  while (seconds(CLOCK_MONOTONIC) - started < duration_s) {
    for (int i = 0; i < kBatch; ++i) kernel.launch(kernel_us * 1000);
    wait_for_device();
    launches += kBatch;
  }
  const double elapsed = seconds(CLOCK_MONOTONIC) - started;
  std::printf("{\"launches\": %llu, \"elapsed_s\": %.3f, \"share_percent\": %.2f}\n",
              static_cast<unsigned long long>(launches), elapsed,
              100.0 * static_cast<double>(launches * kernel_us) / 1e6 / elapsed);
  return 0;
}

int launch(uint64_t count) {
  const Kernel kernel;
  kernel.launch(0);
  wait_for_device();
  const double started = seconds(CLOCK_THREAD_CPUTIME_ID);
  for (uint64_t i = 0; i < count; ++i) kernel.launch(0);
  const double used = seconds(CLOCK_THREAD_CPUTIME_ID) - started;
  wait_for_device();
  std::printf("{\"launches\": %llu, \"cpu_ns_per_launch\": %.1f}\n", static_cast<unsigned long long>(count),
              used * 1e9 / static_cast<double>(count));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char* command = argc > 1 ? argv[1] : "";
  g_driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
  if (g_driver == nullptr) {
    std::fprintf(stderr, "no libcuda.so.1: %s\n", dlerror());
    return 3;
  }
  void* context = nullptr;
  check("cuInit", call<unsigned>("cuInit", 0));
  check("cuDevicePrimaryCtxRetain", call<void**, int>("cuDevicePrimaryCtxRetain", &context, 0));
  check("cuCtxSetCurrent", call<void*>("cuCtxSetCurrent", context));
  if (std::strcmp(command, "info") == 0) return info();
  if (std::strcmp(command, "memory") == 0) return memory();
  if (std::strcmp(command, "spin") == 0 && argc == 4)
    return spin(std::atof(argv[2]), std::strtoull(argv[3], nullptr, 10));
  if (std::strcmp(command, "launch") == 0 && argc == 3) return launch(std::strtoull(argv[2], nullptr, 10));
  std::fprintf(stderr, "usage: gpu_probe info | memory | spin SECONDS US | launch COUNT\n");
  return 2;
}
