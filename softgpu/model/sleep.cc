#include "softgpu/model/sleep.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <climits>

#include "softgpu/model/shared.h"

namespace tweendeck::softgpu {
namespace {

timespec to_timespec(uint64_t ns) {
  return {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
}

long futex(const Word& word, int operation, uint32_t value, const timespec* timeout) {
  static_assert(std::endian::native == std::endian::little);
  return syscall(SYS_futex, &word, operation, value, timeout, nullptr, 0);
}

}  // namespace

bool sleep_real(uint64_t until_ns, uint64_t limit_ns) {
  const uint64_t now = monotonic_ns();
  if (now >= until_ns) return true;
  const bool reaches = until_ns - now <= limit_ns;
  const uint64_t target = reaches ? until_ns : now + limit_ns;
  if (target - now > kSpinNs) {
    const timespec wake = to_timespec(target - kSpinNs);
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, nullptr);
  }
  while (monotonic_ns() < target) sched_yield();
  return reaches;
}

void futex_wait(const Word& word, uint32_t expected, uint64_t timeout_ns) {
  const timespec timeout = to_timespec(timeout_ns);
  futex(word, FUTEX_WAIT, expected, &timeout);
}

void futex_wake_all(const Word& word) {
  futex(word, FUTEX_WAKE, INT_MAX, nullptr);
}

}  // namespace tweendeck::softgpu
