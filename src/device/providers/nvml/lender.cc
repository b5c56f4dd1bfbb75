#include "device/providers/nvml/lender.h"

#include <algorithm>

#include "vgpu/page.h"

namespace tweendeck::device::nvml {
namespace {

bool can_borrow(const SliceActivity& slice) {
  return slice.ceiling_permille == 0 || slice.ceiling_permille > slice.floor_permille;
}

// Nobody may use more than its own, and nobody goes before anybody: there is nothing to decide.
bool is_settled(const std::vector<SliceActivity>& slices) {
  return std::ranges::none_of(slices, [&](const SliceActivity& slice) {
    return can_borrow(slice) || slice.priority != slices.front().priority;
  });
}

}  // namespace

PresenceDecision decide_presence(const std::vector<Nanos>& last_active, Nanos now) {
  std::vector<bool> active;
  for (const Nanos last : last_active) active.push_back(last > 0 && now - last <= kActiveFor);
  const auto count = std::ranges::count(active, true);
  PresenceDecision decision{.tell = {}, .busy = last_active.size() > 1 && count > 0};
  for (const bool itself : active) decision.tell.push_back(count > (itself ? 1 : 0));
  return decision;
}

Nanos Lender::round(Nanos now, const Slices& slices,
                    const std::map<std::string, uint32_t>& outside_permille) {
  std::map<std::string, std::vector<const OpenSlice*>> groups;
  for (const auto& [id, slice] : slices) groups[slice->device_uuid()].push_back(slice.get());
  std::erase_if(borrowing_, [&](const auto& entry) { return !groups.contains(entry.first); });
  std::erase_if(most_share_, [&](const auto& entry) { return !slices.contains(entry.first); });
  Nanos next = kEmptyPeriod;
  for (const auto& [uuid, members] : groups) {
    const auto outside = outside_permille.find(uuid);
    next = std::min(
        next, round_of_device(now, uuid, members, outside == outside_permille.end() ? 0 : outside->second));
  }
  return next;
}

Nanos Lender::round_of_device(Nanos now, const std::string& uuid, const std::vector<const OpenSlice*>& slices,
                              uint32_t outside_permille) {
  std::vector<SliceActivity> activities;
  std::vector<const OpenSlice*> read;
  std::vector<Nanos> last_active;
  for (const OpenSlice* slice : slices) {
    SliceActivity activity;
    if (!slice->read_activity(now, activity)) continue;
    last_active.push_back(activity.last_active);
    activities.push_back(std::move(activity));
    read.push_back(slice);
  }
  const PresenceDecision presence = decide_presence(last_active, now);
  Nanos next = presence.busy ? kBorrowPeriod : kIdlePeriod;
  std::vector<ShareGrant> grants(activities.size());
  if (!activities.empty() && !is_settled(activities)) {
    Borrowing& borrowing = borrowing_[uuid];
    grants = borrowing.decide(now, activities, outside_permille);
    if (borrowing.is_busy()) next = kBorrowPeriod;
  }
  for (size_t i = 0; i < read.size(); ++i) {
    const SliceActivity& slice = activities[i];
    read[i]->write_share(now, grants[i].effective_permille, grants[i].yields ? now + kYieldTo : 0);
    if (presence.tell[i]) read[i]->write_others_active(now);
    uint32_t& most = most_share_[slice.id];
    most = std::max(most, tw_vgpu_share_in_force(slice.floor_permille, slice.ceiling_permille,
                                                 grants[i].effective_permille));
  }
  return next;
}

uint32_t Lender::take_most_share(const std::string& slice_id) {
  const auto found = most_share_.find(slice_id);
  if (found == most_share_.end()) return 0;
  const uint32_t most = found->second;
  most_share_.erase(found);
  return most;
}

}  // namespace tweendeck::device::nvml
