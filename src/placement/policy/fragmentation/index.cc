#include "placement/policy/fragmentation/index.h"

#include <algorithm>
#include <bit>

namespace tweendeck::placement::fragmentation {
namespace {

// Kinds whose scores are worked out after each decision, so that the next one of any kind finds little left to do.
constexpr uint32_t kKindsPerDecision = 1;

}  // namespace

Index::Index(const Catalog& catalog) : catalog_(catalog), scorer_(catalog) {
  follow_kinds();
}

void Index::follow_kinds() {
  for (; followed_ < catalog_.kinds().size(); ++followed_) {
    const Kind& kind = catalog_.kinds()[followed_];
    if (kind.plain && kind.priced_as == followed_) leaders_.push_back(followed_);
  }
}

void Index::count(const Class& of, int sign) {
  scorer_.reservation().add(of.worth.slots, sign);
  scorer_.scarcity().add(catalog_.types()[of.state.type].pool,
                         sign * static_cast<int64_t>(of.worth.capacity));
}

void Index::changed(const Cluster& cluster, NodeIndex node) {
  if (node < in_.size()) read(cluster, node);
}

void Index::read(const Cluster& cluster, NodeIndex node) {
  const NodeState& now = cluster.nodes()[node];
  ClassId in = kNoClass;
  if (now.present && !now.cordoned)
    in = classes_.find(scorer_.grid().state_of(catalog_, cluster, now), scorer_);
  const ClassId before = in_[node];
  if (in == before) {
    if (in != kNoClass) classes_.stay(in, now);
    return;
  }
  if (before != kNoClass) {
    count(classes_[before], -1);
    classes_.leave(before, node);
  }
  if (in != kNoClass) {
    count(classes_[in], 1);
    classes_.enter(in, node, now);
  }
  in_[node] = in;
}

void Index::read_all(const Cluster& cluster) {
  while (in_.size() < cluster.nodes().size()) {
    in_.push_back(kNoClass);
    read(cluster, static_cast<NodeIndex>(in_.size() - 1));
  }
}

uint64_t Index::lacking(const Cluster& cluster) const {
  const uint64_t slots = std::max<uint64_t>(classes_.slots().size(), cluster.types().size());
  const uint64_t kinds = leaders_.size() - std::min(leaders_.size(), prepared_);
  return cluster.nodes().size() - std::min(cluster.nodes().size(), in_.size()) + kinds * slots;
}

bool Index::prepare(const Cluster& cluster, uint64_t units) {
  while (units > 0) {
    if (in_.size() < cluster.nodes().size()) {
      in_.push_back(kNoClass);
      read(cluster, static_cast<NodeIndex>(in_.size() - 1));
      --units;
      continue;
    }
    if (prepared_ >= leaders_.size()) return false;
    table_.follow(classes_, scorer_, epoch_);
    const uint64_t done = table_.work_out(classes_, scorer_, leaders_[prepared_], units);
    if (done < units) ++prepared_;
    units -= std::min(units, std::max<uint64_t>(done, 1));
  }
  return true;
}

void Index::refresh(const Demand& demand, uint64_t free, uint64_t standing) {
  const uint32_t active = scorer_.reservation().active();
  const bool reserved = scorer_.reservation().refresh(demand, free, standing) != active;
  if (scorer_.scarcity().refresh(catalog_, demand) || reserved) ++epoch_;
}

void Index::advance() {
  table_.follow(classes_, scorer_, epoch_);
  for (uint32_t i = 0; i < kKindsPerDecision && !leaders_.empty(); ++i) {
    turn_ = (turn_ + 1) % leaders_.size();
    table_.work_out(classes_, scorer_, leaders_[turn_], SIZE_MAX);
  }
}

void Index::work_out(KindId kind) {
  table_.follow(classes_, scorer_, epoch_);
  table_.work_out(classes_, scorer_, leader(kind), SIZE_MAX);
}

int32_t Index::score(NodeIndex node, KindId kind) const {
  return in_[node] == kNoClass ? Score::kNowhere : table_.score(classes_[in_[node]].slot, leader(kind));
}

const Class* Index::class_of(NodeIndex node) const {
  return node < in_.size() && in_[node] != kNoClass ? &classes_[in_[node]] : nullptr;
}

Score Index::score_of(const Class& of, KindId kind) {
  return scorer_.score(of.state, of.worth, leader(kind));
}

std::optional<Choice> Index::choose(const Cluster& cluster, ShapeId shape) {
  const KindId kind = leader(catalog_.kind_of(shape));
  const Request& request = cluster.shape(shape).request;
  const ScoreTable::Need need{static_cast<int32_t>(request.cpu_milli),
                              static_cast<int64_t>(request.node_memory_bytes)};
  table_.follow(classes_, scorer_, epoch_);
  ScoreTable::Place place = ScoreTable::kBeforeAll;
  for (;;) {
    place = table_.best(classes_, scorer_, kind, need, place);
    if (place.slot == ScoreTable::Place::kNone) return std::nullopt;
    const Rest want = table_.parts(place.slot, kind).want;
    if (const auto spot = first_fit(cluster, shape, place.slot, want)) return Choice{*spot, place.score};
  }
}

std::optional<Spot> Index::first_fit(const Cluster& cluster, ShapeId shape, SlotId slot, Rest want) {
  const Request& request = cluster.shape(shape).request;
  const Class& searched = classes_[classes_.slots()[slot].id];
  int32_t most_cpu = INT32_MIN;
  int64_t most_memory = INT64_MIN;
  const NodeSet& members = classes_.members(searched);
  for (NodeIndex node = members.next(0); node != kNoNode; node = members.next(node + 1)) {
    const NodeState& state = cluster.nodes()[node];
    most_cpu = std::max(most_cpu, state.cpu_free_milli);
    most_memory = std::max(most_memory, state.memory_free_bytes);
    if (request.devices == 0) {
      if (cluster.fits(node, shape)) return Spot{node, 0, {}};
      continue;
    }
    const uint16_t fitting = cluster.fitting_devices(node, shape);
    if (fitting == 0) continue;
    return cluster.spot(node, pick(cluster, node, fitting, request.devices, want), shape);
  }
  classes_.set_most(slot, most_cpu, most_memory);
  return std::nullopt;
}

// One: the tightest of those that the score was worked out for. Several: those with the least left.
uint16_t Index::pick(const Cluster& cluster, NodeIndex node, uint16_t fitting, uint32_t count,
                     Rest want) const {
  const NodeState& state = cluster.nodes()[node];
  const NodeType& type = cluster.types()[state.type];
  uint32_t picked = 0;
  for (uint32_t taken = 0; taken < count; ++taken) {
    uint32_t best = 0;
    int64_t least = INT64_MAX;
    for (uint32_t rest = fitting & ~picked; rest != 0; rest &= rest - 1) {
      const auto bit = static_cast<uint32_t>(std::countr_zero(rest));
      const Rest at = scorer_.grid().rest_of(type.facts.devices[bit], state, bit);
      int64_t key = int64_t{at} << 32 | state.compute_free[bit];
      if (count == 1 && at != want) key |= int64_t{1} << 62;
      if (key < least) {
        least = key;
        best = bit;
      }
    }
    picked |= 1u << best;
  }
  return static_cast<uint16_t>(picked);
}

}  // namespace tweendeck::placement::fragmentation
