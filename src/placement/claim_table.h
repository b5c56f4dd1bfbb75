// The claims that the engine knows, by id and by slot. Slots are dense and used again, so nothing is allocated per
// claim once the table has its size. Claims that ended are remembered for a while.
#pragma once

#include <cstdint>
#include <vector>

#include "base/reason.h"
#include "placement/cluster/cluster.h"
#include "placement/events.h"
#include "placement/queue/namespace_quota.h"

namespace tweendeck::placement {

using ClaimSlot = uint32_t;
inline constexpr ClaimSlot kNoSlot = UINT32_MAX;

enum class ClaimState : uint8_t { Free, Pending, Reserved, Bound, Ended };

struct Claim {
  ClaimId id = 0;
  ClaimState state = ClaimState::Free;
  bool resting = false;   // pending, but not before `deadline_ms`
  bool promised = false;  // pending, and others are being stopped for it; charged to its queue
  uint16_t failures = 0;  // of binds in a row
  ShapeId shape = 0;
  QueueId queue = kNoQueue;
  NamespaceId space = kNoNamespace;
  int32_t priority = 0;
  uint32_t weights = kNoNumber;  // of a model
  BudgetId budget = kNoBudget;
  FamilyId family = 0;
  uint32_t pending_class = 0;   // if pending and not resting
  uint32_t group = UINT32_MAX;  // index of its gang; UINT32_MAX = none
  uint32_t role = 0;
  bool preemptible = true;
  Apart apart = Apart::No;
  uint8_t model_resource = 0;  // the queues' number of the one model that it asks for; 0 = none
  Reason reason = Reason::None;
  uint64_t order = 0;  // of submission
  uint64_t reservation = 0;
  int64_t submitted_ms = 0;
  int64_t tried_ms = 0;
  int64_t deadline_ms = 0;  // of the bind, or of the back-off
  int64_t started_ms = 0;   // reserved: then; bound: then
  int64_t min_runtime_ms = 0;
  Spot spot;
  ClaimSlot before = kNoSlot;  // in the list that it is in
  ClaimSlot after = kNoSlot;
};

class ClaimTable {
 public:
  ClaimTable() { rehash(1024); }
  ClaimSlot find(ClaimId id) const;  // kNoSlot when unknown; ended ones are found
  ClaimSlot add(ClaimId id);         // must be unknown
  void erase(ClaimSlot slot);
  Claim& operator[](ClaimSlot slot) { return claims_[slot]; }
  const Claim& operator[](ClaimSlot slot) const { return claims_[slot]; }
  size_t size() const { return used_; }
  size_t slots() const { return claims_.size(); }

 private:
  struct Entry {  // of the index
    ClaimSlot slot = kNoSlot;
    uint32_t tag = 0;  // of the id, so that probing seldom looks at claims
  };
  static uint64_t hash_of(ClaimId id) { return id * 0x9e3779b97f4a7c15ull; }
  static uint32_t tag_of(ClaimId id) { return static_cast<uint32_t>(hash_of(id) >> 32); }
  size_t home(ClaimId id) const { return static_cast<size_t>(hash_of(id) >> 20) & (index_.size() - 1); }
  void insert(ClaimId id, ClaimSlot slot);
  void rehash(size_t size);

  std::vector<Claim> claims_;
  ClaimSlot free_ = kNoSlot;  // chained by `after`
  std::vector<Entry> index_;  // open addressing, linear probing; a power of two
  size_t used_ = 0;
};

// A list of claims through their own links; a claim is in one list at a time.
class SlotList {
 public:
  void push_back(ClaimTable& claims, ClaimSlot slot);
  void erase(ClaimTable& claims, ClaimSlot slot);
  ClaimSlot front() const { return front_; }
  bool empty() const { return front_ == kNoSlot; }
  size_t size() const { return size_; }

 private:
  ClaimSlot front_ = kNoSlot;
  ClaimSlot back_ = kNoSlot;
  size_t size_ = 0;
};

}  // namespace tweendeck::placement
