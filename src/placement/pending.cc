#include "placement/pending.h"

#include <algorithm>

namespace tweendeck::placement {

PendingKey key_of(const Claim& claim) {
  const FamilyId family = claim.apart == Apart::Required ? claim.family : 0;
  return {claim.shape, claim.queue, claim.space, claim.priority, family};
}

ClassId PendingClasses::find(const PendingKey& key) const {
  const auto it = ids_.find(key);
  return it == ids_.end() ? kNoClass : it->second;
}

ClassId PendingClasses::find_or_make(const PendingKey& key) {
  if (const ClassId known = find(key); known != kNoClass) return known;
  ClassId id = 0;
  if (free_.empty()) {
    id = static_cast<ClassId>(classes_.size());
    classes_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  classes_[id] = PendingClass{.key = key, .claims = {}};
  ids_.emplace(key, id);
  list_of(Bar::Ready).push_back(id);
  return id;
}

void PendingClasses::drop(ClassId id) {
  ids_.erase(classes_[id].key);
  free_.push_back(id);
}

void PendingClasses::push(ClaimTable& claims, ClassId id, ClaimSlot slot) {
  claims[slot].pending_class = id;
  PendingClass& c = classes_[id];
  if (c.claims.empty()) c.oldest = claims[slot].order;
  c.claims.push_back(claims, slot);
}

void PendingClasses::erase(ClaimTable& claims, ClaimSlot slot) {
  PendingClass& c = classes_[claims[slot].pending_class];
  c.claims.erase(claims, slot);
  if (!c.claims.empty()) c.oldest = claims[c.claims.front()].order;
}

void PendingClasses::set_bar(ClassId id, Bar bar, Reason reason, int64_t now_ms) {
  PendingClass& c = classes_[id];
  c.reason = reason;
  c.tried_ms = now_ms;
  c.only = kAnyNode;
  if (c.bar == bar) return;
  std::erase(list_of(c.bar), id);
  c.bar = bar;
  list_of(bar).push_back(id);
}

// A class without claims is forgotten here, because nobody keeps its bar up to date afterwards.
void PendingClasses::node_grew(const Cluster& cluster, NodeIndex node) {
  for (const ClassId id : list_of(Bar::Ready)) {
    if (classes_[id].only != node) classes_[id].only = kAnyNode;
  }
  std::vector<ClassId>& barred = list_of(Bar::NoRoom);
  size_t kept = 0;
  for (const ClassId id : barred) {
    PendingClass& c = classes_[id];
    if (!cluster.fits(node, c.key.shape)) {
      barred[kept++] = id;
    } else if (c.claims.empty()) {
      drop(id);
    } else {
      c.bar = Bar::Ready;
      c.only = node;
      list_of(Bar::Ready).push_back(id);
    }
  }
  barred.resize(kept);
}

void PendingClasses::quota_changed() {
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

void PendingClasses::victims_changed() {
  std::vector<ClassId>& barred = list_of(Bar::NoRoom);
  const auto waits = [&](ClassId id) { return !classes_[id].claims.empty(); };
  if (std::ranges::none_of(barred, [&](ClassId id) { return waits(id) && classes_[id].search_due; })) {
    for (const ClassId id : barred) classes_[id].search_due = true;
  }
  std::erase_if(barred, [&](ClassId id) {
    if (!waits(id) || !classes_[id].search_due) return false;
    classes_[id].bar = Bar::Ready;
    list_of(Bar::Ready).push_back(id);
    return true;
  });
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
