#include "vgpu/preload/tiles.h"

#include "vgpu/durations.h"
#include "vgpu/preload/abi.h"
#include "vgpu/preload/address_map.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/lock.h"
#include "vgpu/preload/tenant.h"
#include "vgpu/preload/virtual.h"

namespace tweendeck::vgpu {

constinit Lock g_tiles_lock;

namespace {

struct Tile {
  const void* array;
  uint64_t context;
  uint64_t memory;
};

constinit AddressMap<Tile> g_tiles;  // by a digest of array and part

uint64_t part_of(const CUarrayMapInfo& info) {
  const uint64_t words[] = {reinterpret_cast<uint64_t>(info.resource),
                            static_cast<uint64_t>(info.subresource_type),
                            info.subresource[0],
                            info.subresource[1],
                            info.subresource[2],
                            info.subresource[3]};
  return duration_key(words, 6);
}

void end_tile(uint64_t part) {
  const Tile* const tile = g_tiles.find(part);
  if (!tile) return;
  let_go_memory(tile->memory);
  g_tiles.erase(part);
}

// A part that is unmapped otherwise than it was mapped stays charged until its array is gone.
void follow(const CUarrayMapInfo& info, uint64_t memory, uint64_t context) {
  const uint64_t part = part_of(info);
  end_tile(part);
  if (memory == 0) return;
  // Without memory for the map it stays charged.
  if (Tile* tile = g_tiles.insert(part)) *tile = {info.resource, context, memory};
}

// The driver may take the first of the list and refuse a later one: then all of it is held, until its array is gone.
CUresult on_cuMemMapArrayAsync(auto* ask, Form, CUarrayMapInfo* list, unsigned count, CUstream stream) {
  const Locked locked(g_tiles_lock);
  const CUresult result = ask(list, count, stream);
  const uint64_t context = current_context();
  for (unsigned i = 0; list && i < count; ++i) {
    const bool maps = list[i].operation == kMapTile;
    if (!maps && result != CUDA_SUCCESS) continue;
    follow(list[i], maps ? hold_memory_of(list[i].handle) : 0, context);
  }
  return result;
}

template <class Meant>
void end_tiles(Meant meant) {
  const auto end_one = [&](uint64_t part, const Tile& tile) {
    if (!meant(tile)) return false;
    end_tile(part);
    return true;
  };
  while (g_tiles.size() > 0 && g_tiles.visit(end_one)) {
  }
}

}  // namespace

void tiles_of_array_gone(const void* array) {
  end_tiles([&](const Tile& tile) { return tile.array == array; });
}

void tiles_of_context_gone(uint64_t context) {
  const Locked locked(g_tiles_lock);
  end_tiles([&](const Tile& tile) { return tile.context == context; });
}

void forget_tiles() {
  g_tiles_lock = {};
  g_tiles.clear();
}

}  // namespace tweendeck::vgpu

using namespace tweendeck::vgpu;
#include "wrappers_tiles.inc"
