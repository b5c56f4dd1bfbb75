// Software GPUs (softgpu/): devices named soft0, soft1, ..., marked as simulated everywhere. They are
// described by their own NVML library and divided by the same vgpu library as real ones.
#pragma once

#include <memory>
#include <string>

#include "device/providers/nvml/provider.h"

namespace tweendeck::device {

struct SoftOptions {
  nvml::Options pages;
  std::string cards;       // "2:H100-80G", as --soft-gpus gives it
  std::string model_path;  // the device-model file that all processes share: <state>/softgpu/model
  std::string libraries;   // folder with the stand-in libcuda.so.1 and libnvidia-ml.so.1
  std::string tool;        // path of tweendeck-softgpu
};

// Makes the device model unless the one that is there has these cards and is of this boot: running replicas
// keep theirs. Sets TWEENDECK_SOFTGPU_STATE in this process, so call it before threads start. Errors:
// InvalidArgument (cards), DriverMissing (not built), IoError, DiskFull.
Result<std::unique_ptr<Provider>> make_soft_provider(SoftOptions options);

// The cards of the model that lies at this path, "" without one; they are remembered over restarts and boots.
std::string remembered_soft_cards(const std::string& model_path);

// Removes the model. Only where no slice is on its cards.
Status remove_soft_cards(const std::string& model_path);

// Whether make_soft_provider() would succeed; leaves the device model that is there as it is. Errors: the
// same.
Status check_soft_options(const SoftOptions& options);

}  // namespace tweendeck::device
