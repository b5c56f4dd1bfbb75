// Launches: the duration of a kernel goes into the card's queue.
#include <algorithm>
#include <cstring>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/capture.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/forms.h"
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

uint32_t blocks_per_sm(const CardInfo& card, uint64_t threads_per_block) {
  return static_cast<uint32_t>(std::min<uint64_t>(card.threads_per_sm / threads_per_block, kMaxBlocksPerSm));
}

enum LaunchAttribute : int {  // CUlaunchAttributeID
  kCooperative = 2,
  kClusterDimension = 4,
  kPriority = 8,
};
constexpr unsigned kMaxClusterBlocks = 16;  // the largest that is not portable
constexpr uint32_t kFirstClusterArchitecture = 9;

// Attributes that say how a kernel uses caches, memory or events change nothing in a timed kernel.
CUresult read_attributes(const CUlaunchConfig& config, const CardInfo& card, KernelOperation& kernel) {
  if (config.attribute_count > 0 && config.attributes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < config.attribute_count; ++i) {
    const CUlaunchAttribute& attribute = config.attributes[i];
    if (attribute.id == kCooperative) {
      int on = 0;
      memcpy(&on, attribute.value, sizeof on);
      kernel.cooperative = on != 0;
    } else if (attribute.id == kPriority) {
      memcpy(&kernel.priority, attribute.value, sizeof kernel.priority);
    } else if (attribute.id == kClusterDimension) {
      memcpy(kernel.cluster, attribute.value, sizeof kernel.cluster);
    }
  }
  const auto& [x, y, z] = kernel.cluster;
  if (x == 0 && y == 0 && z == 0) return CUDA_SUCCESS;
  if (card.compute_major < kFirstClusterArchitecture) return CUDA_ERROR_NOT_SUPPORTED;
  if (x == 0 || y == 0 || z == 0 || uint64_t{x} * y * z > kMaxClusterBlocks || config.grid_x % x != 0 ||
      config.grid_y % y != 0 || config.grid_z % z != 0) {
    return CUDA_ERROR_INVALID_CLUSTER_SIZE;
  }
  return CUDA_SUCCESS;
}

CUresult launch(const CUlaunchConfig& config, CUfunction function, void** parameters, void** extra,
                bool per_thread) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  Stream* stream = nullptr;
  KernelOperation kernel;
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (CUresult error = resolve_stream(config.stream, per_thread, stream); error != CUDA_SUCCESS) return error;
  if (CUresult error =
          describe_kernel(config, function, parameters, extra, stream->context, stream->sms, kernel);
      error != CUDA_SUCCESS) {
    return error;
  }
  return is_capturing(*stream) ? capture_operation(*stream, kernel)
                               : enqueue(*stream, kernel.duration_ns, kernel.sms);
}

CUresult launch_ex(const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra,
                   bool per_thread) {
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return launch(*config, function, parameters, extra, per_thread);
}

CUresult launch_cooperative(CUlaunchConfig config, CUfunction function, void** parameters, bool per_thread) {
  CUlaunchAttribute cooperative{};
  cooperative.id = kCooperative;
  cooperative.value[0] = 1;
  config.attributes = &cooperative;
  config.attribute_count = 1;
  return launch(config, function, parameters, nullptr, per_thread);
}

// As many blocks as fit an SM by threads alone, since timed kernels use neither shared memory nor registers.
CUresult occupancy(int* blocks, int block_size) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (blocks == nullptr || block_size <= 0) return CUDA_ERROR_INVALID_VALUE;
  *blocks = static_cast<int>(blocks_per_sm(driver->info(context->device), static_cast<uint64_t>(block_size)));
  return CUDA_SUCCESS;
}

}  // namespace

namespace tweendeck::softgpu {

CUresult describe_kernel(const CUlaunchConfig& config, CUfunction function, void** parameters, void** extra,
                         Context* context, unsigned sms, KernelOperation& kernel) {
  if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CardInfo& card = Driver::get()->info(context->device);
  if (!shape_is_valid(config) || config.shared_bytes > card.shared_memory_per_block_optin) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (CUresult error = read_attributes(config, card, kernel); error != CUDA_SUCCESS) return error;
  const uint64_t blocks = uint64_t{config.grid_x} * config.grid_y * config.grid_z;
  const uint64_t threads = uint64_t{config.block_x} * config.block_y * config.block_z;
  const uint32_t usable = sms == 0 ? card.sm_count : sms;
  const uint64_t per_sm = std::max<uint32_t>(blocks_per_sm(card, threads), 1);
  kernel.sms = static_cast<uint32_t>(std::min<uint64_t>((blocks + per_sm - 1) / per_sm, usable));
  // All blocks of a cooperative kernel are on the card at once.
  if (kernel.cooperative && blocks > per_sm * usable) return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
  if (!reinterpret_cast<const Function*>(function)->is_spin) {
    CardInfo part = card;
    part.sm_count = usable;
    kernel.duration_ns = kernel_duration_ns(part, blocks, threads);
  } else if (read_spin_argument(parameters, extra, kernel.argument_ns)) {
    kernel.duration_ns = kernel.argument_ns;
  } else {
    return CUDA_ERROR_INVALID_VALUE;
  }
  kernel.shape = config;
  kernel.shape.stream = nullptr;
  kernel.shape.attributes = nullptr;
  kernel.shape.attribute_count = 0;
  kernel.function = function;
  kernel.context = context;
  return CUDA_SUCCESS;
}

}  // namespace tweendeck::softgpu

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

TW_TWO_FORMS(cuLaunchCooperativeKernel, _ptsz,
             (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
              unsigned shared, CUstream stream, void** parameters),
             launch_cooperative({gx, gy, gz, bx, by, bz, shared, stream, nullptr, 0}, f, parameters,
                                kPerThread))

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction, int block_size, size_t) {
  return occupancy(blocks, block_size);
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction, int block_size, size_t,
                                                              unsigned) {
  return occupancy(blocks, block_size);
}
