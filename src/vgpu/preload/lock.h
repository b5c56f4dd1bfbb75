// A lock of this process only, so a killed process takes it along. Held for a few stores, or around a call of
// the driver that does not wait for the device.
#pragma once

#include <sched.h>
#include <stdint.h>

namespace tweendeck::vgpu {

struct Lock {
  uint32_t taken = 0;
};

class Locked {
 public:
  explicit Locked(Lock& lock) : lock_(lock) {
    for (int spins = 0; __atomic_exchange_n(&lock_.taken, 1, __ATOMIC_ACQUIRE) != 0; ++spins) {
      if (spins >= kSpins) sched_yield();
    }
  }
  ~Locked() { __atomic_store_n(&lock_.taken, 0, __ATOMIC_RELEASE); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  static constexpr int kSpins = 100;
  Lock& lock_;
};

}  // namespace tweendeck::vgpu
