// What a thread may launch without asking anybody: some GPU time and a number of launches, taken from the
// slice's bucket beforehand, and the kernels of steady duration that it has launched lately.
//
// spend() is all that such a launch costs: no lock, no clock, no call and no store that another thread reads.
// A lease ends when it is used up, when the node publishes new limits, and when end_leases() was called. A
// record belongs to its thread; throttle.cc makes, fills and takes it back.
#pragma once

#include <stdint.h>

#include "vgpu/preload/abi.h"

namespace tweendeck::vgpu {

// A kernel and its shape, or an executable graph.
struct Shape {
  uint64_t handle;
  uint64_t grid_xy, grid_z_block_x, block_yz;
};

inline Shape shape_of(const void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                      unsigned bz) {
  return {reinterpret_cast<uint64_t>(function), uint64_t{gx} << 32 | gy, uint64_t{gz} << 32 | bx,
          uint64_t{by} << 32 | bz};
}
inline Shape shape_of(const CUlaunchConfig& c, const void* function) {
  return shape_of(function, c.grid_x, c.grid_y, c.grid_z, c.block_x, c.block_y, c.block_z);
}
inline Shape shape_of(CUgraphExec graph) {
  return {reinterpret_cast<uint64_t>(graph), 0, 0, 0};  // no kernel has an empty grid
}

inline constexpr uint64_t kNoCost = 0;

struct Lease {
  static constexpr uint32_t kCached = 64;

  struct Cached {
    Shape shape = {};
    const uint64_t* cost_ns = &kNoCost;  // durations.h: 0 = not steady any more
  };

  uint64_t left_ns = 0;
  uint32_t left_launches = 0;
  uint32_t epoch = 0;
  const uint64_t* generation_word = nullptr;  // of the limits page
  uint64_t generation = 0;
  CUstream stream = nullptr;   // of the measured launch that began the lease
  uint64_t other_streams = 0;  // not 0: launches went to another one, too
  Cached cached[kCached] = {};

  static uint32_t place(const Shape& shape) {
    return static_cast<uint32_t>(
        ((shape.handle >> 4) ^ (shape.handle >> 12) ^ shape.grid_xy ^ (shape.grid_xy >> 32)) % kCached);
  }
};

extern uint32_t g_lease_epoch;
extern __thread Lease* t_lease __attribute__((tls_model("initial-exec")));

// True: go ahead, it is paid for.
inline bool spend(const Shape& shape, CUstream stream) {
  Lease& lease = *t_lease;
  const Lease::Cached& known = lease.cached[Lease::place(shape)];
  if (((known.shape.handle ^ shape.handle) | (known.shape.grid_xy ^ shape.grid_xy) |
       (known.shape.grid_z_block_x ^ shape.grid_z_block_x) | (known.shape.block_yz ^ shape.block_yz)) != 0)
    return false;
  const uint64_t cost = __atomic_load_n(known.cost_ns, __ATOMIC_RELAXED);
  if (cost - 1 >= lease.left_ns || lease.left_launches == 0) return false;
  if (lease.epoch != __atomic_load_n(&g_lease_epoch, __ATOMIC_RELAXED) ||
      lease.generation != __atomic_load_n(lease.generation_word, __ATOMIC_RELAXED))
    return false;
  lease.left_ns -= cost;
  --lease.left_launches;
  lease.other_streams |= reinterpret_cast<uint64_t>(stream) ^ reinterpret_cast<uint64_t>(lease.stream);
  return true;
}

inline void end_leases() {
  __atomic_fetch_add(&g_lease_epoch, 1, __ATOMIC_RELAXED);
}

}  // namespace tweendeck::vgpu
