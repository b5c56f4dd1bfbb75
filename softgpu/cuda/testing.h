// The built stand-ins as a client sees them: loaded at run time, by their exported names. One set of cards
// with a virtual clock for the whole test program, because a process loads a driver once.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "softgpu/host.h"

namespace tweendeck::softgpu::testing {

struct Cards : ::testing::Environment {
  void SetUp() override {
    path = ::testing::TempDir() + "tw-softgpu-driver-test-" + std::to_string(getpid());
    auto made = create_cards(path, {.cards = "1:H100-80G,1:A10", .virtual_clock = true});
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
