// The default policy: keeps what remains useful for the requests to come. docs/concepts/placement.md explains it.
//
// Learns only from what arrives (`arrived`, `departed`); nothing is given beforehand and nothing is tuned to a
// workload. What is learned at one arrival is in force from a fixed later arrival on, and is prepared in between a
// little at a time, so that no decision waits for learning. A decision costs O(states changed since the last look at the
// same kind); shapes that ask for more than sizes and models, and decisions with a Narrowing, look at every node.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "placement/policy/fragmentation/catalog.h"
#include "placement/policy/fragmentation/demand.h"
#include "placement/policy/fragmentation/index.h"
#include "placement/policy/policy.h"

namespace tweendeck::placement {

class FragmentationPolicy : public Policy {
 public:
  FragmentationPolicy();
  FragmentationPolicy(const FragmentationPolicy&) = delete;
  FragmentationPolicy& operator=(const FragmentationPolicy&) = delete;

  std::string_view name() const override { return "fragmentation"; }
  void arrived(ShapeId shape) override { came_.push_back(shape); }
  void departed(ShapeId shape) override { went_.push_back(shape); }
  std::optional<Choice> choose(const Cluster& cluster, ShapeId shape, const Narrowing& narrowing) override;
  std::vector<ScoreTerm> terms(const Cluster& cluster, ShapeId shape, const Spot& spot) override;
  void settle(const Cluster& cluster) override;

  struct Counters {
    uint64_t decisions = 0;
    uint64_t learnings = 0;
    uint64_t refreshes = 0;
    uint64_t rebuilds = 0;  // of the index, for other reasons
    size_t classes = 0;
    size_t live_classes = 0;
    size_t values = 0;
    size_t scores = 0;
  };
  Counters counters() const;

 private:
  static constexpr uint64_t kNever = UINT64_MAX;

  struct Seen {  // of a node, when it was last read
    uint32_t version = 0;
    uint32_t claims = 0;
    uint32_t free = 0;   // permille of devices
    uint32_t total = 0;  // likewise
    bool known = false;
  };

  struct Refused {
    uint64_t grown = 0;   // then; 0 = never refused
    uint64_t cursor = 0;  // of the cluster's changes, then
  };

  void sync(const Cluster& cluster);
  void start_anew(const Cluster& cluster);
  void read_node(const Cluster& cluster, NodeIndex node);
  uint32_t free_of(const Cluster& cluster, const NodeState& node) const;
  void count_arrivals();
  void learn_if_due(const Cluster& cluster);
  void refresh_if_due();
  std::optional<Choice> choose_any(const Cluster& cluster, ShapeId shape, const Narrowing& narrowing,
                                   std::optional<std::span<const NodeIndex>> among);

  fragmentation::Catalog catalog_;
  fragmentation::Demand demand_;
  std::unique_ptr<fragmentation::Index> index_;  // in force
  std::unique_ptr<fragmentation::Index> next_;   // being prepared
  uint64_t in_force_at_ = kNever;                // arrivals at which `next_` takes over
  uint64_t prepared_at_ = kNever;                // arrivals by which it should lack nothing
  std::vector<Seen> nodes_;
  std::vector<ShapeId> came_;  // arrived, not yet counted
  std::vector<ShapeId> went_;
  uint64_t cursor_ = kNever;      // of the cluster's changes
  uint64_t grown_ = 1;            // changes when something may fit that did not
  std::vector<Refused> refused_;  // by shape: when it was last found to fit nowhere
  uint64_t free_ = 0;             // permille of devices
  uint64_t total_ = 0;            // likewise
  uint64_t standing_ = 0;         // likewise, asked by claims that came and did not leave
  uint64_t next_learning_ = 0;
  uint64_t next_refresh_ = 0;
  Counters counters_;
};

}  // namespace tweendeck::placement
