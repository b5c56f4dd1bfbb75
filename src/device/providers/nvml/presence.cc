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

bool Presence::look(Nanos now) {
  if (now - found_at_ >= kSlicesPeriod) find_slices(now);
  bool busy = false;
  for (const auto& [uuid, slice_ids] : slices_of_) {
    if (slice_ids.size() < 2) continue;
    std::vector<bool> active;
    for (const std::string& slice_id : slice_ids) {
      const Result<Nanos> last = pages_.last_active(slice_id, now);
      active.push_back(last && *last > 0 && now - *last <= kActiveFor);
    }
    const auto count = std::ranges::count(active, true);
    busy = busy || count > 0;
    for (size_t i = 0; i < slice_ids.size(); ++i) {
      if (count > (active[i] ? 1 : 0)) pages_.write_others_active(slice_ids[i], now);
    }
  }
  return busy;
}

}  // namespace tweendeck::device::nvml
