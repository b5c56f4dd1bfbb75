#include "placement/why/report.h"

#include <algorithm>
#include <tuple>

namespace tweendeck::placement {
namespace {

std::string detail_of(const DeviceFacts& device, Reason reason) {
  switch (reason) {
    case Reason::IsolationTooWeak:
      return device.id + " isolates by '" + std::string(to_string(device.isolation)) + "'";
    case Reason::ModelMismatch:
      return device.id + " is a '" + device.model + "'";
    case Reason::VendorMismatch:
      return device.id + " is from '" + device.vendor + "'";
    default:
      return {};
  }
}

NearMiss near_miss(const Cluster& cluster, NodeIndex node, ShapeId shape) {
  const Judgement judgement = judge(cluster, node, shape);
  const NodeFacts& facts = cluster.facts(node);
  NearMiss miss;
  miss.node = facts.name;
  miss.reason = judgement.reason;
  miss.devices_missing = judgement.nearness.missing;
  miss.cpu_milli = judgement.cpu_milli;
  miss.host_memory_bytes = judgement.host_memory_bytes;
  if (miss.reason == Reason::NoDevices || miss.reason == Reason::TooFewDevices) return miss;
  for (uint32_t i = 0; i < miss.devices_missing; ++i) {
    const DeviceLack& lack = judgement.lacks[i];
    const DeviceFacts& device = facts.devices[lack.device];
    miss.devices.push_back({device.id, lack.reason, lack.memory_bytes, lack.compute_permille});
    if (miss.detail.empty()) miss.detail = detail_of(device, lack.reason);
  }
  return miss;
}

Remedy& add(Report& report, Remedy::Kind kind) {
  report.remedies.emplace_back().kind = kind;
  return report.remedies.back();
}

void add_ends(Report& report, Cluster& cluster, const Question& question, NodeIndex nearest) {
  if (!question.holders) return;
  const std::vector<Range> here{{nearest, 1}};
  const std::vector<Holder> holders = question.holders(nearest);
  EndSet ends = fewest_ends(cluster, question.shape, 1, here, holders, kReportSteps);
  if (ends.names.empty()) return;
  Remedy& remedy = add(report, Remedy::Kind::End);
  remedy.node = cluster.facts(nearest).name;
  remedy.fewest = ends.fewest;
  for (const std::string& name : ends.names) {
    const int64_t ends_ms = std::ranges::find(holders, name, &Holder::name)->ends_ms;
    if (ends_ms < 0) {
      remedy.at_ms = -1;
      break;
    }
    remedy.at_ms = std::max(remedy.at_ms, ends_ms);
  }
  remedy.names = std::move(ends.names);
}

// The first node on which there is room if nobody else comes, once those leave whose end is known.
void add_first_leaving(Report& report, Cluster& cluster, const Question& question) {
  const Cluster::Mark mark = cluster.mark();
  for (const Leaving& leaves : question.leaving) {
    cluster.give(leaves.held.spot, leaves.held.shape);
    if (!cluster.fits(leaves.held.spot.node, question.shape)) continue;
    Remedy& remedy = add(report, Remedy::Kind::Leave);
    remedy.names = {question.name_of(leaves.claim)};
    remedy.node = cluster.facts(leaves.held.spot.node).name;
    remedy.at_ms = leaves.at_ms;
    break;
  }
  cluster.undo_to(mark);
}

Report report_of(Board& board, Cluster& cluster, const Question& question) {
  const Tally tally = board.tally(cluster, question.shape);
  Report report;
  report.request = cluster.shape(question.shape).request;
  report.nodes = tally.total();
  report.tried_ms = question.tried_ms;
  report.now_ms = question.now_ms;
  report.fitting_nodes = tally.nodes[static_cast<size_t>(Reason::None)];
  for (size_t i = 0; i < kReasonCount; ++i) {
    report.devices += tally.devices[i];
    const auto reason = static_cast<Reason>(i);
    if (tally.nodes[i] > 0 && reason != Reason::None)
      report.reasons.push_back({reason, tally.nodes[i], tally.devices[i]});
  }
  std::ranges::sort(report.reasons, [](const ReasonNodes& a, const ReasonNodes& b) {
    return std::tie(b.nodes, a.reason) < std::tie(a.nodes, b.reason);
  });
  if (question.admission != Reason::None) {
    Remedy& quota = add(report, Remedy::Kind::Quota);
    quota.reason = question.admission;
    quota.detail = question.admission_detail;
  }
  if (report.fitting_nodes > 0 || tally.nearest.node == kNoNode) return report;
  report.nearest.push_back(near_miss(cluster, tally.nearest.node, question.shape));
  if (tally.nearest.distance <= distance(Reason::DeviceHeld)) {
    add_ends(report, cluster, question, tally.nearest.node);
    add_first_leaving(report, cluster, question);
  }
  const NodeIndex closed = board.closed_with_room(cluster, question.shape);
  if (closed != kNoNode) {
    Remedy& reopen = add(report, Remedy::Kind::Reopen);
    reopen.node = cluster.facts(closed).name;
    reopen.reason = judge(cluster, closed, question.shape).reason;
  } else if (tally.nearest.distance >= distance(Reason::TooFewDevices) &&
             tally.nearest.distance != distance(Reason::DeviceUnhealthy)) {
    add(report, Remedy::Kind::None);
  }
  return report;
}

}  // namespace

Reason Report::reason() const {
  for (const Remedy& remedy : remedies) {
    if (remedy.kind == Remedy::Kind::Quota) return remedy.reason;
  }
  if (fitting_nodes > 0) return Reason::None;
  return reasons.empty() ? Reason::NoDevices : reasons.front().reason;
}

Report Reporter::why(Cluster& cluster, const Question& question) {
  return report_of(board_, cluster, question);
}

Result<Report> what_if(Cluster& cluster, const Hypothesis& hypothesis, const Question& question) {
  if (!hypothesis.nodes.empty()) {
    Cluster copy = cluster;
    for (const NodeFacts& node : hypothesis.nodes) {
      if (Result<NodeIndex> put = copy.put_node(node); !put) return fail(put.error());
    }
    Hypothesis rest = hypothesis;
    rest.nodes.clear();
    return what_if(copy, rest, question);
  }
  const Cluster::Mark mark = cluster.mark();
  for (const Holder::Held& held : hypothesis.ended) cluster.give(held.spot, held.shape);
  for (const Holder::Held& held : hypothesis.started) {
    if (!cluster.fits(held.spot, held.shape)) {
      const std::string node =
          held.spot.node < cluster.nodes().size() ? cluster.facts(held.spot.node).name : "an unknown node";
      cluster.undo_to(mark);
      return fail(Reason::InvalidArgument, "a supposed claim does not fit on " + node,
                  "suppose the end of others there first");
    }
    cluster.take(held.spot, held.shape);
  }
  Board board;
  Report report = report_of(board, cluster, question);
  cluster.undo_to(mark);
  return report;
}

}  // namespace tweendeck::placement
