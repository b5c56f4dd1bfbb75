#include "sim/trace/event_log.h"

#include <fmt/format.h>

#include <cmath>
#include <unordered_map>

#include "base/text.h"
#include "sim/trace/lines.h"

namespace tweendeck::sim {

namespace {

constexpr double kMsPerSecond = 1000;

using Names = std::unordered_map<std::string_view, uint32_t>;

template <class Rows>
Names rows_by_name(const Rows& rows) {
  Names names;
  for (uint32_t row = 0; row < rows.size(); ++row) names.try_emplace(rows[row].name, row);
  return names;
}

class Reader {
 public:
  Reader(std::string_view text, const std::string& source, const NodeList& nodes, const PodList& pods)
      : lines_(text, source), nodes_(rows_by_name(nodes.nodes)), pods_(rows_by_name(pods.pods)) {}

  Result<std::vector<TimelineEvent>> read() {
    Result<Columns> columns = Columns::read(lines_, {"time_s", "event", "name", "lifetime_s"});
    if (!columns) return fail(columns.error());
    const size_t time = at(*columns, "time_s"), kind = at(*columns, "event"), name = at(*columns, "name"),
                 lifetime = at(*columns, "lifetime_s");
    std::vector<TimelineEvent> events;
    std::string_view line;
    while (lines_.next(line)) {
      Result<std::vector<std::string_view>> fields = columns->fields(lines_, line);
      if (!fields) return fail(fields.error());
      Result<TimelineEvent> event =
          parse((*fields)[time], (*fields)[kind], (*fields)[name], (*fields)[lifetime]);
      if (!event) return fail(event.error());
      if (!events.empty() && event->at_ms < events.back().at_ms)
        return fail(lines_.error("the time goes backwards", "sort the log by time_s"));
      if (events.size() == kMaxLoggedEvents)
        return fail(lines_.error(fmt::format("more than {} events", kMaxLoggedEvents), "split the log"));
      events.push_back(*event);
    }
    if (events.empty()) return fail(lines_.error("no events", "one line per event follows the header"));
    return events;
  }

 private:
  static size_t at(const Columns& columns, std::string_view name) {
    return static_cast<size_t>(columns.index(name));
  }

  Result<TimelineEvent> parse(std::string_view time, std::string_view kind, std::string_view name,
                              std::string_view lifetime) {
    TimelineEvent event;
    Result<double> seconds = lines_.decimal(time, "time_s", static_cast<double>(kMaxSeconds));
    if (!seconds) return fail(seconds.error());
    event.at_ms = std::llround(*seconds * kMsPerSecond);
    if (kind == "arrive")
      event.kind = TimelineEvent::Kind::Arrive;
    else if (kind == "node-down")
      event.kind = TimelineEvent::Kind::NodeDown;
    else if (kind == "node-up")
      event.kind = TimelineEvent::Kind::NodeUp;
    else
      return fail(lines_.error(fmt::format("event is {}", json_quote(kind)),
                               "it must be arrive, node-down or node-up"));
    const bool is_pod = event.kind == TimelineEvent::Kind::Arrive;
    const Names& names = is_pod ? pods_ : nodes_;
    auto row = names.find(name);
    if (row == names.end()) {
      return fail(lines_.error(fmt::format("no {} {}", is_pod ? "pod" : "node", json_quote(name)),
                               "names are those of the pod and node lists"));
    }
    event.subject = row->second;
    if (lifetime.empty()) return event;
    if (!is_pod) return fail(lines_.error("a node has no lifetime", "leave lifetime_s empty"));
    Result<double> life = lines_.decimal(lifetime, "lifetime_s", static_cast<double>(kMaxSeconds));
    if (!life) return fail(life.error());
    event.lifetime_ms = std::llround(*life * kMsPerSecond);
    return event;
  }

  Lines lines_;
  Names nodes_;
  Names pods_;
};

}  // namespace

Result<std::vector<TimelineEvent>> parse_event_log(std::string_view text, const std::string& source,
                                                   const NodeList& nodes, const PodList& pods) {
  return Reader(text, source, nodes, pods).read();
}

}  // namespace tweendeck::sim
