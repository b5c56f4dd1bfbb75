#include "vgpu/preload/charge.h"

#include "vgpu/preload/clock.h"
#include "vgpu/preload/pools.h"

namespace tweendeck::vgpu {
namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kRoomPollNs = kMillisecond;

// For slices whose allocations rather wait for room, for a bounded time, than be refused at once.
Grant wait_for_room(uint32_t device, uint64_t bytes, tw_vgpu_kind kind) {
  Grant grant = Grant::OverLimit;
  const uint64_t wait_ns = device_limit(device, nullptr).memory_wait_ms * kMillisecond;
  if (wait_ns == 0) return grant;
  const uint64_t until = device_now_ns() + wait_ns;
  while (grant != Grant::Granted && device_now_ns() < until) {
    device_sleep_ns(kRoomPollNs);
    grant = books().reserve(device, memory_limit(device), bytes, kind);
  }
  return grant;
}

void release_in_books(const Allocation& allocation) {
  books().release(allocation.device, allocation.bytes, allocation.kind);
}

}  // namespace

CUresult refuse(int device, tw_vgpu_refusal reason) {
  count_refusal(device, reason);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult make_room(Grant grant, int device, uint64_t limit, uint64_t bytes, tw_vgpu_kind kind) {
  const auto index = static_cast<uint32_t>(device);
  if (grant == Grant::OverLimit && bytes <= limit && trim_pools(device)) {
    grant = books().reserve(index, limit, bytes, kind);
  }
  if (grant == Grant::OverLimit && bytes <= limit) grant = wait_for_room(index, bytes, kind);
  if (grant == Grant::Granted) return CUDA_SUCCESS;
  return refuse(device, grant == Grant::OverLimit ? TW_VGPU_REFUSED_LIMIT : TW_VGPU_REFUSED_CONTENDED);
}

void charge_anyway(int device, uint64_t bytes, tw_vgpu_kind kind) {
  constexpr uint64_t kNoLimit = 0;
  books().reserve(static_cast<uint32_t>(device), kNoLimit, bytes, kind);
}

void add_to_charge(uint64_t key, uint64_t context, int device, uint64_t bytes, tw_vgpu_kind kind) {
  Allocation allocation = {0, context, static_cast<uint32_t>(device), kind};
  allocations().remove(key, allocation);
  allocation.bytes += bytes;
  allocations().insert(key, allocation);
}

void release_context(uint64_t context) {
  if (books().attached()) allocations().remove_context(context, release_in_books);
}

}  // namespace tweendeck::vgpu
