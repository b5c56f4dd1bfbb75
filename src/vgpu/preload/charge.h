// Charging device memory to the slice: every allocation is reserved in the books before the driver is asked,
// and given back when the driver says no. Safe from any thread, inside a slice only.
#pragma once

#include "vgpu/preload/abi.h"
#include "vgpu/preload/tenant.h"

namespace tweendeck::vgpu {

// The driver hands out no less than this at a time.
inline constexpr uint64_t kGranule = 512;

// Bytes as the driver counts them; more than can be asked for stays so.
inline uint64_t in_granules(uint64_t bytes) {
  return bytes > UINT64_MAX - kGranule ? bytes : (bytes + kGranule - 1) / kGranule * kGranule;
}

// CUDA_SUCCESS, or the error that the caller answers; counts refusals. Pools that keep memory nobody uses are
// trimmed before anything is refused.
CUresult refuse(int device, tw_vgpu_refusal reason);
// The books had `grant` for the reservation at first.
[[gnu::cold]] CUresult make_room(Grant grant, int device, uint64_t limit, uint64_t bytes, tw_vgpu_kind kind);
inline CUresult reserve(int device, uint64_t bytes, tw_vgpu_kind kind) {
  if (__builtin_expect(device < 0, 0)) return refuse(device, TW_VGPU_REFUSED_DEVICE);
  const auto index = static_cast<uint32_t>(device);
  const uint64_t limit = memory_limit(index);
  const Grant grant = books().reserve(index, limit, bytes, kind);
  if (__builtin_expect(grant != Grant::Granted, 0)) return make_room(grant, device, limit, bytes, kind);
  return CUDA_SUCCESS;
}
inline void unreserve(int device, uint64_t bytes, tw_vgpu_kind kind) {
  books().release(static_cast<uint32_t>(device), bytes, kind);
}
// For what exists already: counts even above the limit.
void charge_anyway(int device, uint64_t bytes, tw_vgpu_kind kind);

// Makes what is reserved already a part of what `key` is charged: give_back() or the context's end releases it.
void add_to_charge(uint64_t key, uint64_t context, int device, uint64_t bytes, tw_vgpu_kind kind);

// True: there is nothing to charge, the driver shall answer.
inline bool for_the_driver(int device, uint64_t bytes) {
  return device == kNoDevice || bytes == 0;
}

// `ask` calls the driver, which answers with an address or handle in *out.
template <class Out, class Ask>
CUresult allocate_into(Out* out, int device, uint64_t bytes, tw_vgpu_kind kind, Ask ask) {
  if (!out || for_the_driver(device, bytes)) return ask();
  const CUresult granted = reserve(device, bytes, kind);
  if (granted != CUDA_SUCCESS) return granted;
  const CUresult result = ask();
  if (result != CUDA_SUCCESS) {
    unreserve(device, bytes, kind);
    return result;
  }
  allocations().insert((uint64_t)*out, {bytes, current_context(), static_cast<uint32_t>(device), kind});
  return CUDA_SUCCESS;
}

// `ask` frees. The entry leaves the table before the driver may hand the address out again.
template <class Ask>
CUresult give_back(uint64_t address, Ask ask) {
  Allocation allocation;
  const bool known = allocations().remove(address, allocation);
  const CUresult result = ask();
  if (!known) return result;
  if (result == CUDA_SUCCESS) {
    unreserve(static_cast<int>(allocation.device), allocation.bytes, allocation.kind);
  } else {
    allocations().insert(address, allocation);
  }
  return result;
}

// The context is gone, and what was allocated in it.
void release_context(uint64_t context);

}  // namespace tweendeck::vgpu
