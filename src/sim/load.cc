#include "sim/load.h"

#include <algorithm>
#include <cmath>

#include "sim/random.h"

namespace tweendeck::sim {

namespace {

constexpr int64_t kMsPerSecond = 1000;

// A pod that the stream draws from.
struct Source {
  uint32_t row;
  int64_t lifetime_ms;
};

std::vector<Source> sources_of(const PodList& pods, int64_t longest_s) {
  std::vector<Source> sources;
  for (uint32_t row = 0; row < pods.pods.size(); ++row) {
    int64_t lifetime_s = pods.pods[row].lifetime_s;
    if (longest_s > 0) lifetime_s = std::min(lifetime_s, longest_s);
    if (lifetime_s > 0) sources.push_back({row, lifetime_s * kMsPerSecond});
  }
  return sources;
}

// What a drawn pod brings: thousandths of a GPU x milliseconds.
double mean_work(const PodList& pods, const std::vector<Source>& sources) {
  double sum = 0;
  for (const Source& source : sources)
    sum += static_cast<double>(pods.pods[source.row].asked_milli()) * static_cast<double>(source.lifetime_ms);
  return sources.empty() ? 0 : sum / static_cast<double>(sources.size());
}

// What runs at time 0. Fractions of a copy are carried from source to source, so that their sum is exact.
std::vector<TimelineEvent> population(const std::vector<Source>& sources, double per_ms_and_source,
                                      Random& random) {
  std::vector<TimelineEvent> running;
  double due = random.uniform();
  for (const Source& source : sources) {
    due += per_ms_and_source * static_cast<double>(source.lifetime_ms);
    for (; due >= 1; due -= 1) {
      int64_t left = 1 + static_cast<int64_t>(random.below(static_cast<uint64_t>(source.lifetime_ms)));
      running.push_back({0, TimelineEvent::Kind::Arrive, source.row, left});
    }
  }
  for (size_t at = running.size(); at > 1; --at) std::swap(running[at - 1], running[random.below(at)]);
  return running;
}

}  // namespace

Result<Timeline> make_stream(const NodeList& nodes, const PodList& pods, const LoadOptions& options) {
  const std::vector<Source> sources = sources_of(pods, options.longest_s);
  const double work = mean_work(pods, sources);
  if (work <= 0) {
    return fail(Reason::InvalidArgument, "no pod of the trace has both GPUs and a lifetime",
                "the pod list needs the columns scheduled_time and deletion_time");
  }
  const double per_ms = options.percent / 100 * static_cast<double>(nodes.gpu_milli()) / work;
  Random random(options.seed);
  Timeline timeline;
  const double at_start = per_ms * std::min(1.0, 100 / options.percent) / static_cast<double>(sources.size());
  timeline.at_start = population(sources, at_start, random);
  double at_ms = 0;
  const uint64_t warmup = options.arrivals * kWarmupPercent / 100;
  for (uint64_t arrival = 0; arrival < options.arrivals; ++arrival) {
    at_ms += random.exponential() / per_ms;
    const Source& source = sources[random.below(sources.size())];
    timeline.events.push_back(
        {std::llround(at_ms), TimelineEvent::Kind::Arrive, source.row, source.lifetime_ms});
    if (arrival == warmup) timeline.measured_from_ms = timeline.events.back().at_ms;
  }
  timeline.end_ms = timeline.events.empty() ? 0 : timeline.events.back().at_ms;
  return timeline;
}

}  // namespace tweendeck::sim
