// The driver as the probe sees it: opened at run time, declared here, so that only libc is needed to build
// and start the probe. A failing call ends the process with the call's name and the driver's code on stderr.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

namespace probe {

inline constexpr int kSuccess = 0;
inline constexpr int kOutOfMemory = 2;
// Exit codes beside 0 and 1 (failed).
inline constexpr int kUsage = 2;
inline constexpr int kNotThere = 3;  // the driver lacks what this needs

// Opens libcuda.so.1, initialises it and makes the primary context of device 0 current.
void start_driver();
// Address of a driver function as any program finds it; null when the driver has none of that name.
void* find(const char* name);
[[noreturn]] void stop(int code, const char* what, const char* about);
void check(const char* what, int code);
int attribute(int which);

template <class F>
F* function(const char* name) {
  void* found = find(name);
  if (found == nullptr) stop(kNotThere, "the driver has no ", name);
  F* typed = nullptr;
  std::memcpy(&typed, &found, sizeof(typed));
  return typed;
}

// For calls that are not timed: looked up each time.
template <class... Args>
int call(const char* name, Args... args) {
  return function<int(Args...)>(name)(args...);
}
template <class... Args>
void must(const char* name, Args... args) {
  check(name, call<Args...>(name, args...));
}

// The clock that deadlines are measured by: a software GPU's own (its time may be virtual), else monotonic.
bool is_software();
uint64_t now_ns();
void sleep_until_ns(uint64_t time_ns);

using LaunchKernel = int(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
                         void**, void**);

// tw_spin(duration_ns, log, room): every block is busy until it has run for duration_ns itself: steps of the
// device's timer in which it was preempted do not count. Then block 0 appends {start, end, own ns} at log +
// 8, of which the first word counts, as long as there is room. The image is the file that TW_GPU_IMAGE names
// (a cubin or fatbin), else text that the driver compiles.
void* load_kernel();
const char* kernel_text();

}  // namespace probe
