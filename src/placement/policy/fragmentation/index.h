// What was learned at one time, and all nodes in the light of it. Two of these live side by side while the next one is
// prepared a little at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "placement/policy/fragmentation/catalog.h"
#include "placement/policy/fragmentation/classes.h"
#include "placement/policy/fragmentation/score_table.h"
#include "placement/policy/fragmentation/scorer.h"
#include "placement/policy/policy.h"

namespace tweendeck::placement::fragmentation {

// Classes are numbered for ever within an index; above this it is time for a new one.
inline constexpr size_t kMaxClasses = 1u << 17;

class Index {
 public:
  explicit Index(const Catalog& catalog);
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  Scorer& scorer() { return scorer_; }
  const Scorer& scorer() const { return scorer_; }

  // A node changed. One that is not in yet will be read in its turn.
  void changed(const Cluster& cluster, NodeIndex node);
  void read_all(const Cluster& cluster);
  // Kinds were added to the catalog.
  void follow_kinds();
  // Works through what a new index lacks: at most `units` nodes read or scores worked out. False when nothing is left.
  bool prepare(const Cluster& cluster, uint64_t units);
  // How many units that is about.
  uint64_t lacking(const Cluster& cluster) const;
  // Dynamic prices, from what is asked and free now.
  void refresh(const Demand& demand, uint64_t free, uint64_t standing);
  // Brings the table of scores up to date, some of it each time: decisions then find little left to do.
  void advance();

  // Where a plain shape goes; nothing when no state shows room.
  std::optional<Choice> choose(const Cluster& cluster, ShapeId shape);
  // Score of the kind on the node's state; kNowhere when the state shows no room. After `work_out` of the kind.
  void work_out(KindId kind);
  int32_t score(NodeIndex node, KindId kind) const;
  // Nothing when the node takes no claims.
  const Class* class_of(NodeIndex node) const;
  Score score_of(const Class& of, KindId kind);

  size_t classes() const { return classes_.size(); }
  size_t live_classes() const { return classes_.live(); }
  size_t scores() const { return table_.scores(); }

 private:
  void read(const Cluster& cluster, NodeIndex node);
  KindId leader(KindId kind) const { return catalog_.kinds()[kind].priced_as; }
  void count(const Class& of, int sign);
  std::optional<Spot> first_fit(const Cluster& cluster, ShapeId shape, SlotId slot, Rest want);
  uint16_t pick(const Cluster& cluster, NodeIndex node, uint16_t fitting, uint32_t count, Rest want) const;

  const Catalog& catalog_;
  Scorer scorer_;
  Classes classes_;
  ScoreTable table_;
  std::vector<KindId> leaders_;  // kinds that others are priced as
  KindId followed_ = 0;          // kinds seen
  std::vector<ClassId> in_;      // by node
  uint64_t epoch_ = 0;
  size_t turn_ = 0;      // of `advance`
  size_t prepared_ = 0;  // leaders
};

}  // namespace tweendeck::placement::fragmentation
