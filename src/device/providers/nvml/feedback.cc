#include "device/providers/nvml/feedback.h"

#include <algorithm>

#include "device/providers/nvml/gpu_uuid.h"
#include "device/providers/nvml/tenants.h"

namespace tweendeck::device::nvml {

bool is_alive(Owner owner) {
  const auto start = start_ticks(tw_vgpu_owner_pid(owner));
  return start && (*start & 0x7fffffffu) == tw_vgpu_owner_start(owner);
}

UtilizationAccount::Round UtilizationAccount::add(const std::vector<Utilization>& samples) {
  Round round;
  uint64_t newest = last_us_;
  for (const Utilization& sample : samples) newest = std::max(newest, sample.time_us);
  const uint64_t period_ns =
      last_us_ == 0 ? static_cast<uint64_t>(kUsualPeriod)
                    : std::min<uint64_t>((newest - last_us_) * 1000, static_cast<uint64_t>(kLongestPeriod));
  for (const Utilization& sample : samples) {
    round.busy_ns[sample.pid] += period_ns * sample.percent / 100;
    round.percent[sample.pid] += sample.percent;
    round.total_percent += sample.percent;
  }
  last_us_ = newest;
  return round;
}

// Pids of the slice's processes. A slot is written by tenants, so each owner is checked once against its
// mappings.
std::set<uint32_t> Feedback::members(const std::string& slice_id) {
  std::set<uint32_t> pids;
  std::set<Owner>& verified = verified_[slice_id];
  std::set<Owner> still;
  const Result<std::vector<Owner>> owners = pages_.reclaim(slice_id, is_alive);
  if (!owners) return pids;
  for (const Owner owner : *owners) {
    const uint32_t pid = tw_vgpu_owner_pid(owner);
    if (!verified.contains(owner) && !maps_file(pid, pages_.usage_path(slice_id))) continue;
    still.insert(owner);
    pids.insert(pid);
  }
  verified = std::move(still);
  return pids;
}

void Feedback::publish(const std::string& slice_id, const UtilizationAccount::Round& round, bool is_first,
                       Nanos now) {
  const Result<tw_vgpu_feedback> before = pages_.feedback(slice_id);
  if (!before) return;                            // the slice was removed meanwhile
  if (is_first && before->sequence != 0) return;  // a node before this one may have told it of this sample
  tw_vgpu_feedback next = *before;
  uint32_t own_percent = 0;
  for (const uint32_t pid : members(slice_id)) {
    if (const auto found = round.busy_ns.find(pid); found != round.busy_ns.end())
      next.slice_busy_ns += found->second;
    if (const auto found = round.percent.find(pid); found != round.percent.end())
      own_percent += found->second;
  }
  next.others_permille = (round.total_percent - own_percent) * 10;
  pages_.write_feedback(slice_id, next, now);
}

void Feedback::round(Nanos now) {
  const Result<std::vector<std::string>> slices = pages_.list();
  if (!slices) return;
  std::map<std::string, std::vector<std::string>> by_device;
  for (const std::string& slice_id : *slices) {
    const Result<tw_vgpu_limit_set> limits = pages_.limits(slice_id);
    if (limits && limits->device_count > 0)
      by_device[format_uuid(limits->devices[0].uuid)].push_back(slice_id);
  }
  std::erase_if(verified_,
                [&](const auto& entry) { return std::ranges::find(*slices, entry.first) == slices->end(); });
  for (const auto& [uuid, slice_ids] : by_device) {
    UtilizationAccount& account = accounts_[uuid];
    const uint64_t seen_us = account.last_us();
    const Result<std::vector<Utilization>> samples = measure_(uuid, seen_us);
    // Without a measurement the library goes by its own; that is conservative for the tenant.
    if (!samples) continue;
    const UtilizationAccount::Round measured = account.add(*samples);
    if (observer_ && !samples->empty()) observer_(uuid, measured);
    for (const std::string& slice_id : slice_ids) {
      if (!samples->empty())
        publish(slice_id, measured, seen_us == 0, now);
      else
        members(slice_id);
    }
  }
}

}  // namespace tweendeck::device::nvml
