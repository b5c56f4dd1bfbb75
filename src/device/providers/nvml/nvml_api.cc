#include "device/providers/nvml/nvml_api.h"

#include <dlfcn.h>
#include <link.h>

namespace tweendeck::device::nvml {
Result<std::unique_ptr<Api>> Api::load(const std::string& library) {
  std::unique_ptr<Api> api(new Api);
  api->library_ = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!api->library_) {
    const char* why = dlerror();
    return fail(Reason::DriverMissing, "cannot load " + library + ": " + (why ? why : "unknown error"));
  }
  if (Status status = api->resolve(); !status) return fail(status.error());
  return api;
}

Status Api::resolve() {
  link_map* map = nullptr;
  if (dlinfo(library_, RTLD_DI_LINKMAP, &map) == 0 && map) path_ = map->l_name;
#define TW_NVML_RESOLVE(name, required, ...)                                        \
  name = reinterpret_cast<std::add_pointer_t<__VA_ARGS__>>(dlsym(library_, #name)); \
  if (required && !name) return fail(Reason::DriverMissing, path_ + " has no " #name, "update the driver");
  TW_NVML_FUNCTIONS(TW_NVML_RESOLVE)
#undef TW_NVML_RESOLVE
  if (const int code = nvmlInit_v2(); code != kSuccess) {
    return fail(Reason::DriverError, path_ + ": nvmlInit_v2 failed: " + error_text(code),
                "check that the kernel module is loaded (lsmod, dmesg)");
  }
  initialised_ = true;
  return {};
}

Api::~Api() {
  if (initialised_) nvmlShutdown();
  if (library_) dlclose(library_);
}

}  // namespace tweendeck::device::nvml
