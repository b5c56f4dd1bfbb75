#include "device/providers/nvml/presence.h"

#include <algorithm>

namespace tweendeck::device::nvml {

void Presence::find_slices(Nanos now) {
  const Result<std::vector<std::string>> slices = pages_.list();
  if (!slices) return;
  found_at_ = now;
  slices_of_.clear();
  for (const std::string& slice_id : *slices) {
    const Result<tw_vgpu_limit_set> limits = pages_.limits(slice_id);
    if (limits && limits->device_count > 0)
      slices_of_[format_uuid(limits->devices[0].uuid)].push_back(slice_id);
  }
}

PresenceDecision decide_presence(const std::vector<Nanos>& last_active, Nanos now) {
  std::vector<bool> active;
  for (const Nanos last : last_active) active.push_back(last > 0 && now - last <= Presence::kActiveFor);
  const auto count = std::ranges::count(active, true);
  PresenceDecision decision{.tell = {}, .busy = last_active.size() > 1 && count > 0};
  for (const bool itself : active) decision.tell.push_back(count > (itself ? 1 : 0));
  return decision;
}

bool Presence::look(Nanos now) {
  if (now - found_at_ >= kSlicesPeriod) find_slices(now);
  bool busy = false;
  for (const auto& [uuid, slice_ids] : slices_of_) {
    if (slice_ids.size() < 2) continue;
    std::vector<Nanos> last_active;
    for (const std::string& slice_id : slice_ids)
      last_active.push_back(pages_.last_active(slice_id, now).value_or(0));
    const PresenceDecision decision = decide_presence(last_active, now);
    busy = busy || decision.busy;
    for (size_t i = 0; i < slice_ids.size(); ++i) {
      if (decision.tell[i]) pages_.write_others_active(slice_ids[i], now);
    }
  }
  return busy;
}

}  // namespace tweendeck::device::nvml
