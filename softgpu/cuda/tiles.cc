#include "softgpu/cuda/tiles.h"

#include <array>
#include <map>
#include <mutex>
#include <tuple>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/array.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/forms.h"

using namespace tweendeck::softgpu;

namespace {

using Part = std::tuple<const void*, int, std::array<unsigned long long, 4>>;

struct State {
  std::mutex mutex;
  std::map<Part, CUmemGenericAllocationHandle> tiles;
};

State& state() {
  static auto* all = new State;  // never destroyed: other threads may be in a call at exit
  return *all;
}

Part part_of(const CUarrayMapInfo& info) {
  return {info.resource, info.subresource_type, std::to_array(info.subresource)};
}

CUresult map_one(const CUarrayMapInfo& info) {
  if (info.operation != kMapTile && info.operation != kUnmapTile) return CUDA_ERROR_INVALID_VALUE;
  if (info.operation == kMapTile && !hold_created(info.handle)) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard guard(state().mutex);
  const Part part = part_of(info);
  if (const auto before = state().tiles.find(part); before != state().tiles.end()) {
    drop_created(before->second);
    state().tiles.erase(before);
  }
  if (info.operation == kMapTile) state().tiles[part] = info.handle;
  return CUDA_SUCCESS;
}

// At the call, whatever the stream is doing.
CUresult map_array(const CUarrayMapInfo* list, unsigned count) {
  TW_DRIVER(driver);
  if (list == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < count; ++i) {
    if (!takes_tiles(list[i].resource)) return CUDA_ERROR_INVALID_VALUE;
    if (CUresult error = map_one(list[i]); error != CUDA_SUCCESS) return error;
  }
  return CUDA_SUCCESS;
}

}  // namespace

namespace tweendeck::softgpu {

void unmap_tiles(const void* array) {
  std::lock_guard guard(state().mutex);
  std::erase_if(state().tiles, [&](const auto& tile) {
    if (std::get<0>(tile.first) != array) return false;
    drop_created(tile.second);
    return true;
  });
}

}  // namespace tweendeck::softgpu

TW_TWO_FORMS(cuMemMapArrayAsync, _ptsz, (CUarrayMapInfo * list, unsigned count, CUstream),
             map_array(list, count))
