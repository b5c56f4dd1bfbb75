// What the library adds to a call of the machine's own driver: short batches of the driver's function and of
// the one that a program finds take turns in one process; the median of their differences counts.
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "bare.h"
#include "driver.h"
#include "modes.h"

namespace probe {
namespace {

constexpr int kRounds = 500, kLeastRounds = 40;
constexpr double kMostNs = 10e9;  // an allocation may take a driver long
// Calls per batch. Launches as many as the launch queue of a driver takes (1024), so that what is paid once per
// stretch of launches is spread over as many as a busy program makes.
constexpr int kLaunches = 800, kPairs = 60, kInfos = 200;
constexpr int kWarm = 20;
constexpr useconds_t kPauseUs = 3000;  // keeps the work far below the share that is given
constexpr size_t kBytes = 2ull << 20;

double clock_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

template <class F>
F* own(const char* name) {
  void* address = bare_function(name);
  if (address == nullptr) stop(1, "libcuda.so.1 has no symbol ", name);
  return reinterpret_cast<F*>(address);
}

// once(function) makes one call, of the driver's or of the found function.
template <class F, class Once>
int compare(F* without, F* with, int calls, Once once) {
  std::vector<double> bare_ns, added_ns;
  const auto timed = [&](F* function) {
    for (int i = 0; i < kWarm; ++i) once(function);
    const double started = clock_ns();
    for (int i = 0; i < calls; ++i) once(function);
    const double each = (clock_ns() - started) / calls;
    must<>("cuCtxSynchronize");
    return each;
  };
  const double until = clock_ns() + kMostNs;
  for (int round = -5; round < kRounds && (round < kLeastRounds || clock_ns() < until); ++round) {
    // Who goes first takes turns too.
    double bare = 0, ours = 0;
    if (round % 2 == 0) bare = timed(without);
    ours = timed(with);
    if (round % 2 != 0) bare = timed(without);
    usleep(kPauseUs);
    if (round < 0) continue;
    bare_ns.push_back(bare);
    added_ns.push_back(ours - bare);
  }
  const double middle = median(added_ns);
  for (double& value : added_ns) value = std::abs(value - middle);
  // Standard error of a median, from the median deviation.
  const double error = 1.4826 * median(added_ns) * 1.2533 / std::sqrt(static_cast<double>(added_ns.size()));
  std::printf("{\"same\": %s, \"bare_ns\": %.1f, \"added_ns\": %.2f, \"error_ns\": %.2f}\n",
              without == with ? "true" : "false", median(bare_ns), middle, error);
  return 0;
}

}  // namespace

int cost(const std::string& what) {
  if (what == "launch") {
    void* kernel = load_kernel();
    uint64_t duration = 0, log = 0, room = 0;
    void* arguments[] = {&duration, &log, &room};
    return compare(own<LaunchKernel>("cuLaunchKernel"), function<LaunchKernel>("cuLaunchKernel"), kLaunches,
                   [&](LaunchKernel* launch) {
                     check("cuLaunchKernel",
                           launch(kernel, 1, 1, 1, 32, 1, 1, 0, nullptr, arguments, nullptr));
                   });
  }
  if (what == "info") {
    using Ask = int(size_t*, size_t*);
    size_t free_bytes = 0, total = 0;
    return compare(own<Ask>("cuMemGetInfo_v2"), function<Ask>("cuMemGetInfo_v2"), kInfos,
                   [&](Ask* ask) { check("cuMemGetInfo", ask(&free_bytes, &total)); });
  }
  if (what != "pair") stop(kUsage, "no such cost: ", what.c_str());
  using Alloc = int(uint64_t*, size_t);
  using Free = int(uint64_t);
  struct Pair {
    Alloc* alloc;
    Free* release;
  };
  Pair bare{own<Alloc>("cuMemAlloc_v2"), own<Free>("cuMemFree_v2")};
  Pair ours{function<Alloc>("cuMemAlloc_v2"), function<Free>("cuMemFree_v2")};
  return compare(&bare, &ours, kPairs, [](Pair* pair) {
    uint64_t address = 0;
    check("cuMemAlloc", pair->alloc(&address, kBytes));
    check("cuMemFree", pair->release(address));
  });
}

}  // namespace probe
