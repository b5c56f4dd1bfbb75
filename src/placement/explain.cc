#include <algorithm>

#include "base/text.h"
#include "base/units.h"
#include "placement/refusal.h"

namespace tweendeck::placement {
namespace {

constexpr size_t kNamesShown = 3;

std::string percent(uint32_t value) {
  return std::to_string(value) + " %";
}

std::string plural(uint32_t count, const std::string& word) {
  return std::to_string(count) + " " + word + (count == 1 ? "" : "s");
}

std::string share_text(const Share& share) {
  return format_bytes(share.memory_bytes) + " and " + percent(share.compute_percent);
}

std::string names(const std::vector<std::string>& ids) {
  if (ids.size() <= kNamesShown) return join(ids, ", ");
  const std::vector<std::string> first(ids.begin(), ids.begin() + kNamesShown);
  return join(first, ", ") + " and " + std::to_string(ids.size() - kNamesShown) + " more";
}

std::string enumeration(const std::vector<std::string>& ids) {
  if (ids.size() == 1) return ids.front();
  const std::vector<std::string> first(ids.begin(), ids.end() - 1);
  return join(first, ", ") + " and " + ids.back();
}

std::string lack_text(const NearestMiss& miss) {
  std::string text;
  if (miss.lacks_memory_bytes > 0) text = format_bytes(miss.lacks_memory_bytes);
  if (miss.lacks_compute_percent > 0) {
    text += (text.empty() ? "" : " and ") + percent(miss.lacks_compute_percent) + " compute";
  }
  const bool too_small =
      miss.reason == Reason::MemoryExceedsDevice || miss.reason == Reason::ComputeExceedsDevice;
  return too_small ? "is too small by " + text : "lacks " + text;
}

std::string remedy(const NearestMiss& miss, uint32_t missing) {
  if (!miss.stop_owners.empty()) {
    const std::string stop = "; stopping " + enumeration(miss.stop_owners);
    return stop + (missing == 1 ? " would free it" : " would make room for all");
  }
  if (miss.largest_fit) return "; at most " + share_text(*miss.largest_fit) + " fits there now";
  return {};
}

std::string nearest_text(const NearestMiss& miss, uint32_t missing) {
  const bool lacks = miss.lacks_memory_bytes > 0 || miss.lacks_compute_percent > 0;
  std::string text = miss.device_id;
  if (lacks) text += " " + lack_text(miss);
  if (!miss.detail.empty()) text += " " + miss.detail;
  return text + remedy(miss, missing);
}

std::string reason_text(const ReasonCount& count, const Refusal& refusal, uint32_t missing) {
  const bool near = refusal.nearest && refusal.nearest->reason == count.reason;
  if (!near) return names(count.device_ids);
  std::vector<std::string> others = count.device_ids;
  std::erase(others, refusal.nearest->device_id);
  return nearest_text(*refusal.nearest, missing) + (others.empty() ? "" : "; also " + names(others));
}

std::string need_text(const Refusal& refusal, const MachineClaim& claim) {
  const std::string share = share_text(claim.share);
  if (claim.count == 1) return "needs " + share + " on 1 device";
  return "needs " + plural(claim.count, "slice") + " of " + share +
         (claim.distinct_devices ? " on distinct devices" : "") + ", " + std::to_string(refusal.fitting) +
         (refusal.fitting == 1 ? " fits" : " fit");
}

}  // namespace

std::string explain(const Refusal& refusal, const MachineClaim& claim) {
  std::string text = need_text(refusal, claim);
  if (!refusal.reasons.empty() && refusal.reasons.front().devices == 0) {  // not about any one device
    const Reason reason = refusal.reasons.front().reason;
    if (reason == Reason::NoDevices) return text + ": NoDevices (there is no device at all)";
    if (reason == Reason::InvalidArgument)
      return text + ": InvalidArgument (it asks for neither memory nor compute)";
    return text + ": " + std::string(to_string(reason)) + " (at most " + std::to_string(kMaxClaimSlices) +
           " slices per claim)";
  }
  uint32_t devices = 0;
  for (const ReasonCount& count : refusal.reasons) devices += count.devices;
  std::string separator = ": ";
  for (const ReasonCount& count : refusal.reasons) {
    text += separator + std::to_string(count.devices);
    if (separator == ": ") text += " of " + plural(devices, "device");
    text += " " + std::string(to_string(count.reason)) + " (" +
            reason_text(count, refusal, claim.count - refusal.fitting) + ")";
    separator = ", ";
  }
  return text;
}

}  // namespace tweendeck::placement
