// The CUDA driver as the simulated engine uses it: libcuda.so.1 loaded at run time, own declarations of the
// few calls.
//
// One device (the first that the driver shows, which is the slice's), one context, one stream. Kernels named
// tw_spin exist on software GPUs only, so a real GPU is refused. One thread at a time; call bind_thread()
// first on a new one. Errors: DriverMissing, DriverError, EngineCannotServe (real GPU), OutOfMemory; messages
// carry CUDA's error name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace tweendeck::sim {

class CudaDevice {
 public:
  static Result<std::unique_ptr<CudaDevice>> open();
  ~CudaDevice();
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  const std::string& name() const { return name_; }
  Result<uint64_t> memory_bytes();  // what this process may use in all, as the driver tells it
  Status allocate(uint64_t bytes, const char* purpose);  // kept until the process ends
  Status bind_thread();

  // Keeps the device busy for this long and returns when it is done; longer when the slice has less than all
  // of it.
  Status spin(Nanos duration);

 private:
  struct Api;
  CudaDevice();
  Status start();
  Status check(int code, const char* call) const;

  std::unique_ptr<Api> api_;
  std::string name_;
  void* function_ = nullptr;
  void* stream_ = nullptr;
  void* context_ = nullptr;
};

}  // namespace tweendeck::sim
