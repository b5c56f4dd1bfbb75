// Launches: the duration of a kernel goes into the card's queue.
#include <algorithm>
#include <cstring>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/model/cards.h"

using namespace tweendeck::softgpu;

namespace {

// tw_spin's argument, from either form in which the ABI passes arguments.
bool read_spin_argument(void** parameters, void** extra, uint64_t& duration_ns) {
  if (parameters != nullptr) {
    if (parameters[0] == nullptr) return false;
    memcpy(&duration_ns, parameters[0], sizeof duration_ns);
    return true;
  }
  if (extra == nullptr) return false;
  const void* buffer = nullptr;
  size_t bytes = 0;
  for (; reinterpret_cast<uintptr_t>(*extra) != kLaunchParamEnd; extra += 2) {
    if (reinterpret_cast<uintptr_t>(extra[0]) == kLaunchParamBufferPointer) buffer = extra[1];
    if (reinterpret_cast<uintptr_t>(extra[0]) == kLaunchParamBufferSize)
      bytes = *static_cast<size_t*>(extra[1]);
  }
  if (buffer == nullptr || bytes < sizeof duration_ns) return false;
  memcpy(&duration_ns, buffer, sizeof duration_ns);
  return true;
}

bool shape_is_valid(const CUlaunchConfig& c) {
  constexpr unsigned kMaxGridYz = 65535;
  constexpr unsigned kMaxBlockXy = 1024;
  constexpr unsigned kMaxBlockZ = 64;
  if (c.grid_x == 0 || c.grid_y == 0 || c.grid_z == 0 || c.block_x == 0 || c.block_y == 0 || c.block_z == 0)
    return false;
  if (c.grid_x > INT32_MAX || c.grid_y > kMaxGridYz || c.grid_z > kMaxGridYz) return false;
  if (c.block_x > kMaxBlockXy || c.block_y > kMaxBlockXy || c.block_z > kMaxBlockZ) return false;
  return uint64_t{c.block_x} * c.block_y * c.block_z <= kMaxThreadsPerBlock;
}

CUresult launch(const CUlaunchConfig& c, CUfunction handle, void** parameters, void** extra,
                bool per_thread) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (handle == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (!shape_is_valid(c) || c.shared_bytes > driver->info(context->device).shared_memory_per_block_optin) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  Stream* stream = nullptr;
  if (CUresult error = resolve_stream(c.stream, per_thread, stream); error != CUDA_SUCCESS) return error;
  const auto& function = *reinterpret_cast<const Function*>(handle);
  uint64_t duration_ns = 0;
  if (!function.is_spin) {
    duration_ns = kernel_duration_ns(driver->info(context->device), uint64_t{c.grid_x} * c.grid_y * c.grid_z,
                                     uint64_t{c.block_x} * c.block_y * c.block_z);
  } else if (!read_spin_argument(parameters, extra, duration_ns)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return enqueue(*stream, duration_ns);
}

CUresult launch_ex(const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra,
                   bool per_thread) {
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return launch(*config, function, parameters, extra, per_thread);
}

// As many blocks as fit an SM by threads alone, since timed kernels use neither shared memory nor registers.
CUresult occupancy(int* blocks, int block_size) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (blocks == nullptr || block_size <= 0) return CUDA_ERROR_INVALID_VALUE;
  const uint32_t threads = driver->info(context->device).threads_per_sm;
  *blocks = static_cast<int>(std::min(threads / static_cast<uint32_t>(block_size), kMaxBlocksPerSm));
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                        unsigned bz, unsigned shared, CUstream stream, void** parameters, void** extra) {
  return launch({gx, gy, gz, bx, by, bz, shared, stream, nullptr, 0}, f, parameters, extra, false);
}
CUresult cuLaunchKernel_ptsz(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                             unsigned bz, unsigned shared, CUstream stream, void** parameters, void** extra) {
  return launch({gx, gy, gz, bx, by, bz, shared, stream, nullptr, 0}, f, parameters, extra, true);
}
CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction f, void** parameters, void** extra) {
  return launch_ex(config, f, parameters, extra, false);
}
CUresult cuLaunchKernelEx_ptsz(const CUlaunchConfig* config, CUfunction f, void** parameters, void** extra) {
  return launch_ex(config, f, parameters, extra, true);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction, int block_size, size_t) {
  return occupancy(blocks, block_size);
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction, int block_size, size_t,
                                                              unsigned) {
  return occupancy(blocks, block_size);
}
