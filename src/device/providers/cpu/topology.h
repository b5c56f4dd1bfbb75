// The NUMA nodes of this machine with the CPUs and memory that this process may use, read from /sys and /proc
// below an injectable root. Safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/cgroup/kernel.h"

namespace tweendeck::device {

inline constexpr int kMaxCpuNumber = 65'536;

struct NumaNode {
  int number = 0;
  std::vector<int> cpus;      // ascending; those of the node that this process may run on
  uint64_t memory_bytes = 0;  // of the whole node
};

struct Topology {
  std::vector<NumaNode> nodes;  // those with CPUs and memory, ascending
  std::string vendor;           // "AMD", "Intel", "ARM", or as the kernel names it
  std::string model;            // "AMD EPYC"
};

// A kernel without NUMA shows as one node 0. Errors: IoError when the files say nothing usable.
Result<Topology> read_topology(Kernel& kernel, const std::string& root);

// "0-3,8" <-> {0,1,2,3,8}. Malformed parts are skipped; numbers above kMaxCpuNumber too.
std::vector<int> parse_number_list(std::string_view text);
std::string format_number_list(const std::vector<int>& ascending);

}  // namespace tweendeck::device
