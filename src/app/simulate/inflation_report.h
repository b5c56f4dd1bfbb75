// What `simulate placement` prints of the published experiment: tables for people, JSON for programs. Pure.
#pragma once

#include <string>
#include <vector>

#include "sim/experiment.h"

namespace tweendeck::simulate {

struct InflationReport {
  std::string workload;
  std::vector<sim::PolicyRuns> policies;  // at least one, with equal seeds
  std::vector<std::string> queues;        // PodList::queues
  size_t compare_from = 1;                // policies from here on are what the ones before are compared with
  std::vector<size_t> points;             // arrived percents of the table
};

std::string report_table(const InflationReport& report, bool color);
std::string report_json(const std::vector<InflationReport>& reports);

// The smallest value of `policy` minus `other` over the whole percents first .. last that both have.
struct Worst {
  size_t percent = 0;
  double points = 0;
};
Worst worst_difference(const sim::PolicyRuns& policy, const sim::PolicyRuns& other, size_t first,
                       size_t last);

}  // namespace tweendeck::simulate
