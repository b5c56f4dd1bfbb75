// What `simulate placement --load` and `--events` print. Pure.
#pragma once

#include <string>
#include <vector>

#include "sim/load_experiment.h"

namespace tweendeck::simulate {

struct LoadReport {
  std::string workload;
  std::vector<sim::LoadRuns> runs;  // by load, then policy
  std::vector<std::string> queues;
  size_t seeds = 0;
};

std::string report_table(const LoadReport& report, bool color);
std::string report_json(const std::vector<LoadReport>& reports);

}  // namespace tweendeck::simulate
