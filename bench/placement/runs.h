// What tw_placement_speed measures. Each prints one JSON object.
#pragma once

#include <cstdint>

#include "bench/placement/trace.h"

namespace tweendeck::bench {

struct Options {
  uint32_t copies = 1;   // of the cluster and of the arrivals
  uint32_t repeats = 1;  // of the same work
  bool check = false;    // whether each refusal is right
};

// The published inflation experiment (claims come and stay): the default policy and the book.
void run_policy(const Trace& trace, const Trace::Run& run, const Options& options);

// The engine: claims are submitted and confirmed until as many devices are asked for as there are; from then on one is
// withdrawn for each that comes.
void run_engine(const Trace& trace, const Trace::Run& run, const Options& options);

}  // namespace tweendeck::bench
