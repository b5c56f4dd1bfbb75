#include "vgpu/preload/clock.h"

#include "vgpu/preload/calls.h"
#include "vgpu/system.h"

namespace tweendeck::vgpu {
namespace {

struct Clock {
  uint64_t (*now_ns)();
  void (*sleep_until_ns)(uint64_t);  // null: the system's
};

const Clock kSystemClock{kLinux.now_ns, nullptr};
Clock g_softgpu;
const Clock* g_clock;

// Several threads may find the same at once.
const Clock& find_clock() {
  auto* now = reinterpret_cast<uint64_t (*)()>(driver_symbol("tw_softgpu_now_ns"));
  auto* sleep = reinterpret_cast<void (*)(uint64_t)>(driver_symbol("tw_softgpu_sleep_until_ns"));
  const Clock* found = &kSystemClock;
  if (now && sleep) {
    __atomic_store_n(&g_softgpu.now_ns, now, __ATOMIC_RELAXED);
    __atomic_store_n(&g_softgpu.sleep_until_ns, sleep, __ATOMIC_RELAXED);
    found = &g_softgpu;
  }
  __atomic_store_n(&g_clock, found, __ATOMIC_RELEASE);
  return *found;
}

const Clock& clock() {
  const Clock* found = __atomic_load_n(&g_clock, __ATOMIC_ACQUIRE);
  return found ? *found : find_clock();
}

}  // namespace

uint64_t device_now_ns() {
  return clock().now_ns();
}

void device_sleep_ns(uint64_t ns) {
  const Clock& use = clock();
  if (!use.sleep_until_ns) return kLinux.sleep_ns(ns);
  use.sleep_until_ns(use.now_ns() + ns);
}

}  // namespace tweendeck::vgpu
