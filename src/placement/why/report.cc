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

Report report_of(Board& board, Cluster& cluster, const Question& question) {
  const Tally tally = board.tally(cluster, question.shape);
  Report report;
  report.request = cluster.shape(question.shape).request;
  report.nodes = tally.total();
  report.tried_ms = question.tried_ms;
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
    report.remedies.push_back({Remedy::Kind::Quota, {}, true, question.admission, question.admission_detail});
  }
  if (report.fitting_nodes > 0 || tally.nearest.node == kNoNode) return report;
  const NodeIndex nearest = tally.nearest.node;
  report.nearest.push_back(near_miss(cluster, nearest, question.shape));
  if (question.holders && tally.nearest.distance <= distance(Reason::DeviceHeld)) {
    const std::vector<Range> here{{nearest, 1}};
    EndSet ends = fewest_ends(cluster, question.shape, 1, here, question.holders(nearest), kReportSteps);
    if (!ends.names.empty())
      report.remedies.push_back({Remedy::Kind::End, std::move(ends.names), ends.fewest, Reason::None, {}});
  }
  const NodeIndex closed = board.closed_with_room(cluster, question.shape);
  if (closed != kNoNode) {
    report.remedies.push_back({Remedy::Kind::Reopen,
                               {cluster.facts(closed).name},
                               true,
                               judge(cluster, closed, question.shape).reason,
                               {}});
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
