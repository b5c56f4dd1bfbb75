#include "vgpu/preload/virtual.h"

#include "vgpu/preload/abi.h"
#include "vgpu/preload/address_map.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/charge.h"
#include "vgpu/preload/lock.h"
#include "vgpu/preload/tenant.h"

namespace tweendeck::vgpu {
namespace {

using Handle = CUmemGenericAllocationHandle;

struct Backing {
  uint64_t bytes;
  int device;
  uint32_t references;  // handles and mappings
};
struct Held {
  uint64_t backing;  // a number of ours: the driver may use a handle again while its memory is still mapped
  uint32_t times;
};
struct Mapping {
  uint64_t backing;
  uint64_t bytes;
};

constinit Lock g_lock;
constinit AddressMap<Backing> g_backings;
constinit AddressMap<Held> g_handles;
constinit AddressMap<Mapping> g_mappings;
uint64_t g_made;

void hold(uint64_t number) {
  if (Backing* backing = g_backings.find(number)) ++backing->references;
}

void let_go(uint64_t number) {
  Backing* const backing = g_backings.find(number);
  if (!backing || --backing->references != 0) return;
  unreserve(backing->device, backing->bytes, TW_VGPU_KIND_VIRTUAL);
  g_backings.erase(number);
}

// One more handle, which the driver has given out, of memory that may be known by it.
void hold_by(Handle handle) {
  if (Held* held = g_handles.find(handle)) {
    ++held->times;
    hold(held->backing);
  }
}

// Without memory for the maps the charge stays until the process ends.
void remember(Handle handle, uint64_t bytes, int device) {
  const Locked locked(g_lock);
  const uint64_t number = ++g_made;
  Backing* const backing = g_backings.insert(number);
  Held* const held = g_handles.insert(handle);
  if (backing) *backing = {bytes, device, 1};
  if (held) *held = {number, 1};
}

CUresult on_cuMemCreate(auto* ask, Handle* out, size_t bytes, const CUmemAllocationProp* properties,
                        unsigned long long flags) {
  const auto create = [&] { return ask(out, bytes, properties, flags); };
  // Memory of the host is not the slice's.
  if (!out || !properties || properties->location_type != kLocationDevice) return create();
  const int device = page_device(properties->location_id);
  if (for_the_driver(device, bytes)) return create();
  const CUresult granted = reserve(device, bytes, TW_VGPU_KIND_VIRTUAL);
  if (granted != CUDA_SUCCESS) return granted;
  const CUresult result = create();
  if (result == CUDA_SUCCESS) {
    remember(*out, bytes, device);
  } else {
    unreserve(device, bytes, TW_VGPU_KIND_VIRTUAL);
  }
  return result;
}

// Calls that end something are made under the lock, so that a handle or address that the driver gives out
// again is not taken for the one before.
CUresult on_cuMemRelease(auto* ask, Handle handle) {
  const Locked locked(g_lock);
  const CUresult result = ask(handle);
  Held* const held = g_handles.find(handle);
  if (result != CUDA_SUCCESS || !held) return result;
  const uint64_t number = held->backing;
  if (--held->times == 0) g_handles.erase(handle);
  let_go(number);
  return result;
}

CUresult on_cuMemMap(auto* ask, CUdeviceptr address, size_t bytes, size_t offset, Handle handle,
                     unsigned long long flags) {
  const Locked locked(g_lock);
  const CUresult result = ask(address, bytes, offset, handle, flags);
  const Held* const held = g_handles.find(handle);
  if (result != CUDA_SUCCESS || !held) return result;
  if (Mapping* mapping = g_mappings.insert(address)) {
    *mapping = {held->backing, bytes};
    hold(held->backing);
  }
  return result;
}

// A range is unmapped as the whole mappings that it consists of. Mappings of imported memory are not in the
// map, so what is in the range is looked for by its place.
CUresult on_cuMemUnmap(auto* ask, CUdeviceptr address, size_t bytes) {
  const Locked locked(g_lock);
  const CUresult result = ask(address, bytes);
  if (result != CUDA_SUCCESS) return result;
  const auto end_one = [](uint64_t key, Mapping& mapping) {
    const uint64_t number = mapping.backing;
    g_mappings.erase(key);
    let_go(number);
  };
  uint64_t at = address;
  for (Mapping* next = g_mappings.find(at); next && at < address + bytes; next = g_mappings.find(at)) {
    const uint64_t length = next->bytes;
    end_one(at, *next);
    at += length;
  }
  const auto in_range = [&](uint64_t key, Mapping& mapping) {
    if (key < at || key >= address + bytes) return false;
    end_one(key, mapping);
    return true;
  };
  while (at < address + bytes && g_mappings.visit(in_range)) {
  }
  return result;
}

CUresult on_cuMemRetainAllocationHandle(auto* ask, Handle* out, void* pointer) {
  const Locked locked(g_lock);
  const CUresult result = ask(out, pointer);
  if (result != CUDA_SUCCESS) return result;
  if (g_handles.find(*out)) {
    hold_by(*out);
    return result;
  }
  const auto address = reinterpret_cast<uint64_t>(pointer);
  g_mappings.visit([&](uint64_t key, Mapping& mapping) {
    if (address < key || address - key >= mapping.bytes) return false;
    if (Held* held = g_handles.insert(*out)) {
      *held = {mapping.backing, 1};
      hold(mapping.backing);
    }
    return true;
  });
  return result;
}

CUresult on_cuMemImportFromShareableHandle(auto* ask, Handle* out, void* handle, int type) {
  const Locked locked(g_lock);
  const CUresult result = ask(out, handle, type);
  if (result == CUDA_SUCCESS) hold_by(*out);
  return result;
}

}  // namespace

uint64_t hold_memory_of(Handle handle) {
  const Locked locked(g_lock);
  const Held* const held = g_handles.find(handle);
  if (!held) return 0;
  hold(held->backing);
  return held->backing;
}

void let_go_memory(uint64_t number) {
  const Locked locked(g_lock);
  let_go(number);
}

void forget_virtual() {
  g_lock = {};
  g_backings.clear();
  g_handles.clear();
  g_mappings.clear();
}

}  // namespace tweendeck::vgpu

using namespace tweendeck::vgpu;
#include "wrappers_virtual.inc"
