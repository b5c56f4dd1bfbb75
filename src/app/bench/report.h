// A benchmark's result for people and for programs. Pure.
#pragma once

#include <string>
#include <vector>

#include "app/bench/stats.h"

namespace tweendeck::bench {

struct ReportHead {
  std::string mode = {};  // "closed loop, 8 at once"
  std::vector<std::string> models = {};
  bool simulated = false;  // some replica is: the report says so
};

std::string report_table(const ReportHead& head, const Summary& summary, bool color);
std::string report_json(const ReportHead& head, const Summary& summary);

}  // namespace tweendeck::bench
