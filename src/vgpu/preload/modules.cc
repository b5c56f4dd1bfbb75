// Code on the device: what a module or library takes is measured and charged.
#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/charge.h"
#include "vgpu/preload/footprint.h"
#include "vgpu/preload/tenant.h"

using namespace tweendeck::vgpu;

namespace {

template <class Handle, class Ask>
CUresult load(Handle* out, Call unload, Ask ask) {
  Footprint footprint(page_device_now());
  const CUresult result = ask();
  if (result != CUDA_SUCCESS || !out) return result;
  const CUresult charged =
      footprint.charge(reinterpret_cast<uint64_t>(*out), current_context(), TW_VGPU_KIND_MODULE);
  if (charged == CUDA_SUCCESS) return result;
  if (auto* const undo = real<CUresult(Handle)>(unload)) undo(*out);
  *out = nullptr;
  return charged;
}

CUresult on_cuModuleLoad(auto* ask, CUmodule* out, const char* path) {
  return load(out, kCall_cuModuleUnload, [&] { return ask(out, path); });
}

CUresult on_cuModuleLoadData(auto* ask, CUmodule* out, const void* image) {
  return load(out, kCall_cuModuleUnload, [&] { return ask(out, image); });
}

CUresult on_cuModuleLoadDataEx(auto* ask, CUmodule* out, const void* image, unsigned count, int* options,
                               void** values) {
  return load(out, kCall_cuModuleUnload, [&] { return ask(out, image, count, options, values); });
}

CUresult on_cuModuleLoadFatBinary(auto* ask, CUmodule* out, const void* image) {
  return load(out, kCall_cuModuleUnload, [&] { return ask(out, image); });
}

CUresult on_cuLibraryLoadData(auto* ask, CUlibrary* out, const void* image, int* jit_options,
                              void** jit_values, unsigned jit_count, int* options, void** values,
                              unsigned count) {
  return load(out, kCall_cuLibraryUnload,
              [&] { return ask(out, image, jit_options, jit_values, jit_count, options, values, count); });
}

CUresult on_cuLibraryLoadFromFile(auto* ask, CUlibrary* out, const char* path, int* jit_options,
                                  void** jit_values, unsigned jit_count, int* options, void** values,
                                  unsigned count) {
  return load(out, kCall_cuLibraryUnload,
              [&] { return ask(out, path, jit_options, jit_values, jit_count, options, values, count); });
}

CUresult on_cuModuleUnload(auto* ask, CUmodule module) {
  return give_back(reinterpret_cast<uint64_t>(module), [&] { return ask(module); });
}

CUresult on_cuLibraryUnload(auto* ask, CUlibrary library) {
  return give_back(reinterpret_cast<uint64_t>(library), [&] { return ask(library); });
}

}  // namespace

#include "wrappers_modules.inc"
