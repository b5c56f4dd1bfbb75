#include "device/providers/nvidia/nvidia_provider.h"

#include <array>
#include <filesystem>

namespace tweendeck::device {
namespace {

// The loader knows a library that is in the process by its soname, so it may hand out the software GPU's one,
// which has the same. Then, and when the search path lacks the driver's folder, these are tried.
constexpr std::string_view kStandInFolder = "softgpu";
constexpr std::array kLibraries{
    "libnvidia-ml.so.1",
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib64/libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
};

bool is_stand_in(const nvml::Api& api) {
  return std::filesystem::path(api.path()).parent_path().filename() == kStandInFolder;
}

class NvidiaProvider final : public nvml::NvmlProvider {
 public:
  explicit NvidiaProvider(nvml::Options options)
      : NvmlProvider({.provider = "nvidia", .id_prefix = "gpu", .vendor = "NVIDIA"}, std::move(options), {}) {
  }

 private:
  Result<std::unique_ptr<nvml::Api>> load() override {
    Error last{Reason::DriverMissing, "NVIDIA's management library is not installed",
               "install NVIDIA's driver"};
    for (const char* library : kLibraries) {
      auto api = nvml::Api::load(library);
      if (api && !is_stand_in(**api)) return api;
      if (!api && api.error().reason != Reason::DriverMissing) last = api.error();
    }
    return fail(last);
  }
};

}  // namespace

std::unique_ptr<Provider> make_nvidia_provider(nvml::Options options) {
  return std::make_unique<NvidiaProvider>(std::move(options));
}

}  // namespace tweendeck::device
