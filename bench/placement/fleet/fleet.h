// The figures of placement/{gang,preempt}: decision time only, in this process, without an API server.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

}  // namespace tweendeck::bench
