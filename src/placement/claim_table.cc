#include "placement/claim_table.h"

namespace tweendeck::placement {

ClaimSlot ClaimTable::find(ClaimId id) const {
  const uint32_t tag = tag_of(id);
  for (size_t i = home(id);; i = (i + 1) & (index_.size() - 1)) {
    const Entry& entry = index_[i];
    if (entry.slot == kNoSlot || (entry.tag == tag && claims_[entry.slot].id == id)) return entry.slot;
  }
}

void ClaimTable::insert(ClaimId id, ClaimSlot slot) {
  size_t i = home(id);
  while (index_[i].slot != kNoSlot) i = (i + 1) & (index_.size() - 1);
  index_[i] = {slot, tag_of(id)};
}

void ClaimTable::rehash(size_t size) {
  index_.assign(size, Entry{});
  for (ClaimSlot slot = 0; slot < claims_.size(); ++slot) {
    if (claims_[slot].state != ClaimState::Free) insert(claims_[slot].id, slot);
  }
}

ClaimSlot ClaimTable::add(ClaimId id) {
  if (2 * (used_ + 1) > index_.size()) rehash(2 * index_.size());
  ClaimSlot slot = free_;
  if (slot == kNoSlot) {
    slot = static_cast<ClaimSlot>(claims_.size());
    claims_.emplace_back();
  } else {
    free_ = claims_[slot].after;
  }
  claims_[slot] = Claim{};
  claims_[slot].id = id;
  claims_[slot].state = ClaimState::Pending;
  insert(id, slot);
  ++used_;
  return slot;
}

// Closes the gap, so that probing never passes over dead entries.
void ClaimTable::erase(ClaimSlot slot) {
  const size_t mask = index_.size() - 1;
  size_t gap = home(claims_[slot].id);
  while (index_[gap].slot != slot) gap = (gap + 1) & mask;
  for (size_t i = (gap + 1) & mask; index_[i].slot != kNoSlot; i = (i + 1) & mask) {
    const size_t wants = home(claims_[index_[i].slot].id);
    if (((i - wants) & mask) < ((i - gap) & mask)) continue;
    index_[gap] = index_[i];
    gap = i;
  }
  index_[gap] = Entry{};
  claims_[slot].state = ClaimState::Free;
  claims_[slot].after = free_;
  free_ = slot;
  --used_;
}

void SlotList::push_back(ClaimTable& claims, ClaimSlot slot) {
  claims[slot].before = back_;
  claims[slot].after = kNoSlot;
  (back_ == kNoSlot ? front_ : claims[back_].after) = slot;
  back_ = slot;
  ++size_;
}

void SlotList::erase(ClaimTable& claims, ClaimSlot slot) {
  const ClaimSlot before = claims[slot].before;
  const ClaimSlot after = claims[slot].after;
  (before == kNoSlot ? front_ : claims[before].after) = after;
  (after == kNoSlot ? back_ : claims[after].before) = before;
  claims[slot].before = claims[slot].after = kNoSlot;
  --size_;
}

}  // namespace tweendeck::placement
