// The built stand-ins as a client sees them: loaded at run time, by their exported names. One set of cards
// with a virtual clock for the whole test program, because a process loads a driver once.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "softgpu/cuda/api.h"
#include "softgpu/host.h"

namespace tweendeck::softgpu::testing {

struct Cards : ::testing::Environment {
  void SetUp() override {
    path = ::testing::TempDir() + "tw-softgpu-driver-test-" + std::to_string(getpid());
    auto made = create_cards(path, {.cards = "1:H100-80G,1:A10,1:A10/overlapping", .virtual_clock = true});
    ASSERT_TRUE(made) << made.error();
    setenv("TWEENDECK_SOFTGPU_STATE", path.c_str(), 1);
    unsetenv("CUDA_VISIBLE_DEVICES");
    cuda = load("libcuda.so.1");
    nvml = load("libnvidia-ml.so.1");
  }
  void TearDown() override { unlink(path.c_str()); }

  static void* load(const char* name) {
    const char* build = getenv("TWEENDECK_BUILD_DIR");
    const std::string file = std::string(build == nullptr ? "." : build) + "/lib/softgpu/" + name;
    void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) ADD_FAILURE() << dlerror();
    return library;
  }

  static inline std::string path;
  static inline void* cuda = nullptr;
  static inline void* nvml = nullptr;
};

}  // namespace tweendeck::softgpu::testing

// The library's function of that name, with the type of its declaration: CALL(cuInit)(0).
#define CALL(name) reinterpret_cast<decltype(&name)>(dlsym(::tweendeck::softgpu::testing::Cards::cuda, #name))
#define NVML(name) reinterpret_cast<decltype(&name)>(dlsym(::tweendeck::softgpu::testing::Cards::nvml, #name))
#define OK(expression) ASSERT_EQ(static_cast<int>(expression), 0)

namespace tweendeck::softgpu::testing {

inline constexpr uint64_t kMs = 1'000'000;

// A primary context of card 0, and a kernel that takes as long as it is told.
class DriverTest : public ::testing::Test {
 protected:
  void SetUp() override {
    OK(CALL(cuInit)(0));
    OK(CALL(cuDevicePrimaryCtxRetain)(&context, 0));
    OK(CALL(cuCtxSetCurrent)(context));
    OK(CALL(cuModuleLoadData)(&module, "any image"));
    OK(CALL(cuModuleGetFunction)(&spin, module, "tw_spin"));
  }
  void TearDown() override {
    OK(CALL(cuModuleUnload)(module));
    OK(CALL(cuDevicePrimaryCtxRelease_v2)(0));
  }
  CUresult launch_spin(uint64_t duration_ns, CUstream stream = nullptr) {
    void* parameters[] = {&duration_ns};
    return CALL(cuLaunchKernel)(spin, 1, 1, 1, 1, 1, 1, 0, stream, parameters, nullptr);
  }
  static uint64_t now() { return CALL(tw_softgpu_now_ns)(); }
  static size_t free_bytes() {
    size_t free = 0;
    size_t total = 0;
    EXPECT_EQ(CALL(cuMemGetInfo_v2)(&free, &total), CUDA_SUCCESS);
    return free;
  }

  CUcontext context = nullptr;
  CUmodule module = nullptr;
  CUfunction spin = nullptr;
};

}  // namespace tweendeck::softgpu::testing
