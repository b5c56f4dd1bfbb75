// Launches of before CUDA 4, whose shape and arguments are set on the function beforehand, and cooperative
// launches on several cards at once.
#include <algorithm>
#include <cstring>
#include <vector>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"

using namespace tweendeck::softgpu;

namespace {

constexpr unsigned kMostParameterBytes = 4096;

Function* old(CUfunction handle) {
  return reinterpret_cast<Function*>(handle);
}

CUresult set_parameter(CUfunction handle, int offset, const void* value, unsigned bytes) {
  TW_DRIVER(driver);
  if (handle == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (offset < 0 || value == nullptr || bytes > kMostParameterBytes ||
      static_cast<unsigned>(offset) > kMostParameterBytes - bytes) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::vector<unsigned char>& all = old(handle)->parameters;
  all.resize(std::max<size_t>(all.size(), static_cast<size_t>(offset) + bytes));
  memcpy(all.data() + offset, value, bytes);
  return CUDA_SUCCESS;
}

CUresult launch_grid(CUfunction handle, int width, int height, CUstream stream) {
  if (handle == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (width <= 0 || height <= 0) return CUDA_ERROR_INVALID_VALUE;
  Function& function = *old(handle);
  size_t bytes = function.parameters.size();
  void* extra[] = {reinterpret_cast<void*>(kLaunchParamBufferPointer), function.parameters.data(),
                   reinterpret_cast<void*>(kLaunchParamBufferSize), &bytes,
                   reinterpret_cast<void*>(kLaunchParamEnd)};
  const auto& [x, y, z] = function.block;
  return cuLaunchKernel(handle, static_cast<unsigned>(width), static_cast<unsigned>(height), 1, x, y, z,
                        function.shared_bytes, stream, nullptr, extra);
}

// One launch per device, each into a stream of it that is not the default one.
CUresult check_devices(const CUDA_LAUNCH_PARAMS* launches, unsigned count) {
  if (launches == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  std::vector<int> devices;
  for (unsigned i = 0; i < count; ++i) {
    if (launches[i].stream == nullptr) return CUDA_ERROR_INVALID_VALUE;
    Stream* stream = nullptr;
    if (CUresult error = resolve_stream(launches[i].stream, false, stream); error != CUDA_SUCCESS)
      return error;
    if (std::ranges::count(devices, stream->context->device) != 0) return CUDA_ERROR_INVALID_DEVICE;
    devices.push_back(stream->context->device);
  }
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuFuncSetBlockShape(CUfunction f, int x, int y, int z) {
  TW_DRIVER(driver);
  if (f == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (x <= 0 || y <= 0 || z <= 0) return CUDA_ERROR_INVALID_VALUE;
  old(f)->block = {static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z)};
  return CUDA_SUCCESS;
}

CUresult cuFuncSetSharedSize(CUfunction f, unsigned bytes) {
  TW_DRIVER(driver);
  if (f == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  old(f)->shared_bytes = bytes;
  return CUDA_SUCCESS;
}

CUresult cuParamSetSize(CUfunction f, unsigned bytes) {
  TW_DRIVER(driver);
  if (f == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (bytes > kMostParameterBytes) return CUDA_ERROR_INVALID_VALUE;
  old(f)->parameters.resize(bytes);
  return CUDA_SUCCESS;
}

CUresult cuParamSetv(CUfunction f, int offset, void* value, unsigned bytes) {
  return set_parameter(f, offset, value, bytes);
}
CUresult cuParamSeti(CUfunction f, int offset, unsigned value) {
  return set_parameter(f, offset, &value, sizeof value);
}
CUresult cuParamSetf(CUfunction f, int offset, float value) {
  return set_parameter(f, offset, &value, sizeof value);
}

CUresult cuLaunch(CUfunction f) {
  return launch_grid(f, 1, 1, nullptr);
}
CUresult cuLaunchGrid(CUfunction f, int width, int height) {
  return launch_grid(f, width, height, nullptr);
}
CUresult cuLaunchGridAsync(CUfunction f, int width, int height, CUstream stream) {
  return launch_grid(f, width, height, stream);
}

CUresult cuLaunchCooperativeKernelMultiDevice(CUDA_LAUNCH_PARAMS* launches, unsigned count, unsigned) {
  TW_DRIVER(driver);
  if (CUresult error = check_devices(launches, count); error != CUDA_SUCCESS) return error;
  for (unsigned i = 0; i < count; ++i) {
    const CUDA_LAUNCH_PARAMS& one = launches[i];
    CUcontext context = nullptr;
    CUresult error = cuStreamGetCtx(one.stream, &context);
    if (error == CUDA_SUCCESS) error = cuCtxPushCurrent_v2(context);
    if (error != CUDA_SUCCESS) return error;
    error = cuLaunchCooperativeKernel(one.function, one.grid_x, one.grid_y, one.grid_z, one.block_x,
                                      one.block_y, one.block_z, one.shared_bytes, one.stream, one.parameters);
    cuCtxPopCurrent_v2(&context);
    if (error != CUDA_SUCCESS) return error;
  }
  return CUDA_SUCCESS;
}
