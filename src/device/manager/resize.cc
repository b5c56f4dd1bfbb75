// DeviceManager's changes of slices that live.
#include <fmt/format.h>

#include "base/units.h"
#include "device/manager/device_manager.h"

namespace tweendeck::device {

Result<Slice> DeviceManager::resize(std::string_view slice_id, const Share& share, bool paused,
                                    std::vector<SliceEvent>* events) {
  std::lock_guard lock(mutex_);
  const SliceEntry* entry = journal_.table().find(slice_id);
  if (entry == nullptr || entry->state != SliceState::Prepared)
    return fail(Reason::NotFound, fmt::format("slice {} does not exist", slice_id),
                "`tweendeck slices` lists what there is");
  Provider* provider = provider_named(entry->provider);
  if (provider == nullptr) {
    return fail(Reason::NotFound,
                fmt::format("provider {} of slice {} is not running", entry->provider, slice_id));
  }
  const Slice before = entry->slice;
  Slice after = before;
  after.share = share;
  after.paused = paused;
  if (after == before) return after;
  if (Status ok = record(RecordKind::Resized, after); !ok) return fail(ok.error());
  if (Result<Preparation> done = make_real(*provider, after); !done) {
    Error error = done.error();
    Status undone = record(RecordKind::Resized, before);
    if (undone) {
      if (Result<Preparation> restored = make_real(*provider, before); !restored)
        undone = fail(restored.error());
    }
    if (!undone) error.message += "; " + undone.error().message;
    return fail(std::move(error));
  }
  if (events != nullptr) look_for_pressure(after.id, *events);
  return after;
}

std::vector<Finding> DeviceManager::findings() const {
  std::vector<Finding> all;
  for (const Provider* provider : providers_) {
    std::vector<Finding> found = provider->findings();
    all.insert(all.end(), found.begin(), found.end());
  }
  return all;
}

Status DeviceManager::restrain(std::string_view slice_id, bool restrained) {
  std::lock_guard lock(mutex_);
  const SliceEntry* entry = journal_.table().find(slice_id);
  if (entry == nullptr || entry->state != SliceState::Prepared)
    return fail(Reason::NotFound, fmt::format("slice {} does not exist", slice_id));
  if (groups_ == nullptr) {
    return fail(Reason::CgroupUnavailable, fmt::format("slice {} has no cgroup to slow it down by", slice_id),
                "stop its processes, or use the policy `stop`");
  }
  const Result<std::vector<std::string>> applied =
      groups_->create(slice_id, {.memory_bytes = 0, .cpu_milli = restrained ? kRestrainedCpuMilli : 0});
  return applied ? Status() : fail(applied.error());
}

void DeviceManager::look_for_pressure(const std::string& slice_id, std::vector<SliceEvent>& events) {
  const SliceEntry* entry = journal_.table().find(slice_id);
  Provider* provider = entry == nullptr ? nullptr : provider_named(entry->provider);
  if (provider == nullptr) return;
  const Result<SliceUsage> usage = provider->usage(slice_id);
  if (!usage) return;
  const uint64_t limit = entry->slice.share.memory_bytes;
  const bool over = limit > 0 && usage->memory_bytes > limit;
  if (over && under_pressure_.insert(slice_id).second) {
    events.push_back(
        {Reason::MemoryPressure, slice_id,
         fmt::format("slice {} holds {}, its limit is {} now: it gets no more until it has freed {}",
                     slice_id, format_bytes(usage->memory_bytes), format_bytes(limit),
                     format_bytes(usage->memory_bytes - limit))});
  } else if (!over && under_pressure_.erase(slice_id) > 0) {
    events.push_back(
        {Reason::None, slice_id,
         fmt::format("slice {} is within its limit of {} again", slice_id, format_bytes(limit))});
  }
}

}  // namespace tweendeck::device
