// Claims that wait, by class: equal shape, queue, namespace and priority, and
// of one family if it has to keep apart. What is decided about one is decided about all.
//
// A class is Ready (something may be possible), NoRoom (proved: its shape fits nowhere) or Quota (its queue or
// namespace is at a limit). NoRoom ends when a node changes on which the shape then fits, Quota when quotas change. An empty class
// keeps its bar until then, because its verdict still holds for who comes next.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "placement/claim_table.h"
#include "placement/queue/namespace_quota.h"

namespace tweendeck::placement {

using ClassId = uint32_t;
inline constexpr ClassId kNoClass = UINT32_MAX;
inline constexpr NodeIndex kAnyNode = kNoNode;

struct PendingKey {
  ShapeId shape = 0;
  QueueId queue = kNoQueue;
  NamespaceId space = kNoNamespace;
  int32_t priority = 0;
  FamilyId family = 0;  // if it has to keep apart
  bool operator==(const PendingKey&) const = default;
};
PendingKey key_of(const Claim& claim);

struct PendingClass {
  enum class Bar : uint8_t { Ready, NoRoom, Quota };
  PendingKey key;
  Bar bar = Bar::Ready;
  Reason reason = Reason::None;
  bool search_due = true;  // for victims
  // Ready, and fitted nowhere before this node changed; kAnyNode = nothing is known.
  NodeIndex only = kAnyNode;
  int64_t tried_ms = 0;
  SlotList claims;      // oldest first
  uint64_t oldest = 0;  // the first one's order of submission
};

class PendingClasses {
 public:
  ClassId find(const PendingKey& key) const;  // kNoClass when there is none
  ClassId find_or_make(const PendingKey& key);
  PendingClass& operator[](ClassId id) { return classes_[id]; }
  const PendingClass& operator[](ClassId id) const { return classes_[id]; }

  void push(ClaimTable& claims, ClassId id, ClaimSlot slot);
  void erase(ClaimTable& claims, ClaimSlot slot);
  void set_bar(ClassId id, PendingClass::Bar bar, Reason reason, int64_t now_ms);

  // What changed may let classes go on.
  void node_grew(const Cluster& cluster, NodeIndex node);
  void quota_changed();
  // Those without room that have claims: others may be stopped for them now. Each has its turn: the ones that were
  // not searched for since all were asked last.
  void victims_changed();

  // Classes that are Ready and have claims, in no meaningful order.
  const std::vector<ClassId>& ready();

 private:
  struct Hash {
    size_t operator()(const PendingKey& key) const {
      const uint64_t place = (uint64_t{key.shape} << 32 | key.queue) * 0x9e3779b97f4a7c15ull;
      const uint64_t rank =
          (uint64_t{key.space} << 32 | static_cast<uint32_t>(key.priority)) * 0xbf58476d1ce4e5b9ull;
      return (place ^ rank ^ key.family * 0x94d049bb133111ebull) >> 16;
    }
  };
  using Bar = PendingClass::Bar;
  std::vector<ClassId>& list_of(Bar bar) { return lists_[static_cast<size_t>(bar)]; }
  void drop(ClassId id);

  std::unordered_map<PendingKey, ClassId, Hash> ids_;  // looked up only, so its order means nothing
  std::vector<PendingClass> classes_;
  std::vector<ClassId> free_;
  std::vector<ClassId> lists_[3];  // by bar; every class is in the one of its bar
};

}  // namespace tweendeck::placement
