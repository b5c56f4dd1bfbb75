#include "driver.h"

#include <dlfcn.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

namespace probe {
namespace {

void* g_driver = nullptr;
uint64_t (*g_soft_now)() = nullptr;
void (*g_soft_sleep)(uint64_t) = nullptr;

}  // namespace

void stop(int code, const char* what, const char* about) {
  std::fprintf(stderr, "gpu_probe: %s%s\n", what, about);
  std::exit(code);
}

void* find(const char* name) {
  return dlsym(g_driver, name);
}

void check(const char* what, int code) {
  if (code == kSuccess) return;
  std::fprintf(stderr, "gpu_probe: %s failed with driver error %d\n", what, code);
  std::exit(1);
}

void start_driver() {
  g_driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
  if (g_driver == nullptr) stop(kNotThere, "no libcuda.so.1: ", dlerror());
  g_soft_now = reinterpret_cast<uint64_t (*)()>(find("tw_softgpu_now_ns"));
  g_soft_sleep = reinterpret_cast<void (*)(uint64_t)>(find("tw_softgpu_sleep_until_ns"));
  void* context = nullptr;
  must<unsigned>("cuInit", 0);
  must<void**, int>("cuDevicePrimaryCtxRetain", &context, 0);
  must<void*>("cuCtxSetCurrent", context);
}

bool is_software() {
  return g_soft_now != nullptr;
}

uint64_t now_ns() {
  if (is_software()) return g_soft_now();
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

void sleep_until_ns(uint64_t time_ns) {
  if (is_software()) return g_soft_sleep(time_ns);
  timespec until{static_cast<time_t>(time_ns / 1'000'000'000), static_cast<long>(time_ns % 1'000'000'000)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) != 0) {
  }
}

int attribute(int which) {
  int value = 0;
  must<int*, int, int>("cuDeviceGetAttribute", &value, which, 0);
  return value;
}

void* load_kernel() {
  void *module = nullptr, *kernel = nullptr;
  std::string image = kernel_text();
  if (const char* path = std::getenv("TW_GPU_IMAGE"); path != nullptr && *path != '\0') {
    std::ifstream file(path, std::ios::binary);
    image.assign(std::istreambuf_iterator<char>(file), {});
    if (image.empty()) stop(1, "no kernel image in ", path);
  }
  must<void**, const void*>("cuModuleLoadData", &module, image.c_str());
  must<void**, void*, const char*>("cuModuleGetFunction", &kernel, module, "tw_spin");
  return kernel;
}

}  // namespace probe
