// Modules, libraries, functions, kernels. Any image is accepted and every name resolves, because kernels are
// timed and not computed; the name alone says how (tw_spin or not).
#include <fcntl.h>
#include <unistd.h>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"

using namespace tweendeck::softgpu;

namespace {

constexpr uint64_t kSpinParameterBytes = 8;

Function* as_function(const void* handle) {
  return const_cast<Function*>(static_cast<const Function*>(handle));
}

CUresult load(CUmodule* out, const void* image) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (out == nullptr || image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUresult error = CUDA_SUCCESS;
  *out = reinterpret_cast<CUmodule>(driver->load_module(context, error));
  return error;
}

CUresult check_file(const char* path) {
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return CUDA_ERROR_FILE_NOT_FOUND;
  close(fd);
  return CUDA_SUCCESS;
}

CUresult load_library(CUlibrary* out) {
  TW_DRIVER(driver);
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUresult error = CUDA_SUCCESS;
  *out = reinterpret_cast<CUlibrary>(driver->load_module(nullptr, error));
  return error;
}

CUresult get_function(void** out, void* module, const char* name) {
  TW_DRIVER(driver);
  if (out == nullptr || name == nullptr || *name == 0) return CUDA_ERROR_INVALID_VALUE;
  *out = driver->function(static_cast<Module*>(module), name);
  return *out == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

// CUfunction_attribute, for a kernel that uses no shared memory and 32 registers per thread.
CUresult function_attribute(int* out, int attribute, const CardInfo& card) {
  constexpr int kLast = 17;
  if (out == nullptr || attribute < 0 || attribute > kLast) return CUDA_ERROR_INVALID_VALUE;
  const int version = static_cast<int>(card.compute_major * 10 + card.compute_minor);
  switch (attribute) {
    case 0:
      *out = static_cast<int>(kMaxThreadsPerBlock);
      break;  // MAX_THREADS_PER_BLOCK
    case 4:
      *out = 32;
      break;  // NUM_REGS
    case 5:   // PTX_VERSION
    case 6:
      *out = version;
      break;  // BINARY_VERSION
    case 8:
      *out = 48 << 10;
      break;  // MAX_DYNAMIC_SHARED_SIZE_BYTES
    case 9:
      *out = -1;
      break;  // PREFERRED_SHARED_MEMORY_CARVEOUT
    default:
      *out = 0;
  }
  return CUDA_SUCCESS;
}

// tw_spin has one parameter; other kernels' parameters are unknown, since their images are not read.
CUresult parameter_info(const void* handle, size_t index, size_t* offset, size_t* bytes) {
  if (handle == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (offset == nullptr || !as_function(handle)->is_spin || index != 0) return CUDA_ERROR_INVALID_VALUE;
  *offset = 0;
  if (bytes != nullptr) *bytes = kSpinParameterBytes;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuModuleLoad(CUmodule* out, const char* path) {
  if (CUresult error = check_file(path); error != CUDA_SUCCESS) return error;
  return load(out, path);
}
CUresult cuModuleLoadData(CUmodule* out, const void* image) {
  return load(out, image);
}
CUresult cuModuleLoadDataEx(CUmodule* out, const void* image, unsigned, int*, void**) {
  return load(out, image);
}
CUresult cuModuleLoadFatBinary(CUmodule* out, const void* image) {
  return load(out, image);
}

CUresult cuModuleUnload(CUmodule module) {
  TW_DRIVER(driver);
  return driver->unload_module(reinterpret_cast<Module*>(module)) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuModuleGetFunction(CUfunction* out, CUmodule module, const char* name) {
  return get_function(reinterpret_cast<void**>(out), module, name);
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr*, size_t*, CUmodule, const char*) {
  return CUDA_ERROR_NOT_FOUND;
}

CUresult cuModuleGetLoadingMode(int* mode) {
  constexpr int kLazy = 2;
  if (mode == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *mode = kLazy;
  return CUDA_SUCCESS;
}

CUresult cuLibraryLoadData(CUlibrary* out, const void* image, int*, void**, unsigned, int*, void**,
                           unsigned) {
  return image == nullptr ? CUDA_ERROR_INVALID_VALUE : load_library(out);
}

CUresult cuLibraryLoadFromFile(CUlibrary* out, const char* path, int*, void**, unsigned, int*, void**,
                               unsigned) {
  if (CUresult error = check_file(path); error != CUDA_SUCCESS) return error;
  return load_library(out);
}

CUresult cuLibraryUnload(CUlibrary library) {
  return cuModuleUnload(reinterpret_cast<CUmodule>(library));
}

CUresult cuLibraryGetKernel(CUkernel* out, CUlibrary library, const char* name) {
  return get_function(reinterpret_cast<void**>(out), library, name);
}

// A library is a module that every context has.
CUresult cuLibraryGetModule(CUmodule* out, CUlibrary library) {
  TW_DRIVER(driver);
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<CUmodule>(library);
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetGlobal(CUdeviceptr*, size_t*, CUlibrary, const char*) {
  return CUDA_ERROR_NOT_FOUND;
}

CUresult cuKernelGetFunction(CUfunction* out, CUkernel kernel) {
  TW_DRIVER(driver);
  if (out == nullptr || kernel == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<CUfunction>(kernel);
  return CUDA_SUCCESS;
}

CUresult cuKernelGetLibrary(CUlibrary* out, CUkernel kernel) {
  TW_DRIVER(driver);
  if (out == nullptr || kernel == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<CUlibrary>(as_function(kernel)->module);
  return CUDA_SUCCESS;
}

CUresult cuKernelGetName(const char** name, CUkernel kernel) {
  if (name == nullptr || kernel == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *name = as_function(kernel)->name.c_str();
  return CUDA_SUCCESS;
}

CUresult cuFuncGetName(const char** name, CUfunction function) {
  return cuKernelGetName(name, reinterpret_cast<CUkernel>(function));
}

CUresult cuFuncGetModule(CUmodule* out, CUfunction function) {
  TW_DRIVER(driver);
  if (out == nullptr || function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<CUmodule>(as_function(function)->module);
  return CUDA_SUCCESS;
}

CUresult cuKernelGetAttribute(int* out, int attribute, CUkernel kernel, CUdevice device) {
  TW_DRIVER(driver);
  if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  return function_attribute(out, attribute, driver->info(device));
}

CUresult cuFuncGetAttribute(int* out, int attribute, CUfunction function) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  return function_attribute(out, attribute, driver->info(context->device));
}

// Hints about shared memory and caches change nothing in a timed kernel.
CUresult cuFuncSetAttribute(CUfunction function, int, int) {
  return function == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}
CUresult cuKernelSetAttribute(int, int, CUkernel kernel, CUdevice) {
  return kernel == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}
CUresult cuFuncSetCacheConfig(CUfunction function, int) {
  return function == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

CUresult cuFuncGetParamInfo(CUfunction function, size_t index, size_t* offset, size_t* bytes) {
  return parameter_info(function, index, offset, bytes);
}
CUresult cuKernelGetParamInfo(CUkernel kernel, size_t index, size_t* offset, size_t* bytes) {
  return parameter_info(kernel, index, offset, bytes);
}
