// The figures of placement/{gang,preempt,defrag}: decision time only, in this process, without an API server.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace tweendeck::bench {

// CPU time of this process, which others on the machine do not lengthen; it has one thread.
double cpu_us();

struct Timing {
  std::string what;
  uint32_t nodes = 0;
  size_t running = 0;
  double first_us = 0, p50_us = 0, p99_us = 0;
  double target_us = 0;  // of p99; 0 = none
  std::string result;
};

// A gang of 512 with a rack constraint and the same refused; victims for one device and for 2,000.
std::vector<Timing> gang_timings(uint32_t nodes);
std::vector<Timing> victim_timings(uint32_t nodes);

struct DefragPoint {
  double moved_percent = 0;
  double allocation_percent = 0;
};
struct DefragRun {
  uint32_t seed = 0;
  size_t running = 0, refused = 0;
  double seconds = 0;
  std::vector<DefragPoint> points;  // by growing share of claims moved; the first has moved none
};
// From FGD's final state on a workload of the folder; refused pods are offered again.
Result<std::vector<DefragRun>> defrag_runs(const std::string& folder, const std::string& workload,
                                           size_t seeds, const std::vector<double>& moved_percents);

}  // namespace tweendeck::bench
