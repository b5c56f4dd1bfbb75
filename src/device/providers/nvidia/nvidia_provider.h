// NVIDIA GPUs: devices named gpu0, gpu1, ... as NVML numbers them; slices are held by the vgpu library.
#pragma once

#include <memory>

#include "device/providers/nvml/provider.h"

namespace tweendeck::device {

// Cheap; the driver is looked for at the first use. Without one discover() answers an empty list.
std::unique_ptr<Provider> make_nvidia_provider(nvml::Options options);

}  // namespace tweendeck::device
