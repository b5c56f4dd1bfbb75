#include "bench/placement/measure.h"

#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <numeric>

namespace tweendeck::bench {
namespace {

double mean(const std::vector<double>& values) {
  return values.empty()
             ? 0
             : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

double cpu_us() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

long peak_memory_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

double cost_of_looking() {
  static const double cost = [] {
    std::vector<double> times;
    for (int i = 0; i < 10'000; ++i) {
      const auto before = Ticks::now();
      times.push_back(std::chrono::duration<double, std::micro>(Ticks::now() - before).count());
    }
    std::ranges::nth_element(times, times.begin() + 5'000);
    return times[5'000];
  }();
  return cost;
}

std::vector<double> Steps::medians() const {
  std::vector<double> medians;
  std::vector<float> of;
  for (size_t step = 0; !repeats_.empty() && step < repeats_.front().size(); ++step) {
    of.clear();
    for (const std::vector<float>& repeat : repeats_) of.push_back(repeat[step]);
    std::ranges::sort(of);
    medians.push_back(std::max(0.0, static_cast<double>(of[of.size() / 2]) - cost_of_looking()));
  }
  return medians;
}

std::string distribution(std::vector<double> values) {
  std::ranges::sort(values);
  const auto at = [&](double share) {
    return values.empty() ? 0 : values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
  };
  char text[200];
  std::snprintf(text, sizeof text, R"({"mean":%.3f,"p50":%.3f,"p90":%.3f,"p99":%.3f,"p999":%.3f,"max":%.1f})",
                mean(values), at(0.5), at(0.9), at(0.99), at(0.999), at(1));
  return text;
}

}  // namespace tweendeck::bench
