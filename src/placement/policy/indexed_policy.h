// A policy whose score of a node depends on that node and the shape only, with an index per shape, so that a
// decision costs what changed since the shape's last one and not the size of the cluster.
//
// A Scorer is a value with
//   std::string_view name() const;
//   void arrived(ShapeId); void departed(ShapeId);
//   uint64_t epoch(const Cluster&);          // another value when all scores are stale; called once per choice
//   int32_t score(const Cluster&, NodeIndex, ShapeId);                 // kUnfit where the claim does not fit
//   uint16_t pick(const Cluster&, NodeIndex, ShapeId);                 // the devices, where it fits
//   std::vector<ScoreTerm> terms(const Cluster&, ShapeId, const Spot&);
#pragma once

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "placement/policy/policy.h"
#include "placement/policy/tournament.h"

namespace tweendeck::placement {

// Shapes that have an index at one time; the one that was not asked for longest gives way. At 20,000 nodes an
// index takes 0.34 MB.
inline constexpr size_t kMaxIndexes = 512;
// What all weights of a claim being on a node already adds to its score, by permille of residency.
inline constexpr int32_t kResidencyWeight = 1;

template <class Scorer>
class IndexedPolicy final : public Policy {
 public:
  explicit IndexedPolicy(Scorer scorer) : scorer_(std::move(scorer)) {}

  std::string_view name() const override { return scorer_.name(); }
  void arrived(ShapeId shape) override { scorer_.arrived(shape); }
  void departed(ShapeId shape) override { scorer_.departed(shape); }

  std::optional<Choice> choose(const Cluster& cluster, ShapeId shape, const Narrowing& narrowing) override {
    const uint64_t epoch = scorer_.epoch(cluster);
    if (narrowing.nodes != nullptr || narrowing.residency != nullptr) return scan(cluster, shape, narrowing);
    Index& index = catch_up(cluster, shape, epoch);
    if (index.tree.best_score() == kUnfit) return std::nullopt;
    const uint32_t node = index.tree.best_node();
    return Choice{cluster.spot(node, scorer_.pick(cluster, node, shape), shape), index.tree.best_score()};
  }

  std::vector<ScoreTerm> terms(const Cluster& cluster, ShapeId shape, const Spot& spot) override {
    return scorer_.terms(cluster, shape, spot);
  }

 private:
  struct Index {
    ShapeId shape = 0;
    uint64_t cursor = 0;
    uint64_t epoch = 0;
    uint64_t used = 0;
    bool built = false;
    Tournament tree;
    std::vector<uint32_t> versions;  // of the node when it was scored
  };

  std::optional<Choice> scan(const Cluster& cluster, ShapeId shape, const Narrowing& narrowing) {
    NodeIndex best = kNoNode;
    int64_t best_score = 0;
    for (NodeIndex node = 0; node < cluster.nodes().size(); ++node) {
      if (narrowing.nodes != nullptr && (node >= narrowing.nodes->size() || !(*narrowing.nodes)[node]))
        continue;
      int64_t score = scorer_.score(cluster, node, shape);
      if (score == kUnfit) continue;
      if (narrowing.residency != nullptr && node < narrowing.residency->size()) {
        score += int64_t{kResidencyWeight} * (*narrowing.residency)[node];
      }
      if (best != kNoNode && score <= best_score) continue;
      best = node;
      best_score = score;
    }
    if (best == kNoNode) return std::nullopt;
    return Choice{cluster.spot(best, scorer_.pick(cluster, best, shape), shape), best_score};
  }

  Index& index_of(ShapeId shape) {
    if (shape >= slots_.size()) slots_.resize(shape + 1, -1);
    if (slots_[shape] < 0) {
      size_t slot = indexes_.size();
      if (slot < kMaxIndexes) {
        indexes_.emplace_back();
      } else {
        slot = static_cast<size_t>(std::ranges::min_element(indexes_, {}, &Index::used) - indexes_.begin());
        slots_[indexes_[slot].shape] = -1;
      }
      indexes_[slot].shape = shape;
      indexes_[slot].built = false;
      slots_[shape] = static_cast<int32_t>(slot);
    }
    Index& index = indexes_[static_cast<size_t>(slots_[shape])];
    index.used = ++uses_;
    return index;
  }

  void rescore(const Cluster& cluster, Index& index, NodeIndex node, bool loading) {
    const uint32_t version = cluster.nodes()[node].version;
    if (!loading && index.versions[node] == version) return;
    index.versions[node] = version;
    const int32_t score = scorer_.score(cluster, node, index.shape);
    if (loading) {
      index.tree.load(node, score);
    } else {
      index.tree.set(node, score);
    }
  }

  Index& catch_up(const Cluster& cluster, ShapeId shape, uint64_t epoch) {
    Index& index = index_of(shape);
    const auto nodes = static_cast<NodeIndex>(cluster.nodes().size());
    const Cluster::Changes changes = cluster.changes_since(index.cursor);
    if (!index.built || index.epoch != epoch || changes.lost || nodes > index.tree.capacity() ||
        changes.nodes.size() > nodes) {
      index.tree.reset(nodes);
      index.versions.assign(index.tree.capacity(), 0);
      for (NodeIndex node = 0; node < nodes; ++node) rescore(cluster, index, node, true);
      index.tree.build();
    } else {
      for (const NodeIndex node : changes.nodes) rescore(cluster, index, node, false);
    }
    index.built = true;
    index.epoch = epoch;
    index.cursor = cluster.cursor();
    return index;
  }

  Scorer scorer_;
  std::vector<Index> indexes_;
  std::vector<int32_t> slots_;  // by shape: its index, or -1
  uint64_t uses_ = 0;
};

}  // namespace tweendeck::placement
