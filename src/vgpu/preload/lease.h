// What a thread may launch without asking anybody: some GPU time and a number of launches, taken from the
// slice's bucket beforehand, and the kernels of steady duration that it has launched lately.
//
// spend() is all that such a launch costs: no lock, no clock, no call and no store that another thread reads,
// and few enough values at a time that nothing is saved on the stack.
// A lease ends when it is used up, when the node publishes new limits, and when end_leases() was called. A
// record belongs to its thread; records.h makes it and takes it back, throttle.cc fills it.
#pragma once

#include <stdint.h>

#include "vgpu/durations.h"
#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"

namespace tweendeck::vgpu {

// A kernel and its shape, or an executable graph.
struct Shape {
  uint64_t handle;
  uint32_t gx, gy, gz, bx, by, bz;

  bool operator==(const Shape&) const = default;
};

inline Shape shape_of(const void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                      unsigned bz) {
  return {reinterpret_cast<uint64_t>(function), gx, gy, gz, bx, by, bz};
}
inline Shape shape_of(const CUlaunchConfig& c, const void* function) {
  return shape_of(function, c.grid_x, c.grid_y, c.grid_z, c.block_x, c.block_y, c.block_z);
}
inline Shape shape_of(CUgraphExec graph) {
  return {reinterpret_cast<uint64_t>(graph), 0, 0, 0, 0, 0, 0};  // no kernel has an empty grid
}

struct Lease {
  static constexpr uint32_t kCached = 64;
  static constexpr uint64_t kNoGeneration = UINT64_MAX;

  struct alignas(64) Cached {
    Shape shape = {};
    const uint64_t* cost = &kNoCost;  // durations.h
  };

  uint64_t left = 0;                          // durations.h: time and launches in one word
  const uint64_t* generation_word = nullptr;  // of the limits page
  uint64_t generation = kNoGeneration;
  CUstream stream = nullptr;     // of the measured launch that began the lease
  bool several_streams = false;  // launches went to another one, too
  Cached cached[kCached] = {};

  // Fibonacci hashing; shifted by less and masked it is an offset in bytes.
  Cached& place(const Shape& shape) {
    constexpr uint32_t kShift = 32 - __builtin_ctz(sizeof(cached)), kMask = ~(uint32_t{sizeof(Cached)} - 1);
    const uint32_t hashed = (static_cast<uint32_t>(shape.handle) + shape.gx) * 0x9e3779b1u;
    return *reinterpret_cast<Cached*>(reinterpret_cast<char*>(cached) + (hashed >> kShift & kMask));
  }
};

TW_HIDDEN extern __thread Lease* t_lease __attribute__((tls_model("initial-exec")));

// True: go ahead, it is paid for. The stream is read last.
inline bool spend(const Shape& shape, const CUstream& stream, Form form) {
  Lease& lease = *t_lease;
  const Lease::Cached& known = lease.place(shape);
  if (__builtin_expect(known.shape != shape, 0)) return false;
  const uint64_t left = lease.left - __atomic_load_n(known.cost, __ATOMIC_RELAXED);
  if (__builtin_expect((left & kCostGuards) != 0, 0)) return false;
  const uint64_t generation = __atomic_load_n(lease.generation_word, __ATOMIC_RELAXED);
  if (__builtin_expect(lease.generation != generation, 0)) return false;
  lease.left = left;
  if (__builtin_expect(lease.stream != plain_stream(stream, form), 0)) lease.several_streams = true;
  return true;
}

// Every thread asks again before its next launch.
void end_leases();

}  // namespace tweendeck::vgpu
