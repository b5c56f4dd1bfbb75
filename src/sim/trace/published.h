// The published result file: allocation in percent by workload, policy and seed at 0, 1, ... percent of arrived GPUs.
//
//   workload,policy,seed,0,1,...,130
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tweendeck::sim {

struct PublishedRow {
  std::string workload;
  std::string policy;  // as published: "GpuPacking"
  uint32_t seed = 0;
  std::vector<int32_t> hundredths;  // by arrived percent
};

// Pure. Errors: InvalidArgument with file and line.
Result<std::vector<PublishedRow>> parse_published(std::string_view text, const std::string& source);

}  // namespace tweendeck::sim
