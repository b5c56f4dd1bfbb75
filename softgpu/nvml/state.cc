#include "softgpu/nvml/state.h"

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string_view>

namespace tweendeck::softgpu::nvml {
namespace {

std::mutex g_mutex;
int g_references = 0;

// Not destroyed at exit: a thread of the process may still ask.
std::shared_ptr<Model>& current() {
  static auto* model = new std::shared_ptr<Model>;
  return *model;
}

char g_handles[kMaxCards];

}  // namespace

nvmlReturn init() {
  std::lock_guard guard(g_mutex);
  if (g_references == 0) {
    const char* path = getenv(kStatePathVariable);
    if (path == nullptr || *path == 0) {
      fprintf(
          stderr,
          "softgpu: %s is not set; create cards with `tweendeck-softgpu create` and set it to their file\n",
          kStatePathVariable);
      return NVML_ERROR_DRIVER_NOT_LOADED;
    }
    auto opened = Model::open(path);
    if (!opened) {
      fprintf(stderr, "softgpu: %s\n", opened.error().c_str());
      return NVML_ERROR_DRIVER_NOT_LOADED;
    }
    current() = std::move(*opened);
  }
  ++g_references;
  return NVML_SUCCESS;
}

nvmlReturn shutdown() {
  std::lock_guard guard(g_mutex);
  if (g_references == 0) return NVML_ERROR_UNINITIALIZED;
  if (--g_references == 0) current() = nullptr;
  return NVML_SUCCESS;
}

std::shared_ptr<Model> model() {
  std::lock_guard guard(g_mutex);
  return current();
}

bool shows_processes() {
  static const bool shown = [] {
    const char* text = getenv(kPidsVariable);
    return text == nullptr || std::string_view(text) != "none";
  }();
  return shown;
}

nvmlDevice handle_of(uint32_t card) {
  return reinterpret_cast<nvmlDevice>(&g_handles[card]);
}

bool card_of(nvmlDevice handle, const Model& model, uint32_t& card) {
  const uintptr_t offset = reinterpret_cast<uintptr_t>(handle) - reinterpret_cast<uintptr_t>(g_handles);
  if (offset >= model.card_count()) return false;
  card = static_cast<uint32_t>(offset);
  return true;
}

}  // namespace tweendeck::softgpu::nvml
