// What `simulate placement --defrag` prints. Pure.
#pragma once

#include <string>
#include <vector>

#include "sim/defrag.h"

namespace tweendeck::simulate {

struct DefragReport {
  std::string workload;
  std::vector<sim::DefragRuns> runs;  // by policy, with equal seeds
  double most_moved_percent = 0;
};

// Shares of moved pods at which tables have a line: round ones up to the most that may be moved, and that itself.
std::vector<double> moved_points(double most_moved_percent);

std::string report_table(const DefragReport& report, bool color);
std::string report_json(const std::vector<DefragReport>& reports);

}  // namespace tweendeck::simulate
