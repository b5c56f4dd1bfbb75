#include "placement/placement.h"

#include <algorithm>

#include "placement/cluster/broken.h"
#include "placement/machine_book.h"
#include "placement/policy/make_policy.h"
#include "placement/refusal.h"

namespace tweendeck::placement {
namespace {

// Devices that the next slice may go to: with Spread those with the fewest slices of the deployment.
std::vector<bool> candidates(const MachineClaim& claim, const std::vector<uint32_t>& own) {
  const Cluster& cluster = claim.book.cluster;
  std::vector<bool> open(own.size());
  uint32_t fewest = UINT32_MAX;
  for (NodeIndex node = 0; node < own.size(); ++node) {
    open[node] = !(claim.claim.distinct_devices && own[node] > 0) && cluster.fits(node, claim.shape);
    if (open[node]) fewest = std::min(fewest, own[node]);
  }
  if (claim.claim.spread == Spread::Pack) return open;
  for (NodeIndex node = 0; node < own.size(); ++node) open[node] = open[node] && own[node] == fewest;
  return open;
}

std::vector<std::string> choose(MachineClaim& claim) {
  const Result<std::unique_ptr<Policy>> policy =
      make_policy({.name = claim.claim.spread == Spread::Pack ? "binpack" : "spread", .weights = {}});
  if (!policy) broken("a policy of the machine is gone");
  Cluster& cluster = claim.book.cluster;
  std::vector<uint32_t> own = claim.own_slices;
  std::vector<std::string> device_ids;
  for (uint32_t i = 0; i < claim.claim.count; ++i) {
    const std::vector<bool> open = candidates(claim, own);
    const std::optional<Choice> choice = (*policy)->choose(cluster, claim.shape, {&open, nullptr});
    if (!choice) broken("a policy found no place where slots were counted");
    cluster.take(choice->spot, claim.shape);
    ++own[choice->spot.node];
    device_ids.push_back(claim.snapshot.devices[choice->spot.node].id);
  }
  return device_ids;
}

Decision refused(Reason reason) {
  return {.device_ids = {}, .refusal = Refusal{.fitting = 0, .reasons = {{reason, 0, {}}}, .nearest = {}}};
}

}  // namespace

Decision place(const Snapshot& snapshot, const Claim& claim) {
  if (claim.count > kMaxClaimSlices) return refused(Reason::LimitExceeded);
  if (claim.count == 0) return {};
  MachineBook book = book_of(snapshot);
  const Result<ShapeId> shape = book.cluster.shape_id(request_of(snapshot, claim));
  if (!shape) return refused(shape.error().reason);
  MachineClaim asked = machine_claim(snapshot, claim, book, *shape);
  const uint32_t fitting = total_slots(book.cluster, *shape, asked.ranges, claim.count);
  Decision decision;
  if (fitting < claim.count) {
    decision.refusal = refuse(asked, fitting);
  } else {
    decision.device_ids = choose(asked);
  }
  return decision;
}

}  // namespace tweendeck::placement
