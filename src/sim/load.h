// A stream of pods at an offered load, drawn from a trace's own pods and durations.
//
// Offered load is the GPU time that arrives, in percent of the GPU time that there is: rate x mean(GPUs x lifetime) /
// GPUs of the cluster. Pods are drawn with replacement from those whose lifetime the trace knows, each with its own
// lifetime, and arrive as a Poisson process.
//
// Lifetimes have a heavy tail: on the openb trace nine pods of 7,255 hold half of the GPU time, and nothing but the
// short ones would come and go in a run of bearable length. So they are cut at `longest_s`, and a run starts with the
// population that the stream has in the long run at min(load, 100 %): of each pod, rate x lifetime copies, with what is
// left of their lifetimes spread evenly, in random order.
#pragma once

#include "base/result.h"
#include "sim/timeline.h"

namespace tweendeck::sim {

inline constexpr double kMaxLoadPercent = 1000;
inline constexpr uint64_t kMaxStreamArrivals = 10'000'000;
inline constexpr uint64_t kWarmupPercent = 20;  // of the arrivals: they are not measured

struct LoadOptions {
  double percent = 100;
  uint64_t arrivals = 0;  // after the start
  uint64_t seed = 0;
  int64_t longest_s = 0;  // lifetimes are cut to it; 0 = not at all
};

// Errors: InvalidArgument when no pod of the list has a lifetime or all are 0.
Result<Timeline> make_stream(const NodeList& nodes, const PodList& pods, const LoadOptions& options);

}  // namespace tweendeck::sim
