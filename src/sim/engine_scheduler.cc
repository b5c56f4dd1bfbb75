#include "sim/engine_scheduler.h"

#include <unordered_map>
#include <vector>

#include "placement/cluster/cluster.h"
#include "placement/policy/make_policy.h"
#include "sim/engine_facts.h"

namespace tweendeck::sim {

namespace {

class EngineScheduler final : public Scheduler {
 public:
  // Nodes go in by rank: the engine gives ties to the node that it knows longest.
  static Result<std::unique_ptr<Scheduler>> start(std::unique_ptr<placement::Policy> policy, const Book& book,
                                                  const NodeList& nodes, const PodList& pods,
                                                  std::span<const uint32_t> ranks) {
    std::unique_ptr<EngineScheduler> scheduler(new EngineScheduler(std::move(policy), book));
    std::vector<uint32_t> by_rank(ranks.size());
    for (uint32_t node = 0; node < ranks.size(); ++node) by_rank[ranks[node]] = node;
    for (uint32_t node : by_rank) {
      Result<placement::NodeIndex> index = scheduler->cluster_.put_node(facts_of(nodes.nodes[node], nodes));
      if (!index) return fail(index.error());
      if (scheduler->node_of_.size() <= *index) scheduler->node_of_.resize(*index + 1);
      scheduler->node_of_[*index] = node;
    }
    for (const TraceNode& node : nodes.nodes) scheduler->names_.push_back(node.name);
    scheduler->down_.resize(ranks.size());
    for (const TracePod& pod : pods.pods) {
      Result<placement::ShapeId> shape = scheduler->cluster_.shape_id(request_of(pod, nodes));
      if (!shape) return fail(shape.error());
      scheduler->shapes_.push_back(*shape);
    }
    return scheduler;
  }

  void arrived(uint32_t pod) override { policy_->arrived(shapes_[pod]); }
  void ended(uint32_t pod) override { policy_->departed(shapes_[pod]); }

  std::optional<Placed> place(uint64_t claim, uint32_t pod) override {
    std::optional<placement::Choice> choice = policy_->choose(cluster_, shapes_[pod], {});
    if (!choice) return std::nullopt;
    cluster_.take(choice->spot, shapes_[pod]);
    held_[claim] = {choice->spot, shapes_[pod]};
    return Placed{node_of_[choice->spot.node], static_cast<uint8_t>(choice->spot.devices)};
  }

  void released(uint64_t claim) override {
    auto held = held_.find(claim);
    cluster_.give(held->second.spot, held->second.shape);
    held_.erase(held);
  }

  void changed(uint32_t node) override {
    const bool down = !book_.is_up(node);
    if (down_[node] == down) return;
    down_[node] = down;
    // A name that the engine knows cannot fail here.
    static_cast<void>(cluster_.set_cordon(names_[node], down));
  }

 private:
  struct Held {
    placement::Spot spot;
    placement::ShapeId shape = 0;
  };

  EngineScheduler(std::unique_ptr<placement::Policy> policy, const Book& book)
      : policy_(std::move(policy)), book_(book) {}

  placement::Cluster cluster_;
  std::unique_ptr<placement::Policy> policy_;
  const Book& book_;
  std::vector<uint32_t> node_of_;            // by the engine's index: row of the node list
  std::vector<std::string> names_;           // by row
  std::vector<bool> down_;                   // by row
  std::vector<placement::ShapeId> shapes_;   // by row of the pod list
  std::unordered_map<uint64_t, Held> held_;  // by claim
};

class EngineMaker final : public SchedulerMaker {
 public:
  EngineMaker(std::string policy, const NodeList& nodes, const PodList& pods)
      : policy_(std::move(policy)), nodes_(nodes), pods_(pods) {}

  Result<std::unique_ptr<Scheduler>> start(const Book& book, std::span<const uint32_t> ranks) override {
    Result<std::unique_ptr<placement::Policy>> policy = placement::make_policy({policy_, {}});
    if (!policy) return fail(policy.error());
    return EngineScheduler::start(std::move(*policy), book, nodes_, pods_, ranks);
  }

 private:
  std::string policy_;
  const NodeList& nodes_;
  const PodList& pods_;
};

}  // namespace

Result<std::unique_ptr<SchedulerMaker>> make_engine(const std::string& policy, const NodeList& nodes,
                                                    const PodList& pods) {
  Result<std::unique_ptr<placement::Policy>> made = placement::make_policy({policy, {}});
  if (!made) return fail(made.error());
  return std::make_unique<EngineMaker>(policy, nodes, pods);
}

}  // namespace tweendeck::sim
