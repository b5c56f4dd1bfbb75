#include "placement/policy/fragmentation/fragmentation.h"

#include <algorithm>
#include <bit>

#include "placement/policy/device_choice.h"

namespace tweendeck::placement {

using namespace fragmentation;

namespace {

// Learning starts after so many arrivals, or sooner where that would be much of the cluster.
constexpr uint64_t kFirstLearning = 64;
constexpr uint64_t kLeastLearning = 16;
constexpr uint64_t kDevicesPerFirstArrival = 97;
// Then whenever arrivals have grown by half and the mix has moved by so much.
constexpr uint64_t kGrowthPercent = 150;
constexpr uint32_t kDriftPermille = 15;
// What is learned after n arrivals is in force after n / kPreparingShare more.
constexpr uint64_t kPreparingShare = 8;
// Dynamic prices are looked at anew every so many arrivals per device, a few hundred times while a cluster fills.
constexpr uint64_t kDevicesPerRefresh = 194;
constexpr uint64_t kLeastRefresh = 8;
// All weights on the node already are worth half a device.
constexpr int64_t kResidencyWeight = 12;
// Below every real score: the claim fits though its state hides that.
constexpr int64_t kHiddenScore = INT32_MIN;

}  // namespace

FragmentationPolicy::FragmentationPolicy() = default;

void FragmentationPolicy::count_arrivals() {
  const auto size_of = [&](KindId kind) {
    return uint64_t{catalog_.kinds()[kind].devices} * catalog_.kinds()[kind].size;
  };
  for (const ShapeId shape : came_) {
    demand_.arrived(catalog_.kind_of(shape));
    standing_ += size_of(catalog_.kind_of(shape));
  }
  for (const ShapeId shape : went_) {
    demand_.departed(catalog_.kind_of(shape));
    standing_ -= std::min(standing_, size_of(catalog_.kind_of(shape)));
  }
  came_.clear();
  went_.clear();
}

void FragmentationPolicy::sync(const Cluster& cluster) {
  Cluster::Changes changes;
  if (cursor_ != kNever) changes = cluster.changes_since(cursor_);
  const bool anew = cursor_ == kNever || changes.lost;
  if (anew) catalog_.forget_types();
  const size_t kinds = catalog_.kinds().size();
  const bool new_types = catalog_.update(cluster);
  if (kinds != catalog_.kinds().size()) {
    next_refresh_ = 0;
    for (Index* index : {index_.get(), next_.get()}) {
      if (index != nullptr) index->follow_kinds();
    }
  }
  cursor_ = cluster.cursor();
  if (anew || new_types) {
    start_anew(cluster);
  } else {
    for (const NodeIndex node : changes.nodes) read_node(cluster, node);
  }
}

// Keeps what was learned.
void FragmentationPolicy::start_anew(const Cluster& cluster) {
  ++counters_.rebuilds;
  next_.reset();
  in_force_at_ = kNever;
  nodes_.assign(cluster.nodes().size(), Seen{});
  free_ = total_ = 0;
  auto made = std::make_unique<Index>(catalog_);
  if (index_ != nullptr) made->scorer().take_over(index_->scorer());
  made->scorer().adapt(cluster, demand_);
  index_ = std::move(made);
  for (NodeIndex node = 0; node < nodes_.size(); ++node) read_node(cluster, node);
  index_->read_all(cluster);
  next_refresh_ = 0;
}

void FragmentationPolicy::read_node(const Cluster& cluster, NodeIndex node) {
  if (nodes_.size() <= node) nodes_.resize(node + 1);
  const NodeState& now = cluster.nodes()[node];
  Seen& seen = nodes_[node];
  if (seen.known && now.version == seen.version) return;
  // Only claims taken since then: nothing grew.
  const bool only_takes = seen.known && now.claims_held >= seen.claims &&
                          now.version - seen.version == now.claims_held - seen.claims;
  if (!only_takes) ++grown_;
  const uint32_t free = free_of(cluster, now);
  const uint32_t total = (now.present ? now.device_count : 0u) * kWholeRest;
  free_ = free_ - seen.free + free;
  total_ = total_ - seen.total + total;
  seen = {now.version, now.claims_held, free, total, true};
  index_->changed(cluster, node);
  if (next_ != nullptr) next_->changed(cluster, node);
}

uint32_t FragmentationPolicy::free_of(const Cluster& cluster, const NodeState& node) const {
  const NodeType& type = cluster.types()[node.type];
  uint32_t free = 0;
  for (uint32_t open = node.open; open != 0; open &= open - 1) {
    free += device_rest(node, type, static_cast<uint32_t>(std::countr_zero(open)));
  }
  return free;
}

void FragmentationPolicy::learn_if_due(const Cluster& cluster) {
  if (next_learning_ == 0) {
    const uint64_t devices = total_ / kWholeRest;
    next_learning_ = std::clamp(devices / kDevicesPerFirstArrival, kLeastLearning, kFirstLearning);
  }
  const uint64_t arrivals = demand_.arrivals();
  if (arrivals >= next_learning_ && next_ == nullptr) {
    next_learning_ = arrivals * kGrowthPercent / 100 + 1;
    demand_.forget_if_due();
    const bool full = index_->classes() > kMaxClasses;
    const bool moved = !index_->scorer().learned() || demand_.drift(index_->scorer().mix()) >= kDriftPermille;
    if (moved || full) {
      ++counters_.learnings;
      next_ = std::make_unique<Index>(catalog_);
      next_->scorer().learn(cluster, demand_);
      in_force_at_ = arrivals + arrivals / kPreparingShare;
      prepared_at_ = arrivals + arrivals / kPreparingShare / 2;
    }
  }
  if (next_ == nullptr || arrivals < in_force_at_) return;
  while (next_->prepare(cluster, UINT64_MAX)) {
  }
  index_ = std::move(next_);
  in_force_at_ = kNever;
  next_refresh_ = 0;
}

void FragmentationPolicy::refresh_if_due() {
  if (demand_.arrivals() < next_refresh_) return;
  next_refresh_ = demand_.arrivals() + std::max(kLeastRefresh, total_ / kWholeRest / kDevicesPerRefresh);
  ++counters_.refreshes;
  index_->refresh(demand_, free_, standing_);
}

void FragmentationPolicy::settle(const Cluster& cluster) {
  sync(cluster);
  count_arrivals();
  index_->advance();
  if (next_ == nullptr) return;
  const uint64_t arrivals = std::max<uint64_t>(1, prepared_at_ - std::min(prepared_at_, demand_.arrivals()));
  if (!next_->prepare(cluster, next_->lacking(cluster) / arrivals + 1)) next_->advance();
}

std::optional<Choice> FragmentationPolicy::choose(const Cluster& cluster, ShapeId shape,
                                                  const Narrowing& narrowing) {
  ++counters_.decisions;
  sync(cluster);
  count_arrivals();
  learn_if_due(cluster);
  refresh_if_due();
  if (narrowing.nodes != nullptr || narrowing.residency != nullptr) {
    return choose_any(cluster, shape, narrowing, std::nullopt);
  }
  if (refused_.size() <= shape) refused_.resize(shape + 1);
  Refused& refused = refused_[shape];
  if (refused.grown == grown_) return std::nullopt;
  const bool plain = cluster.shape(shape).plain;
  const uint32_t size = catalog_.kinds()[catalog_.kind_of(shape)].request.compute_permille;
  std::optional<Choice> choice;
  if (plain) choice = index_->choose(cluster, shape);
  if (!choice && !(plain && index_->scorer().grid().shows(std::min(size, kWholeRest)))) {
    // Where nothing fitted then, only what changed since can fit.
    const Cluster::Changes since =
        refused.grown == 0 ? Cluster::Changes{{}, true} : cluster.changes_since(refused.cursor);
    const bool few = !since.lost && since.nodes.size() < nodes_.size();
    choice = choose_any(cluster, shape, narrowing, few ? std::optional(since.nodes) : std::nullopt);
  }
  if (!choice) refused = {grown_, cluster.cursor()};
  return choice;
}

// Exactly, of all nodes or of these: for requests that states know too little of, and for narrowed choices.
std::optional<Choice> FragmentationPolicy::choose_any(const Cluster& cluster, ShapeId shape,
                                                      const Narrowing& narrowing,
                                                      std::optional<std::span<const NodeIndex>> among) {
  const KindId kind = catalog_.kind_of(shape);
  index_->work_out(kind);
  NodeIndex best = kNoNode;
  int64_t best_score = INT64_MIN;
  const size_t count = among ? among->size() : nodes_.size();
  for (size_t i = 0; i < count; ++i) {
    const NodeIndex node = among ? (*among)[i] : static_cast<NodeIndex>(i);
    if (narrowing.nodes != nullptr && (node >= narrowing.nodes->size() || !(*narrowing.nodes)[node]))
      continue;
    if (index_->class_of(node) == nullptr) continue;
    const int32_t known = index_->score(node, kind);
    int64_t score = known == Score::kNowhere ? kHiddenScore - int64_t{nodes_[node].free} : known;
    if (narrowing.residency != nullptr && node < narrowing.residency->size()) {
      score += kResidencyWeight * (*narrowing.residency)[node];
    }
    const bool better = score != best_score ? score > best_score : node < best;
    if (better && cluster.fits(node, shape)) {
      best = node;
      best_score = score;
    }
  }
  if (best == kNoNode) return std::nullopt;
  const auto devices = devices_by_key(cluster, best, shape, fullest_first(cluster, best));
  if (!devices) return std::nullopt;
  return Choice{cluster.spot(best, *devices, shape), best_score};
}

std::vector<ScoreTerm> FragmentationPolicy::terms(const Cluster& cluster, ShapeId shape, const Spot& spot) {
  sync(cluster);
  count_arrivals();
  refresh_if_due();
  const KindId kind = catalog_.kind_of(shape);
  const Class* at = index_->class_of(spot.node);
  if (at == nullptr) return {};
  const NodeState& node = cluster.nodes()[spot.node];
  Rest rest = 0;
  if (spot.devices != 0) {
    const auto bit = static_cast<uint32_t>(std::countr_zero(spot.devices));
    rest = index_->scorer().grid().rest_of(cluster.types()[node.type].facts.devices[bit], node, bit);
  }
  const FixedTerms fixed = index_->scorer().terms(at->state, at->worth, kind, rest);
  int64_t scarcity = 0;
  int64_t reserved = 0;
  index_->scorer().dynamic_price(index_->score_of(*at, kind), at->state.type, kind, &scarcity, &reserved);
  return {{"value", fixed.value},
          {"rest_price", fixed.rest_price},
          {"best_fit", fixed.best_fit},
          {"scarcity", scarcity},
          {"reservation", reserved}};
}

FragmentationPolicy::Counters FragmentationPolicy::counters() const {
  Counters counters = counters_;
  if (index_ == nullptr) return counters;
  counters.classes = index_->classes();
  counters.live_classes = index_->live_classes();
  counters.values = index_->scorer().values_known();
  counters.scores = index_->scores();
  return counters;
}

}  // namespace tweendeck::placement
