// The probe's kernel; probe/kernel.cc is the same as text for the driver's own compiler.
//
// A kernel that spins for a time must not count the time in which another process had the device: else it would
// take less of the device the more it is preempted. A step of the timer above kGapNs was such a time. A device
// whose timer only moves in steps above that would never end, so there is a bound.
constexpr unsigned long long kGapNs = 50'000;
constexpr unsigned long long kMostSlower = 64, kMostExtraNs = 100'000'000;

__device__ unsigned long long timer_ns() {
  unsigned long long now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}

extern "C" __global__ void tw_spin(unsigned long long duration_ns, unsigned long long* log, unsigned long long room) {
  const unsigned long long first = timer_ns();
  unsigned long long last = first, own = 0;
  while (own < duration_ns && last < first + duration_ns * kMostSlower + kMostExtraNs) {
    const unsigned long long now = timer_ns();
    if (now - last <= kGapNs) own += now - last;
    last = now;
  }
  if (threadIdx.x != 0 || blockIdx.x != 0 || log == nullptr) return;
  const unsigned long long slot = atomicAdd(log, 1ull);
  if (slot >= room) return;
  log[1 + 3 * slot] = first;
  log[2 + 3 * slot] = last;
  log[3 + 3 * slot] = own;
}
