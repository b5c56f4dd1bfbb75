// Reads an engine's load out of Prometheus text exposition (0.0.4 and OpenMetrics). Pure; one pass, no
// allocation.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace tweendeck::routing::sources {

// What an engine calls its figures (engine.yaml, `metrics`); "" = it has none.
struct MetricNames {
  std::string running;
  std::string waiting;
  std::string kv_cache_usage;  // 0..1
  bool operator==(const MetricNames&) const = default;
};

// Calls `sample` for each line `name{labels} value [timestamp]`. Error MalformedRequest with the line's
// number.
using Sample = std::function<void(std::string_view name, double value)>;
Status for_each_sample(std::string_view text, const Sample& sample);

// Sums of running and waiting over all series of the name, the largest kv_cache_usage. Names that are missing
// in the text, and values that are no finite number >= 0, stay "not reported".
Result<EndpointLoad> read_load(std::string_view text, const MetricNames& names);

}  // namespace tweendeck::routing::sources
