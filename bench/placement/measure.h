// How long steps take that can be repeated exactly: the same work is done several times, and of each step the median
// counts, so that what else the machine does at one time falls out.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace tweendeck::bench {

using Ticks = std::chrono::steady_clock;

double cpu_us();           // processor time of this process so far
long peak_memory_mib();    // likewise
double cost_of_looking();  // microseconds that reading the clock adds to a step

class Steps {
 public:
  void begin() { repeats_.emplace_back(); }  // a repeat
  void add(double us) { repeats_.back().push_back(static_cast<float>(us)); }
  void add(Ticks::duration time) { add(std::chrono::duration<double, std::micro>(time).count()); }
  // Of each step, in order, without what looking at the clock costs.
  std::vector<double> medians() const;

 private:
  std::vector<std::vector<float>> repeats_;
};

// {"mean":...,"p50":...,"p90":...,"p99":...,"p999":...,"max":...} in microseconds.
std::string distribution(std::vector<double> values);

}  // namespace tweendeck::bench
