// The published inflation experiment's files (node list, pod lists, arrival orders) for benchmarks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "placement/cluster/cluster.h"

namespace tweendeck::bench {

struct Trace {
  struct Run {
    uint32_t seed = 0;
    std::vector<uint32_t> ranks;     // of each node in the order of ties
    std::vector<uint32_t> arrivals;  // indices of pods
  };
  std::vector<placement::NodeFacts> nodes;
  std::vector<placement::Request> pods;
  std::vector<Run> runs;
};

// `arrivals` is the text of an arrivals file, not compressed. Ends the program with a message when a file is not readable.
Trace read_trace(const std::string& nodes, const std::string& pods, const std::string& arrivals);

// A cluster of `copies` times the nodes, in the order of ties.
placement::Cluster make_cluster(const Trace& trace, const Trace::Run& run, uint32_t copies);

}  // namespace tweendeck::bench
