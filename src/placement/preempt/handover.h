// From victims to the preemptor without anybody in between.
//
// What a victim frees stays booked until the last victim of the same preemption is gone; then all of it is given back
// and the preemptor's spots are taken in one step. So no other claim can slip in, and nobody is stopped in vain. A
// preemption that is given up, or whose victims do not go in time, returns what is held.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "placement/cluster/cluster.h"
#include "placement/preempt/running.h"

namespace tweendeck::placement {

inline constexpr int64_t kHandoverTimeoutMs =
    600'000;  // Kubernetes lets a pod end for 30 s by default, many ask minutes

// What the preemptor gets: one entry per claim.
struct Promise {
  ClaimId claim = 0;
  ShapeId shape = 0;
  Spot spot;
};

class Handovers {
 public:
  using Key = uint64_t;  // the preemptor: its claim, or one of its gang

  // `victims` run; none of them may be in another handover. False when one is, or the key is in use.
  bool start(Key key, std::vector<Promise> promises, const std::vector<RunningClaim>& victims,
             int64_t now_ms);

  // Whether the claim is a victim of one; its end must be told by `victim_gone` and not by giving back its spot.
  bool is_victim(ClaimId claim) const { return victim_of_.contains(claim); }
  bool waits(Key key) const { return handovers_.contains(key); }

  enum class Step : uint8_t {
    Waiting,  // for further victims
    Taken,    // the promises are booked
    Broken,   // all are gone, but what was promised does not fit any more (a
              // device failed): everything is free
  };
  struct Result {
    Step step = Step::Waiting;
    Key key = 0;
    std::vector<Promise> promises;  // unless Waiting
    std::vector<NodeIndex> freed;   // unless Waiting: nodes that may have more room now
  };
  Result victim_gone(Cluster& cluster, ClaimId victim);

  // The preemptor does not want it any more, or it took too long. What gone victims held becomes free; victims that
  // still run are victims no more. Nothing when unknown.
  struct Cancelled {
    std::vector<NodeIndex> freed;  // nodes that may have more room now
    std::vector<ClaimId> spared;   // who runs on
    std::vector<Promise> promises;
  };
  std::optional<Cancelled> cancel(Cluster& cluster, Key key);
  // Keys whose victims have not gone in time, in order.
  std::vector<Key> overdue(int64_t now_ms) const;

  size_t size() const { return handovers_.size(); }
  // What victims that are gone still hold, in no meaningful order.
  std::vector<Promise> held() const;

 private:
  struct Held {
    ClaimId claim = 0;
    ShapeId shape = 0;
    Spot spot;
    bool gone = false;
  };
  struct Handover {
    std::vector<Promise> promises;
    std::vector<Held> victims;
    size_t gone = 0;
    int64_t since_ms = 0;
  };
  std::unordered_map<Key, Handover> handovers_;
  std::unordered_map<ClaimId, Key> victim_of_;
};

}  // namespace tweendeck::placement
