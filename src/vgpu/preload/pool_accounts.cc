#include "vgpu/preload/pool_accounts.h"

#include "vgpu/preload/address_map.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/charge.h"
#include "vgpu/preload/pools.h"
#include "vgpu/preload/tenant.h"

namespace tweendeck::vgpu {

Lock g_pools_lock;
uint32_t g_pools_seen;

namespace {

constexpr uint64_t kUntold = UINT64_MAX;
enum PoolAttribute : int { kReservedNow = 5, kUsedNow = 7 };

// Of a destroyed pool.
struct Orphan {
  int device;
  uint64_t charged;
  uint64_t pieces;
};

Pool g_pools[kMaxPools];
uint32_t g_count;
uint32_t g_slack;  // 1 = some pool holds memory that nobody uses: any synchronisation may give it back
uint64_t g_made;
constinit AddressMap<uint64_t> g_pieces;  // the pool's number
constinit AddressMap<Orphan> g_orphans;   // by number

uint64_t attribute(CUmemoryPool pool, PoolAttribute which) {
  static auto* const get = driver<CUresult(CUmemoryPool, int, void*)>("cuMemPoolGetAttribute");
  uint64_t value = 0;
  return get && get(pool, which, &value) == CUDA_SUCCESS ? value : kUntold;
}

void end_orphan(uint64_t number) {
  const Orphan* const orphan = g_orphans.find(number);
  if (!orphan) return;
  unreserve(orphan->device, orphan->charged, TW_VGPU_KIND_POOL);
  g_orphans.erase(number);
}

void piece_ended(uint64_t number) {
  for (uint32_t i = 0; i < g_count; ++i) {
    if (g_pools[i].number != number) continue;
    --g_pools[i].pieces;
    return;
  }
  Orphan* const orphan = g_orphans.find(number);
  if (orphan && --orphan->pieces == 0) end_orphan(number);
}

}  // namespace

Pool* find_pool(CUmemoryPool handle) {
  for (uint32_t i = 0; i < g_count; ++i) {
    if (g_pools[i].handle == handle) return &g_pools[i];
  }
  return nullptr;
}

bool add_pool(CUmemoryPool handle, int device, Maker maker) {
  if (Pool* known = find_pool(handle)) {
    known->device = device;
    return true;
  }
  if (g_count == kMaxPools) return false;
  __atomic_store_n(&g_pools_seen, 1, __ATOMIC_RELAXED);
  __atomic_store_n(&g_count, g_count + 1, __ATOMIC_RELAXED);
  g_pools[g_count - 1] = {handle, device, 0, maker == Maker::Program ? ++g_made : 0, 0};
  return true;
}

uint64_t slack_of(CUmemoryPool pool) {
  const uint64_t holds = attribute(pool, kReservedNow), used = attribute(pool, kUsedNow);
  return holds == kUntold || used >= holds ? 0 : holds - used;
}

bool settle_pool(Pool& pool, uint64_t ahead) {
  if (pool.device < 0) return true;
  const uint64_t have = pool.charged + ahead;
  uint64_t holds = attribute(pool.handle, kReservedNow);
  if (holds == kUntold) holds = have;
  pool.charged = holds;
  if (slack_of(pool.handle)) __atomic_store_n(&g_slack, 1, __ATOMIC_RELAXED);
  if (holds <= have) {
    if (holds < have) unreserve(pool.device, have - holds, TW_VGPU_KIND_POOL);
    return true;
  }
  const auto index = static_cast<uint32_t>(pool.device);
  const uint64_t limit = memory_limit(index);
  if (books().reserve(index, limit, holds - have, TW_VGPU_KIND_POOL) == Grant::Granted) return true;
  charge_anyway(pool.device, holds - have, TW_VGPU_KIND_POOL);
  return false;
}

void trim_pool(Pool& pool) {
  static auto* const trim_to = driver<CUresult(CUmemoryPool, size_t)>("cuMemPoolTrimTo");
  if (trim_to) trim_to(pool.handle, 0);
  settle_pool(pool, 0);
}

// A piece that the map has no room for is never freed as far as we know: its pool stays charged.
void piece_taken(Pool& pool, CUdeviceptr address) {
  if (pool.number == 0) return;
  ++pool.pieces;
  if (uint64_t* number = g_pieces.insert(address)) *number = pool.number;
}

void pool_destroyed(Pool& pool) {
  Orphan* const orphan = pool.pieces && pool.device >= 0 ? g_orphans.insert(pool.number) : nullptr;
  if (orphan) {
    *orphan = {pool.device, pool.charged, pool.pieces};
  } else if (pool.pieces == 0 && pool.device >= 0) {
    unreserve(pool.device, pool.charged, TW_VGPU_KIND_POOL);
  }
  pool = g_pools[g_count - 1];
  __atomic_store_n(&g_count, g_count - 1, __ATOMIC_RELAXED);
}

bool trim_pools(int device) {
  if (__atomic_load_n(&g_count, __ATOMIC_RELAXED) == 0) return false;
  const Locked locked(g_pools_lock);
  bool gave = false;
  for (uint32_t i = 0; i < g_count; ++i) {
    const uint64_t before = g_pools[i].charged;
    if (g_pools[i].device != device) continue;
    trim_pool(g_pools[i]);
    gave |= g_pools[i].charged < before;
  }
  return gave;
}

void settle_pools() {
  if (__atomic_load_n(&g_slack, __ATOMIC_RELAXED) == 0) return;
  const Locked locked(g_pools_lock);
  __atomic_store_n(&g_slack, 0, __ATOMIC_RELAXED);
  for (uint32_t i = 0; i < g_count; ++i) settle_pool(g_pools[i], 0);
}

uint64_t forget_piece(CUdeviceptr address) {
  if (__atomic_load_n(&g_made, __ATOMIC_RELAXED) == 0) return 0;
  const Locked locked(g_pools_lock);
  const uint64_t* const known = g_pieces.find(address);
  const uint64_t number = known ? *known : 0;
  g_pieces.erase(address);
  return number;
}

void piece_freed(CUdeviceptr address, uint64_t number, bool freed) {
  if (number) {
    const Locked locked(g_pools_lock);
    if (freed) {
      piece_ended(number);
    } else if (uint64_t* known = g_pieces.insert(address)) {
      *known = number;
    }
  }
  if (!freed || __atomic_load_n(&g_count, __ATOMIC_RELAXED) == 0) return;
  __atomic_store_n(&g_slack, 1, __ATOMIC_RELAXED);
  settle_pools();
}

void pools_emptied(int device) {
  {
    const Locked locked(g_pools_lock);
    // Addresses of the pieces that were may be given out again.
    for (uint32_t i = 0; i < g_count; ++i) {
      if (g_pools[i].device != device || g_pools[i].number == 0) continue;
      g_pools[i].number = ++g_made;
      g_pools[i].pieces = 0;
    }
    const auto end_one = [&](uint64_t number, const Orphan& orphan) {
      if (orphan.device != device) return false;
      end_orphan(number);
      return true;
    };
    while (g_orphans.visit(end_one)) {
    }
    __atomic_store_n(&g_slack, 1, __ATOMIC_RELAXED);
  }
  settle_pools();
}

void forget_pools() {
  g_pools_lock = {};
  g_pools_seen = 0;
  g_count = 0;
  g_slack = 0;
  g_pieces.clear();
  g_orphans.clear();
}

}  // namespace tweendeck::vgpu
