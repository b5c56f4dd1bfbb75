#include "app/simulate/replay_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>

#include "app/cli/terminal.h"
#include "base/text.h"
#include "base/units.h"
#include "net/json.h"

namespace tweendeck::simulate {

namespace {

using namespace placement;

constexpr size_t kDecisionsShown = 12;

std::string at(int64_t ms) {
  return format_duration(ms * kMillisecond);
}

struct Waiting {
  uint64_t claims = 0;
  ClaimId longest = 0;  // who waits longest
  int64_t since_ms = INT64_MAX;
};

struct State {
  size_t nodes = 0, devices = 0;
  int64_t held_milli = 0;  // compute of devices
  std::map<Reason, Waiting> waiting;
  std::map<QueueId, uint64_t> waiting_in;
};

State state_of(const Engine& engine) {
  State state;
  const Cluster& cluster = engine.cluster();
  for (const NodeState& node : cluster.nodes()) {
    if (!node.present) continue;
    ++state.nodes;
    state.devices += node.device_count;
    for (uint32_t device = 0; device < node.device_count; ++device)
      state.held_milli += kWholeCompute - node.compute_free[device];
  }
  const ClaimTable& claims = engine.claims();
  for (ClaimSlot slot = 0; slot < claims.slots(); ++slot) {
    const placement::Claim& claim = claims[slot];
    if (claim.state != ClaimState::Pending) continue;
    Waiting& waiting = state.waiting[engine.status(claim.id)->reason];
    ++waiting.claims;
    if (std::pair(claim.submitted_ms, claim.id) < std::pair(waiting.since_ms, waiting.longest)) {
      waiting.since_ms = claim.submitted_ms;
      waiting.longest = claim.id;
    }
    if (claim.queue != kNoQueue) ++state.waiting_in[claim.queue];
  }
  return state;
}

double held_percent(const State& state) {
  return state.devices == 0 ? 0
                            : static_cast<double>(state.held_milli) / 10 / static_cast<double>(state.devices);
}

std::vector<std::string> devices_of(const Engine& engine, const Spot& spot) {
  std::vector<std::string> ids;
  const NodeFacts& node = engine.cluster().facts(spot.node);
  for (uint32_t rest = spot.devices; rest != 0; rest &= rest - 1) {
    const auto device = static_cast<size_t>(std::countr_zero(rest));
    if (device < node.devices.size()) ids.push_back(node.devices[device].id);
  }
  return ids;
}

std::string place_of(const Engine& engine, const Spot& spot) {
  const std::vector<std::string> devices = devices_of(engine, spot);
  const std::string& node = engine.cluster().facts(spot.node).name;
  return devices.empty() ? node : fmt::format("{} ({})", node, join(devices, ", "));
}

std::string decision_line(const sim::EngineReplay& replay, const ClaimDecision& decision) {
  const std::string name = replay.name(decision.claim);
  const std::string why =
      fmt::format("{} [{}]", as_clause(describe(decision.reason)), to_string(decision.reason));
  switch (decision.verdict) {
    case Verdict::Placed:
      return fmt::format("{} would be placed on {}", name, place_of(replay.engine(), decision.spot));
    case Verdict::Released:
      return fmt::format("{} would lose its place on {} and wait again: {}", name,
                         place_of(replay.engine(), decision.spot), why);
    case Verdict::Ended:
      return fmt::format("{} would be gone", name);
    case Verdict::Stop:
      return fmt::format("{} would be told to stop, for another claim", name);
    case Verdict::Resized:
      return fmt::format("{} would have its new size", name);
    case Verdict::Bound:
      return fmt::format("{} would run", name);
    case Verdict::Infeasible:
    case Verdict::BudgetExhausted:
    case Verdict::Waiting:
    case Verdict::Rejected:
      break;
  }
  return fmt::format("{} would wait: {}", name, why);
}

std::string supposed_text(const sim::EngineReplay& replay, const Supposed& supposed) {
  if (supposed.lines.empty()) return "";
  std::string text;
  for (const std::string& line : supposed.lines)
    text += fmt::format("Supposed at {}: {}\n", at(replay.engine().now_ms()), line);
  for (size_t i = 0; i < supposed.decisions.size() && i < kDecisionsShown; ++i)
    text += fmt::format("- {}\n", decision_line(replay, supposed.decisions[i]));
  if (supposed.decisions.size() > kDecisionsShown)
    text += fmt::format("- and {} more\n", counted(supposed.decisions.size() - kDecisionsShown, "change"));
  if (supposed.decisions.empty()) text += "- nothing would change for any claim\n";
  return text + "\n";
}

void write_supposed(net::JsonWriter& w, const sim::EngineReplay& replay, const Supposed& supposed) {
  w.array("supposed");
  for (const std::string& line : supposed.lines) w.value(line);
  w.end().array("decisions");
  for (const ClaimDecision& decision : supposed.decisions) {
    w.object().field("claim", replay.name(decision.claim)).field("verdict", to_string(decision.verdict));
    w.field("reason", to_string(decision.reason));
    const bool somewhere = decision.verdict == Verdict::Placed || decision.verdict == Verdict::Released;
    w.field("node", somewhere ? replay.engine().cluster().facts(decision.spot.node).name : std::string());
    w.array("devices");
    if (somewhere) {
      for (const std::string& id : devices_of(replay.engine(), decision.spot)) w.value(id);
    }
    w.end().end();
  }
  w.end();
}

std::string waiting_table(const sim::EngineReplay& replay, const State& state, bool color) {
  if (state.waiting.empty()) return "";
  cli::Table table({"WAITING FOR", "CLAIMS", "LONGEST", "THAT IS", "MEANING"});
  table.right_align(1);
  table.right_align(2);
  for (const auto& [reason, waiting] : state.waiting) {
    table.row({std::string(to_string(reason)), fmt::to_string(waiting.claims),
               at(replay.engine().now_ms() - waiting.since_ms), replay.name(waiting.longest),
               std::string(describe(reason))});
  }
  return "\n" + table.render(color);
}

std::string bound(int64_t devices) {
  return devices == kUnlimited ? "-" : fmt::to_string(devices);
}

std::string queue_table(const Engine& engine, const State& state, bool color) {
  const Queues& queues = engine.queues();
  cli::Table table({"QUEUE", "DEVICES", "SHARE", "GUARANTEED", "LIMIT", "WAITING"});
  for (size_t column = 1; column < 6; ++column) table.right_align(column);
  for (QueueId queue = 0; queue < queues.size(); ++queue) {
    if (queue == kRootQueue || !queues.exists(queue)) continue;
    const auto waiting = state.waiting_in.find(queue);
    const double share = state.devices == 0 ? 0
                                            : 100.0 * static_cast<double>(queues.used(queue)[kDevices]) /
                                                  static_cast<double>(state.devices);
    table.row({queues.spec(queue).name, fmt::to_string(queues.used(queue)[kDevices]),
               fmt::format("{:.1f} %", share), fmt::to_string(queues.guaranteed(queue)[kDevices]),
               bound(queues.limit(queue)[kDevices]),
               waiting == state.waiting_in.end() ? "0" : fmt::to_string(waiting->second)});
  }
  return table.empty() ? "" : "\n" + table.render(color);
}

}  // namespace

std::string state_text(const sim::EngineReplay& replay, const std::string& source, const Supposed& supposed,
                       bool color) {
  const Engine& engine = replay.engine();
  const State state = state_of(engine);
  std::string text = supposed_text(replay, supposed);
  text += fmt::format("{}, {} until {}\n", source, counted(replay.events(), "event"), at(engine.now_ms()));
  text += fmt::format("{} with {}, {:.1f} % of their compute held; {} bound, {} reserved, {} waiting\n",
                      counted(state.nodes, "node"), counted(state.devices, "device"), held_percent(state),
                      engine.bound(), engine.reserved(), engine.pending());
  text += waiting_table(replay, state, color);
  return text + queue_table(engine, state, color);
}

std::string state_json(const sim::EngineReplay& replay, const Supposed& supposed) {
  const Engine& engine = replay.engine();
  const State state = state_of(engine);
  net::JsonWriter w;
  w.object().field("now_ms", engine.now_ms()).field("events", replay.events());
  w.field("refused_events", replay.refusals().count);
  write_supposed(w, replay, supposed);
  w.field("nodes", static_cast<uint64_t>(state.nodes)).field("devices", static_cast<uint64_t>(state.devices));
  w.field("held_compute_percent", held_percent(state)).field("bound", static_cast<uint64_t>(engine.bound()));
  w.field("reserved", static_cast<uint64_t>(engine.reserved()));
  w.array("waiting");
  for (const auto& [reason, waiting] : state.waiting) {
    w.object().field("reason", to_string(reason)).field("claims", waiting.claims);
    w.field("longest_ms", engine.now_ms() - waiting.since_ms)
        .field("longest", replay.name(waiting.longest))
        .end();
  }
  w.end().array("queues");
  for (QueueId queue = 0; queue < engine.queues().size(); ++queue) {
    if (queue == kRootQueue || !engine.queues().exists(queue)) continue;
    const auto waiting = state.waiting_in.find(queue);
    w.object().field("queue", engine.queues().spec(queue).name);
    w.field("devices", engine.queues().used(queue)[kDevices]);
    w.field("waiting", waiting == state.waiting_in.end() ? uint64_t{0} : waiting->second).end();
  }
  w.end().end();
  return w.take();
}

std::string claim_text(const sim::EngineReplay& replay, const Supposed& supposed, const ClaimReport& report) {
  return supposed_text(replay, supposed) + report.text();
}

std::string claim_json(const sim::EngineReplay& replay, const Supposed& supposed, const ClaimReport& report) {
  net::JsonWriter w;
  w.object().field("now_ms", replay.engine().now_ms());
  write_supposed(w, replay, supposed);
  w.name("claim").raw(report.json());
  w.end();
  return w.take();
}

}  // namespace tweendeck::simulate
