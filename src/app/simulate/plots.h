// --svg: the curves of a result as a picture.
#pragma once

#include "app/simulate/choices.h"
#include "app/simulate/defrag_report.h"
#include "app/simulate/inflation_report.h"
#include "app/simulate/load_report.h"
#include "app/simulate/svg_chart.h"

namespace tweendeck::simulate {

Chart plot_of(const InflationReport& report);  // allocation over arrived GPUs
Chart plot_of(const LoadReport& report);       // mean wait over load; of an event log, allocation over time
Chart plot_of(const DefragReport& report);     // allocation over the share of pods moved

// Writes the file that --svg names, if any; with several workloads, one file each: x.svg becomes x-NAME.svg.
// Errors: IoError and the like.
Status write_plot(const Context& context, const std::string& workload, bool several, const Chart& chart);

}  // namespace tweendeck::simulate
