#include "placement/pending.h"

namespace tweendeck::placement {

ClassId PendingClasses::find(ShapeId shape, QueueId queue, int32_t priority) const {
  const auto it = ids_.find({shape, queue, priority});
  return it == ids_.end() ? kNoClass : it->second;
}

ClassId PendingClasses::find_or_make(ShapeId shape, QueueId queue, int32_t priority) {
  if (const ClassId known = find(shape, queue, priority); known != kNoClass) return known;
  ClassId id = 0;
  if (free_.empty()) {
    id = static_cast<ClassId>(classes_.size());
    classes_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  classes_[id] = PendingClass{.shape = shape, .queue = queue, .priority = priority, .claims = {}};
  ids_.emplace(Key{shape, queue, priority}, id);
  list_of(Bar::Ready).push_back(id);
  return id;
}

void PendingClasses::drop(ClassId id) {
  const PendingClass& c = classes_[id];
  ids_.erase({c.shape, c.queue, c.priority});
  free_.push_back(id);
}

void PendingClasses::push(ClaimTable& claims, ClassId id, ClaimSlot slot) {
  claims[slot].pending_class = id;
  classes_[id].claims.push_back(claims, slot);
}

void PendingClasses::erase(ClaimTable& claims, ClaimSlot slot) {
  classes_[claims[slot].pending_class].claims.erase(claims, slot);
}

void PendingClasses::set_bar(ClassId id, Bar bar, Reason reason, int64_t now_ms) {
  PendingClass& c = classes_[id];
  c.reason = reason;
  c.tried_ms = now_ms;
  if (c.bar == bar) return;
  std::erase(list_of(c.bar), id);
  c.bar = bar;
  list_of(bar).push_back(id);
}

// A class without claims is forgotten here, because nobody keeps its bar up to date afterwards.
void PendingClasses::node_grew(const Cluster& cluster, NodeIndex node) {
  std::vector<ClassId>& barred = list_of(Bar::NoRoom);
  size_t kept = 0;
  for (const ClassId id : barred) {
    PendingClass& c = classes_[id];
    if (!cluster.fits(node, c.shape)) {
      barred[kept++] = id;
    } else if (c.claims.empty()) {
      drop(id);
    } else {
      c.bar = Bar::Ready;
      list_of(Bar::Ready).push_back(id);
    }
  }
  barred.resize(kept);
}

void PendingClasses::queues_changed() {
  for (const ClassId id : list_of(Bar::Quota)) {
    if (classes_[id].claims.empty()) {
      drop(id);
    } else {
      classes_[id].bar = Bar::Ready;
      list_of(Bar::Ready).push_back(id);
    }
  }
  list_of(Bar::Quota).clear();
}

const std::vector<ClassId>& PendingClasses::ready() {
  std::erase_if(list_of(Bar::Ready), [&](ClassId id) {
    if (!classes_[id].claims.empty()) return false;
    drop(id);
    return true;
  });
  return list_of(Bar::Ready);
}

}  // namespace tweendeck::placement
