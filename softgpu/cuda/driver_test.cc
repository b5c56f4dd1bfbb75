// The built libcuda.so.1 and libnvidia-ml.so.1 as a client sees them: loaded at run time, by their exported
// names.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/testing.h"

namespace {

int g_interposed_calls = 0;

}  // namespace

// This program exports names of the driver, which the dynamic linker finds before the stand-in's, as it does
// with a preloaded interposer. The stand-in must never come here by itself.
CUresult cuMemAlloc_v2(CUdeviceptr*, size_t) {
  ++g_interposed_calls;
  return CUDA_ERROR_UNKNOWN;
}
CUresult cuDevicePrimaryCtxReset_v2(CUdevice) {
  ++g_interposed_calls;
  return CUDA_ERROR_UNKNOWN;
}
CUresult cuGetProcAddress_v2(const char*, void**, int, uint64_t, CUdriverProcAddressQueryResult*) {
  ++g_interposed_calls;
  return CUDA_ERROR_UNKNOWN;
}

namespace {

using tweendeck::softgpu::testing::Cards;
using tweendeck::softgpu::testing::kMs;

[[maybe_unused]] const auto* const kCards = ::testing::AddGlobalTestEnvironment(new Cards);

using Driver = tweendeck::softgpu::testing::DriverTest;

TEST_F(Driver, NamesItsDevicesSimulated) {
  char name[128];
  OK(CALL(cuDeviceGetName)(name, sizeof name, 1));
  EXPECT_STREQ(name, "Tweendeck Soft A10 (simulated)");
  int sms = 0;
  OK(CALL(cuDeviceGetAttribute)(&sms, 16, 0));
  EXPECT_EQ(sms, 132);
  EXPECT_EQ(CALL(cuDeviceGetAttribute)(&sms, 4000, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(CALL(cuDeviceGetName)(name, sizeof name, 3), CUDA_ERROR_INVALID_DEVICE);
}

TEST_F(Driver, LimitsOfAContextTakeMemory) {
  const size_t before = free_bytes();
  size_t heap = 0, stack = 0;
  OK(CALL(cuCtxGetLimit)(&heap, 2));
  OK(CALL(cuCtxGetLimit)(&stack, 0));
  OK(CALL(cuCtxSetLimit)(2, heap + (64 << 20)));
  EXPECT_EQ(before - free_bytes(), 64u << 20);
  EXPECT_EQ(CALL(cuCtxSetLimit)(2, size_t{1} << 39), CUDA_ERROR_OUT_OF_MEMORY);
  OK(CALL(cuCtxSetLimit)(0, stack + 16));
  EXPECT_EQ(before - free_bytes(), (64u << 20) + 16u * 132 * 2048)
      << "for every thread that the card can hold";
  OK(CALL(cuCtxSetLimit)(2, heap));
  OK(CALL(cuCtxSetLimit)(0, stack));
  EXPECT_EQ(free_bytes(), before);
}

TEST_F(Driver, MemoryIsChargedRefusedAndReturned) {
  const size_t before = free_bytes();
  CUdeviceptr a = 0;
  CUdeviceptr b = 0;
  OK(CALL(cuMemAlloc_v2)(&a, 1));
  EXPECT_EQ(before - free_bytes(), 512u);
  EXPECT_EQ(CALL(cuMemAlloc_v2)(&b, before), CUDA_ERROR_OUT_OF_MEMORY);
  OK(CALL(cuMemAlloc_v2)(&b, before - 512));
  EXPECT_EQ(free_bytes(), 0u);
  EXPECT_EQ(CALL(cuMemFree_v2)(a + 1), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuMemFree_v2)(b));
  OK(CALL(cuMemFree_v2)(a));
  EXPECT_EQ(CALL(cuMemFree_v2)(a), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuMemFree_v2)(0));
  EXPECT_EQ(CALL(cuMemAlloc_v2)(&a, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(CALL(cuMemAlloc_v2)(&a, SIZE_MAX), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(free_bytes(), before);
}

TEST_F(Driver, CopiesMoveRealBytesAndStayInsideAllocations) {
  CUdeviceptr a = 0;
  CUdeviceptr b = 0;
  size_t pitch = 0;
  OK(CALL(cuMemAlloc_v2)(&a, 4096));
  OK(CALL(cuMemAllocPitch_v2)(&b, &pitch, 100, 4, 4));
  EXPECT_EQ(pitch, 512u);
  std::vector<unsigned char> bytes(4096);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(i * 7);
  OK(CALL(cuMemcpyHtoD_v2)(a, bytes.data(), bytes.size()));
  OK(CALL(cuMemsetD32_v2)(a + 8, 0x01020304, 2));
  std::vector<unsigned char> back(16);
  OK(CALL(cuMemcpyDtoHAsync_v2)(back.data(), a, 16, nullptr));
  EXPECT_EQ(back[7], bytes[7]);
  EXPECT_EQ(back[8], 4);
  EXPECT_EQ(back[15], 1);
  CUDA_MEMCPY2D copy{};
  copy.src_type = kMemoryDevice;
  copy.src_device = a;
  copy.src_pitch = 100;
  copy.dst_type = kMemoryDevice;
  copy.dst_device = b;
  copy.dst_pitch = pitch;
  copy.width = 100;
  copy.height = 4;
  OK(CALL(cuMemcpy2D_v2)(&copy));
  OK(CALL(cuMemcpyDtoH_v2)(back.data(), b + 3 * pitch, 16));
  EXPECT_EQ(back[0], bytes[300]);
  EXPECT_EQ(CALL(cuMemcpyHtoD_v2)(a, bytes.data(), 4097), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(CALL(cuMemsetD8_v2)(b + 4 * pitch, 0, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(CALL(cuMemsetD32_v2)(a, 0, SIZE_MAX / 2), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(CALL(cuMemsetD32_v2)(a + 1, 0, 1), CUDA_ERROR_INVALID_VALUE);
  unsigned type = 0;
  OK(CALL(cuPointerGetAttribute)(&type, 2, a + 100));
  EXPECT_EQ(type, kMemoryDevice);
  OK(CALL(cuMemFree_v2)(a));
  OK(CALL(cuMemFree_v2)(b));
}

TEST_F(Driver, ADeviceAddressIsNotReadableByTheHost) {
  CUdeviceptr a = 0;
  OK(CALL(cuMemAlloc_v2)(&a, 4096));
  EXPECT_DEATH({ [[maybe_unused]] volatile char c = *reinterpret_cast<volatile char*>(a); }, "");
  OK(CALL(cuMemFree_v2)(a));
}

TEST_F(Driver, LaunchesTakeTheirTimeInOrder) {
  const uint64_t start = now();
  OK(launch_spin(5 * kMs));
  OK(launch_spin(7 * kMs));
  EXPECT_EQ(now(), start);
  EXPECT_EQ(CALL(cuStreamQuery)(nullptr), CUDA_ERROR_NOT_READY);
  OK(CALL(cuCtxSynchronize)());
  EXPECT_EQ(now(), start + 12 * kMs);
  EXPECT_EQ(CALL(cuStreamQuery)(nullptr), CUDA_SUCCESS);
}

TEST_F(Driver, SpinTakesItsArgumentFromTheBufferFormToo) {
  uint64_t duration = 3 * kMs;
  size_t bytes = sizeof duration;
  void* extra[] = {reinterpret_cast<void*>(kLaunchParamBufferPointer), &duration,
                   reinterpret_cast<void*>(kLaunchParamBufferSize), &bytes,
                   reinterpret_cast<void*>(kLaunchParamEnd)};
  const uint64_t start = now();
  OK(CALL(cuLaunchKernel)(spin, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, extra));
  OK(CALL(cuStreamSynchronize)(nullptr));
  EXPECT_EQ(now() - start, 3 * kMs);
  EXPECT_EQ(CALL(cuLaunchKernel)(spin, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(CALL(cuLaunchKernel)(spin, 0, 1, 1, 1, 1, 1, 0, nullptr, nullptr, extra),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(CALL(cuLaunchKernel)(spin, 1, 1, 1, 1024, 2, 1, 0, nullptr, nullptr, extra),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(CALL(cuLaunchKernel)(nullptr, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, extra),
            CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(Driver, OtherKernelsTakeWhatTheirGridNeeds) {
  CUfunction other = nullptr;
  OK(CALL(cuModuleGetFunction)(&other, module, "matmul"));
  const uint64_t start = now();
  CUlaunchConfig config{1056, 1, 1, 256, 1, 1, 0, nullptr, nullptr, 0};  // one wave of 132 SMs x 8 blocks
  OK(CALL(cuLaunchKernelEx)(&config, other, nullptr, nullptr));
  OK(CALL(cuCtxSynchronize)());
  EXPECT_EQ(now() - start, 2'000u + 10'000u * 1000 / 1980);
}

TEST_F(Driver, EventsTimeTheWorkBetweenThem) {
  CUstream stream = nullptr;
  CUevent first = nullptr;
  CUevent second = nullptr;
  OK(CALL(cuStreamCreateWithPriority)(&stream, kStreamNonBlocking, -9));
  int priority = 0;
  OK(CALL(cuStreamGetPriority)(stream, &priority));
  EXPECT_EQ(priority, -5);
  OK(CALL(cuEventCreate)(&first, 0));
  OK(CALL(cuEventCreate)(&second, 0));
  float ms = 0;
  EXPECT_EQ(CALL(cuEventElapsedTime)(&ms, first, second), CUDA_ERROR_INVALID_HANDLE);
  OK(CALL(cuEventRecord)(first, stream));
  OK(launch_spin(30 * kMs, stream));
  OK(CALL(cuEventRecord)(second, stream));
  EXPECT_EQ(CALL(cuEventElapsedTime)(&ms, first, second), CUDA_ERROR_NOT_READY);
  OK(CALL(cuEventSynchronize)(second));
  OK(CALL(cuEventElapsedTime)(&ms, first, second));
  EXPECT_FLOAT_EQ(ms, 30);
  OK(CALL(cuEventDestroy_v2)(first));
  EXPECT_EQ(CALL(cuEventRecord)(first, stream), CUDA_ERROR_INVALID_HANDLE);
  OK(CALL(cuEventDestroy_v2)(second));
  OK(CALL(cuStreamDestroy_v2)(stream));
  EXPECT_EQ(CALL(cuStreamSynchronize)(stream), CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(Driver, AStreamWaitsForAnEventOfAnotherCard) {
  CUcontext other = nullptr;
  CUevent event = nullptr;
  OK(CALL(cuEventCreate)(&event, 0));
  const uint64_t start = now();
  OK(launch_spin(40 * kMs));
  OK(CALL(cuEventRecord)(event, nullptr));
  OK(CALL(cuCtxCreate_v2)(&other, 0, 1));
  OK(CALL(cuStreamWaitEvent)(nullptr, event, 0));
  OK(launch_spin(2 * kMs));
  OK(CALL(cuCtxSynchronize)());
  EXPECT_EQ(now(), start + 42 * kMs);
  OK(CALL(cuCtxDestroy_v2)(other));
  CUcontext current = nullptr;
  OK(CALL(cuCtxGetCurrent)(&current));
  EXPECT_EQ(current, context);
  OK(CALL(cuEventDestroy_v2)(event));
}

TEST_F(Driver, PerThreadDefaultStreamsDoNotWaitForEachOther) {
  const uint64_t start = now();
  uint64_t duration = 9 * kMs;
  void* parameters[] = {&duration};
  OK(CALL(cuLaunchKernel_ptsz)(spin, 1, 1, 1, 1, 1, 1, 0, nullptr, parameters, nullptr));
  CUstream idle = nullptr;
  OK(CALL(cuStreamCreate)(&idle, kStreamNonBlocking));
  OK(CALL(cuStreamSynchronize)(idle));
  EXPECT_EQ(now(), start);
  OK(CALL(cuStreamSynchronize_ptsz)(nullptr));
  EXPECT_EQ(now(), start + 9 * kMs);
  OK(CALL(cuStreamDestroy_v2)(idle));
}

TEST_F(Driver, ProcAddressKnowsVersionsAndStreamFlags) {
  auto get = CALL(cuGetProcAddress_v2);
  auto find = [&](const char* name, int version, uint64_t flags, CUdriverProcAddressQueryResult& status) {
    void* pfn = nullptr;
    EXPECT_EQ(get(name, &pfn, version, flags, &status), CUDA_SUCCESS);
    return pfn;
  };
  CUdriverProcAddressQueryResult status;
  EXPECT_EQ(find("cuMemAlloc", 3020, 0, status), dlsym(Cards::cuda, "cuMemAlloc_v2"));
  EXPECT_EQ(find("cuCtxCreate", 3020, 0, status), dlsym(Cards::cuda, "cuCtxCreate_v2"));
  EXPECT_EQ(find("cuCtxCreate", 11040, 0, status), dlsym(Cards::cuda, "cuCtxCreate_v3"));
  EXPECT_EQ(find("cuCtxCreate", 13000, 0, status), dlsym(Cards::cuda, "cuCtxCreate_v4"));
  EXPECT_EQ(find("cuGetProcAddress", 11030, 0, status), dlsym(Cards::cuda, "cuGetProcAddress"));
  EXPECT_EQ(find("cuGetProcAddress", 12000, 0, status), dlsym(Cards::cuda, "cuGetProcAddress_v2"));
  EXPECT_EQ(find("cuLaunchKernel", 12000, 2, status), dlsym(Cards::cuda, "cuLaunchKernel_ptsz"));
  EXPECT_EQ(find("cuMemcpyHtoD", 12000, 2, status), dlsym(Cards::cuda, "cuMemcpyHtoD_v2_ptds"));
  EXPECT_EQ(find("cuMemAlloc", 12000, 2, status), dlsym(Cards::cuda, "cuMemAlloc_v2"));
  EXPECT_EQ(status, kProcAddressFound);
  EXPECT_EQ(find("cuMemAlloc", 3000, 0, status), nullptr);
  EXPECT_EQ(status, kProcAddressVersionTooLow);
  EXPECT_EQ(find("", 12000, 0, status), nullptr);
  EXPECT_EQ(find("cuNoSuchCall", 12000, 0, status), nullptr);
  EXPECT_EQ(status, kProcAddressNotFound);
  void* pfn = nullptr;
  EXPECT_EQ(CALL(cuGetProcAddress)("cuNoSuchCall", &pfn, 12000, 0), CUDA_ERROR_NOT_FOUND);
}

TEST_F(Driver, DoesNotEnterAnInterposerByItself) {
  CUdeviceptr pointer = 0;
  size_t pitch = 0;
  OK(CALL(cuMemAllocPitch_v2)(&pointer, &pitch, 64, 64, 4));
  OK(CALL(cuMemFree_v2)(pointer));
  CUcontext again = nullptr;
  OK(CALL(cuDevicePrimaryCtxRetain)(&again, 1));
  OK(CALL(cuDevicePrimaryCtxRelease_v2)(1));
  void* pfn = nullptr;
  OK(CALL(cuGetProcAddress)("cuMemAlloc", &pfn, 12000, 0));
  EXPECT_EQ(pfn, dlsym(Cards::cuda, "cuMemAlloc_v2"));
  EXPECT_NE(pfn, reinterpret_cast<void*>(&cuMemAlloc_v2));
  EXPECT_EQ(g_interposed_calls, 0);
}

TEST_F(Driver, ErrorsHaveNamesAndTexts) {
  const char* text = nullptr;
  OK(CALL(cuGetErrorName)(CUDA_ERROR_OUT_OF_MEMORY, &text));
  EXPECT_STREQ(text, "CUDA_ERROR_OUT_OF_MEMORY");
  OK(CALL(cuGetErrorString)(CUDA_ERROR_OUT_OF_MEMORY, &text));
  EXPECT_STREQ(text, "out of memory");
  EXPECT_EQ(CALL(cuGetErrorName)(static_cast<CUresult>(12345), &text), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Driver, AThreadWithoutAContextIsTold) {
  std::thread([] {
    CUdeviceptr pointer = 0;
    EXPECT_EQ(CALL(cuMemAlloc_v2)(&pointer, 1), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_EQ(CALL(cuCtxPopCurrent_v2)(nullptr), CUDA_ERROR_INVALID_CONTEXT);
  }).join();
}

TEST_F(Driver, AForkedChildCannotUseItAndTakesNothingAlong) {
  const size_t before = free_bytes();
  const pid_t child = fork();
  if (child == 0) {
    size_t free = 0;
    size_t total = 0;
    _exit(CALL(cuMemGetInfo_v2)(&free, &total) == CUDA_ERROR_NOT_INITIALIZED ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(free_bytes(), before);
}

TEST_F(Driver, ADestroyedContextGivesItsMemoryBack) {
  const size_t before = free_bytes();
  CUcontext extra = nullptr;
  CUdeviceptr pointer = 0;
  OK(CALL(cuCtxCreate_v2)(&extra, 0, 0));
  OK(CALL(cuMemAlloc_v2)(&pointer, 1 << 30));
  EXPECT_LT(free_bytes(), before - (1 << 30));
  OK(CALL(cuCtxDestroy_v2)(extra));
  EXPECT_EQ(free_bytes(), before);
  EXPECT_EQ(CALL(cuCtxSetCurrent)(extra), CUDA_ERROR_INVALID_CONTEXT);
}

}  // namespace
