#include "engine/sim/cuda.h"

#include <dlfcn.h>
#include <fmt/core.h>

#include <algorithm>

#include "base/units.h"

namespace tweendeck::sim {
namespace {

using Code = int;  // CUresult
constexpr Code kSuccess = 0;
constexpr Code kOutOfMemory = 2;
constexpr const char* kLibrary = "libcuda.so.1";
constexpr const char* kSimulatedMark = "(simulated)";
// A real step is many kernels; short ones let a compute limit act inside a long prefill.
constexpr Nanos kMaxKernel = 2 * kMillisecond;
// Any image will do: a software GPU resolves tw_spin by its name.
constexpr char kImage[] =
    ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry tw_spin(.param .u64 ns){ret;}\n";

}  // namespace

struct CudaDevice::Api {
  Code (*init)(unsigned) = nullptr;
  Code (*device_get)(int*, int) = nullptr;
  Code (*device_get_name)(char*, int, int) = nullptr;
  Code (*primary_context_retain)(void**, int) = nullptr;
  Code (*context_set_current)(void*) = nullptr;
  Code (*memory_info)(size_t*, size_t*) = nullptr;
  Code (*memory_alloc)(unsigned long long*, size_t) = nullptr;
  Code (*module_load_data)(void**, const void*) = nullptr;
  Code (*module_get_function)(void**, void*, const char*) = nullptr;
  Code (*stream_create)(void**, unsigned) = nullptr;
  Code (*stream_synchronize)(void*) = nullptr;
  Code (*launch_kernel)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
                        void**, void**) = nullptr;
  Code (*error_name)(Code, const char**) = nullptr;

  Status load() {
    void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      return fail(Reason::DriverMissing, fmt::format("{} could not be loaded: {}", kLibrary, dlerror()),
                  "the simulated engine runs on software GPUs: start the daemon with --soft-gpus, and give "
                  "the replica "
                  "a device of provider soft");
    }
    std::string missing;
    auto find = [&](auto& function, const char* symbol) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, symbol));
      if (function == nullptr) missing = symbol;
    };
    find(init, "cuInit");
    find(device_get, "cuDeviceGet");
    find(device_get_name, "cuDeviceGetName");
    find(primary_context_retain, "cuDevicePrimaryCtxRetain");
    find(context_set_current, "cuCtxSetCurrent");
    find(memory_info, "cuMemGetInfo_v2");
    find(memory_alloc, "cuMemAlloc_v2");
    find(module_load_data, "cuModuleLoadData");
    find(module_get_function, "cuModuleGetFunction");
    find(stream_create, "cuStreamCreate");
    find(stream_synchronize, "cuStreamSynchronize");
    find(launch_kernel, "cuLaunchKernel");
    find(error_name, "cuGetErrorName");
    if (missing.empty()) return {};
    return fail(Reason::DriverMissing, fmt::format("{} has no {}", kLibrary, missing),
                "install a newer driver");
  }
};

CudaDevice::CudaDevice() : api_(std::make_unique<Api>()) {}
CudaDevice::~CudaDevice() = default;  // the driver releases everything when the process ends

Result<std::unique_ptr<CudaDevice>> CudaDevice::open() {
  std::unique_ptr<CudaDevice> device(new CudaDevice);
  if (Status started = device->start(); !started) return fail(started.error());
  return device;
}

Status CudaDevice::start() {
  if (Status loaded = api_->load(); !loaded) return loaded;
  int device = 0;
  char name[256] = {};
  if (Status s = check(api_->init(0), "cuInit"); !s) return s;
  if (Status s = check(api_->device_get(&device, 0), "cuDeviceGet"); !s) return s;
  if (Status s = check(api_->device_get_name(name, sizeof name - 1, device), "cuDeviceGetName"); !s) return s;
  name_ = name;
  if (name_.find(kSimulatedMark) == std::string::npos) {
    return fail(Reason::EngineCannotServe, fmt::format("{} is a real GPU and has no kernel tw_spin", name_),
                "simulated models run on software GPUs (--device soft); use engine vllm for a real model on "
                "this GPU");
  }
  if (Status s = check(api_->primary_context_retain(&context_, device), "cuDevicePrimaryCtxRetain"); !s)
    return s;
  if (Status s = bind_thread(); !s) return s;
  void* module = nullptr;
  if (Status s = check(api_->module_load_data(&module, kImage), "cuModuleLoadData"); !s) return s;
  if (Status s = check(api_->module_get_function(&function_, module, "tw_spin"), "cuModuleGetFunction"); !s)
    return s;
  return check(api_->stream_create(&stream_, 1), "cuStreamCreate");
}

Status CudaDevice::check(Code code, const char* call) const {
  if (code == kSuccess) return {};
  const char* error = nullptr;
  if (api_->error_name(code, &error) != kSuccess || error == nullptr) error = "unknown error";
  return fail(code == kOutOfMemory ? Reason::OutOfMemory : Reason::DriverError,
              fmt::format("{} failed with {} ({})", call, error, code));
}

Status CudaDevice::bind_thread() {
  return check(api_->context_set_current(context_), "cuCtxSetCurrent");
}

Result<uint64_t> CudaDevice::memory_bytes() {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  if (Status s = check(api_->memory_info(&free_bytes, &total_bytes), "cuMemGetInfo"); !s)
    return fail(s.error());
  return total_bytes;
}

Status CudaDevice::allocate(uint64_t bytes, const char* purpose) {
  unsigned long long pointer = 0;
  Status done = check(api_->memory_alloc(&pointer, bytes), "cuMemAlloc");
  if (!done) {
    done.error().message =
        fmt::format("{} for {} ({}): {}", format_bytes(bytes), purpose, name_, done.error().message);
    done.error().hint = "the slice or its device has less free memory than it should; see tweendeck devices";
  }
  return done;
}

Status CudaDevice::spin(Nanos duration) {
  while (duration > 0) {
    uint64_t kernel_ns = static_cast<uint64_t>(std::min(duration, kMaxKernel));
    void* arguments[] = {&kernel_ns};
    const Code code = api_->launch_kernel(function_, 1, 1, 1, 1, 1, 1, 0, stream_, arguments, nullptr);
    if (Status s = check(code, "cuLaunchKernel"); !s) return s;
    duration -= static_cast<Nanos>(kernel_ns);
  }
  return check(api_->stream_synchronize(stream_), "cuStreamSynchronize");
}

}  // namespace tweendeck::sim
