// Claims that wait, by class: equal shape, queue and priority. What is decided about one is decided about all.
//
// A class is Ready (something may be possible), NoRoom (proved: its shape fits nowhere) or Quota (its queue is at a
// limit). NoRoom ends when a node changes on which the shape then fits, Quota when the queues change. An empty class
// keeps its bar until then, because its verdict still holds for who comes next.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "placement/claim_table.h"

namespace tweendeck::placement {

using ClassId = uint32_t;
inline constexpr ClassId kNoClass = UINT32_MAX;

struct PendingClass {
  enum class Bar : uint8_t { Ready, NoRoom, Quota };
  ShapeId shape = 0;
  QueueId queue = kNoQueue;
  int32_t priority = 0;
  Bar bar = Bar::Ready;
  Reason reason = Reason::None;
  int64_t tried_ms = 0;
  SlotList claims;  // oldest first
};

class PendingClasses {
 public:
  ClassId find(ShapeId shape, QueueId queue, int32_t priority) const;  // kNoClass when there is none
  ClassId find_or_make(ShapeId shape, QueueId queue, int32_t priority);
  PendingClass& operator[](ClassId id) { return classes_[id]; }
  const PendingClass& operator[](ClassId id) const { return classes_[id]; }

  void push(ClaimTable& claims, ClassId id, ClaimSlot slot);
  void erase(ClaimTable& claims, ClaimSlot slot);
  void set_bar(ClassId id, PendingClass::Bar bar, Reason reason, int64_t now_ms);

  // What changed may let classes go on.
  void node_grew(const Cluster& cluster, NodeIndex node);
  void queues_changed();

  // Classes that are Ready and have claims, in no meaningful order.
  const std::vector<ClassId>& ready();

 private:
  struct Key {
    ShapeId shape;
    QueueId queue;
    int32_t priority;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const {
      return ((uint64_t{key.shape} << 32 | key.queue) * 0x9e3779b97f4a7c15ull >> 16) ^
             static_cast<uint32_t>(key.priority);
    }
  };
  using Bar = PendingClass::Bar;
  std::vector<ClassId>& list_of(Bar bar) { return lists_[static_cast<size_t>(bar)]; }
  void drop(ClassId id);

  std::unordered_map<Key, ClassId, Hash> ids_;  // looked up only, so its order means nothing
  std::vector<PendingClass> classes_;
  std::vector<ClassId> free_;
  std::vector<ClassId> lists_[3];  // by bar; every class is in the one of its bar
};

}  // namespace tweendeck::placement
