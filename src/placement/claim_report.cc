#include "placement/claim_report.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/units.h"

namespace tweendeck::placement {
namespace {

std::string at(int64_t ms) {
  return format_duration(ms * kMillisecond);
}

std::string gang_line(const ClaimReport::Gang& gang) {
  if (gang.started) {
    return fmt::format("It belongs to gang {}, which runs: {} of its {} hold something.\n", gang.id,
                       gang.holding, counted(gang.members, "member"));
  }
  const std::string members =
      fmt::format("{} of at least {} came", counted(gang.members, "member"), gang.needed);
  return fmt::format("It belongs to gang {}, which starts as a whole or not at all: {}.\n", gang.id, members);
}

std::string origin_line(const ClaimReport& report) {
  std::string text = fmt::format("It came at {}", at(report.submitted_ms));
  if (!report.queue.empty()) text += ", in queue " + report.queue;
  if (!report.space.empty()) text += ", in namespace " + report.space;
  if (report.priority != 0) text += fmt::format(", with priority {}", report.priority);
  text += fmt::format("; now it is {}.", at(report.now_ms));
  if (report.state != ClaimState::Pending) return text + "\n";
  if (report.tried_ms >= report.submitted_ms)
    return text + fmt::format(" It was last tried at {}.\n", at(report.tried_ms));
  return text + fmt::format(" One like it was last tried at {}, and nothing came since that could host it.\n",
                            at(report.tried_ms));
}

std::string json_names(const std::vector<std::string>& names) {
  std::vector<std::string> quoted;
  for (const std::string& name : names) quoted.push_back(json_quote(name));
  return "[" + join(quoted, ",") + "]";
}

std::string_view state_name(ClaimState state) {
  switch (state) {
    case ClaimState::Free:
    case ClaimState::Ended:
      return "ended";
    case ClaimState::Pending:
      return "waiting";
    case ClaimState::Reserved:
      return "reserved";
    case ClaimState::Bound:
      break;
  }
  return "bound";
}

std::string waiting_text(const ClaimReport& report) {
  std::string text = fmt::format("{} waits: {} [{}].\n", report.name, as_clause(describe(report.reason)),
                                 to_string(report.reason));
  text += origin_line(report);
  if (report.rests_until_ms >= 0) {
    const std::string failed =
        report.failures > 1 ? fmt::format("Its last {} starts", report.failures) : "Its last start";
    text += fmt::format("{} failed, so it rests until {}.\n", failed, at(report.rests_until_ms));
  }
  for (const ClaimReport::Gang& gang : report.gang) text += gang_line(gang);
  for (const Report& room : report.room) text += "\n" + room.text();
  return text;
}

}  // namespace

std::string ClaimReport::text() const {
  if (state == ClaimState::Pending) return waiting_text(*this);
  if (state == ClaimState::Ended || state == ClaimState::Free) return name + " has ended.\n";
  std::string where = node;
  if (!devices.empty()) where += " (" + join(devices, ", ") + ")";
  std::string text = fmt::format("{} {} {}.\n", name,
                                 state == ClaimState::Bound ? "runs on" : "has a place reserved on", where);
  text += origin_line(*this);
  for (const Gang& each : gang) text += gang_line(each);
  std::vector<std::string> why_there;
  for (const ScoreTerm& term : terms) {
    if (term.value != 0)
      why_there.push_back(fmt::format("{} {:+.3f}", term.name, static_cast<double>(term.value) / 1000));
  }
  if (!why_there.empty()) text += "The score of that place now: " + join(why_there, ", ") + ".\n";
  return text;
}

std::string ClaimReport::json() const {
  std::string text = fmt::format(
      R"({{"claim":{},"state":"{}","reason":"{}","queue":{},"namespace":{},"priority":{})", json_quote(name),
      state_name(state), to_string(reason), json_quote(queue), json_quote(space), priority);
  text += fmt::format(R"(,"now_ms":{},"submitted_ms":{},"tried_ms":{},"rests_until_ms":{},"failures":{})",
                      now_ms, submitted_ms, state == ClaimState::Pending ? std::to_string(tried_ms) : "null",
                      rests_until_ms < 0 ? "null" : std::to_string(rests_until_ms), failures);
  text += R"(,"gang":)";
  text += gang.empty()
              ? "null"
              : fmt::format(R"({{"id":{},"started":{},"members":{},"holding":{},"needed":{}}})", gang[0].id,
                            gang[0].started, gang[0].members, gang[0].holding, gang[0].needed);
  text += fmt::format(R"(,"node":{},"devices":{},"score_terms":[)", json_quote(node), json_names(devices));
  for (size_t i = 0; i < terms.size(); ++i) {
    text += fmt::format(R"({}{{"name":{},"milli":{}}})", i == 0 ? "" : ",", json_quote(terms[i].name),
                        terms[i].value);
  }
  return text + R"(],"room":)" + (room.empty() ? "null" : room.front().json()) + "}";
}

}  // namespace tweendeck::placement
