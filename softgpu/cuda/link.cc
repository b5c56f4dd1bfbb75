// The linker of images. Nothing is read: what comes out is an image like any other, which every module load
// accepts.
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"

using namespace tweendeck::softgpu;

namespace {

// What cuLinkComplete gives lives until the state is destroyed.
struct LinkState {
  std::string image;
};

std::mutex g_mutex;

std::unordered_map<const void*, std::unique_ptr<LinkState>>& links() {
  static auto* all = new std::unordered_map<const void*, std::unique_ptr<LinkState>>;
  return *all;
}

template <class Use>
CUresult with(CUlinkState handle, Use use) {
  TW_DRIVER(driver);
  std::lock_guard guard(g_mutex);
  const auto found = links().find(handle);
  return found == links().end() ? CUDA_ERROR_INVALID_HANDLE : use(*found->second);
}

CUresult create(CUlinkState* out) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  auto made = std::make_unique<LinkState>();
  made->image = "softgpu image\n";
  *out = reinterpret_cast<CUlinkState>(made.get());
  std::lock_guard guard(g_mutex);
  links().emplace(made.get(), std::move(made));
  return CUDA_SUCCESS;
}

CUresult add(CUlinkState state, const void* data, size_t bytes, const char* name) {
  if (data == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  return with(state, [&](LinkState& own) {
    own.image += std::string(name == nullptr ? "?" : name) + " " + std::to_string(bytes) + "\n";
    return CUDA_SUCCESS;
  });
}

}  // namespace

CUresult cuLinkCreate_v2(unsigned, int*, void**, CUlinkState* out) {
  return create(out);
}
CUresult cuLinkAddData_v2(CUlinkState state, int, void* data, size_t bytes, const char* name, unsigned, int*,
                          void**) {
  return add(state, data, bytes, name);
}
CUresult cuLinkAddFile_v2(CUlinkState state, int, const char* path, unsigned, int*, void**) {
  return add(state, path, 1, path);
}

CUresult cuLinkComplete(CUlinkState state, void** image, size_t* bytes) {
  if (image == nullptr || bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with(state, [&](LinkState& own) {
    *image = own.image.data();
    *bytes = own.image.size();
    return CUDA_SUCCESS;
  });
}

CUresult cuLinkDestroy(CUlinkState state) {
  TW_DRIVER(driver);
  std::lock_guard guard(g_mutex);
  return links().erase(state) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
