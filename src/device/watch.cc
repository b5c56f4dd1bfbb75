#include "device/watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "base/units.h"
#include "vgpu/page.h"

namespace tweendeck::device {
namespace {

constexpr uint32_t kWhole = TW_VGPU_WHOLE;
constexpr Nanos kMostCredit = Nanos{TW_VGPU_BURST_NS} + TW_VGPU_MOST_WAITED_NS;
constexpr Nanos kIsTold = 10 * kSecond;  // one write is one event, not a flicker
constexpr uint64_t kLeastPart = 4;       // charged at least this part of what the driver saw

bool is_limited(uint32_t permille) {
  return permille > 0 && permille < kWhole;
}

uint64_t slack_of(const WatchedProcess& process) {
  uint64_t slack = kBookSlackBytes + process.driver_bytes / kBookSlackDivisor;
  return process.context_is_booked ? slack : slack + kUnbookedContextBytes;
}

uint64_t part_permille(uint64_t part_ns, Nanos whole) {
  return whole <= 0 ? 0 : part_ns * kWhole / static_cast<uint64_t>(whole);
}

}  // namespace

void Watch::look_at_process(const WatchedProcess& process, std::vector<Finding>& suspicions) const {
  const auto suspect = [&](Reason reason, std::string message) {
    suspicions.push_back({reason, process.slice, process.pid, std::move(message)});
  };
  if (!process.has_slot) {
    suspect(Reason::SliceBypassed,
            process.slice.empty()
                ? fmt::format("process {} uses GPU {} ({}) outside of every slice", process.pid,
                              process.device, format_bytes(process.driver_bytes))
                : fmt::format("process {} of slice {} uses the GPU ({}) without the vgpu library",
                              process.pid, process.slice, format_bytes(process.driver_bytes)));
    return;
  }
  if (process.driver_bytes > process.booked_bytes + slack_of(process)) {
    suspect(
        Reason::BooksForged,
        fmt::format("process {} of slice {} holds {} as the driver counts, its books say {}", process.pid,
                    process.slice, format_bytes(process.driver_bytes), format_bytes(process.booked_bytes)));
  }
  if (process.library_abi != TW_VGPU_ABI) {
    suspect(Reason::LibraryStale,
            fmt::format("process {} of slice {} has a vgpu library of page version {}, this node's is {}",
                        process.pid, process.slice, process.library_abi, int{TW_VGPU_ABI}));
  }
}

void Watch::look_at_slice(Nanos now, const WatchedSlice& slice, std::vector<Finding>& suspicions) {
  const auto suspect = [&](Reason reason, std::string message) {
    suspicions.push_back({reason, slice.id, 0, std::move(message)});
  };
  if (!slice.limits_intact) rewritten_at_[slice.id] = now;
  if (const auto rewritten = rewritten_at_.find(slice.id);
      rewritten != rewritten_at_.end() && now - rewritten->second >= kIsTold)
    rewritten_at_.erase(rewritten);
  if (rewritten_at_.contains(slice.id))
    suspect(Reason::PageTampered,
            fmt::format("the limits of slice {} were written by somebody else and are put back", slice.id));
  else if (!slice.usage_intact)
    suspect(Reason::PageTampered,
            fmt::format("the usage page of slice {} was removed, cut or replaced", slice.id));

  std::deque<Sample>& history = history_[slice.id];
  if (!history.empty() && (slice.charged_ns < history.back().slice.charged_ns ||
                           slice.launches < history.back().slice.launches)) {
    shrunk_at_[slice.id] = now;
    history.clear();
  }
  if (const auto shrunk = shrunk_at_.find(slice.id); shrunk != shrunk_at_.end()) {
    if (now - shrunk->second < kIsTold)
      suspect(Reason::BooksForged, fmt::format("counters of slice {} that only grow have shrunk", slice.id));
    else
      shrunk_at_.erase(shrunk);
  }
  history.push_back({now, slice});
  while (history.size() > 2 && now - history[1].at >= kShareWindow) history.pop_front();
  const Sample& first = history.front();
  const Nanos window = now - first.at;
  if (window < kShareWindow) return;

  uint32_t share = 0;
  bool limited = true, scaled_alike = true;
  for (const Sample& sample : history) {
    limited = limited && is_limited(sample.slice.share_permille);
    share = std::max(share, sample.slice.share_permille);
    scaled_alike = scaled_alike && sample.slice.bucket_permille == first.slice.bucket_permille;
  }
  if (!limited) return;
  const uint64_t busy = slice.driver_busy_ns - std::min(slice.driver_busy_ns, first.slice.driver_busy_ns);
  const uint64_t charged = slice.charged_ns - first.slice.charged_ns;
  const uint64_t busy_permille = part_permille(busy, window);
  if (busy_permille > share + kShareTolerancePermille) {
    suspect(Reason::ShareExceeded,
            fmt::format("slice {} keeps the device {} % busy as the driver measures; its share is {} %",
                        slice.id, busy_permille / 10, share / 10));
  } else if (busy_permille > kShareTolerancePermille && charged < busy / kLeastPart) {
    suspect(Reason::ShareExceeded,
            fmt::format("slice {} keeps the device {} % busy as the driver measures and was charged for {} %",
                        slice.id, busy_permille / 10, part_permille(charged, window) / 10));
  }
  // A charge moves the bucket by charge / share, and nothing moves it back but what was charged too early.
  const uint64_t scale = is_limited(slice.bucket_permille) ? slice.bucket_permille : share;
  const auto started = static_cast<uint64_t>(std::max<Nanos>(0, first.at - kMostCredit));
  const uint64_t due = std::max(first.slice.share_used_until_ns, started) + charged * kWhole / scale;
  if (scaled_alike && charged > 0 &&
      slice.share_used_until_ns + static_cast<uint64_t>(kBucketSlack) + charged / 2 < due) {
    suspect(Reason::BooksForged,
            fmt::format("the used-up share of slice {} was moved back by {}", slice.id,
                        format_duration(static_cast<Nanos>(due - slice.share_used_until_ns))));
  }
}

std::vector<Finding> Watch::look(Nanos now, const std::vector<WatchedProcess>& processes,
                                 const std::vector<WatchedSlice>& slices) {
  std::vector<Finding> suspicions;
  for (const WatchedProcess& process : processes) look_at_process(process, suspicions);
  std::set<std::string> named;
  for (const WatchedSlice& slice : slices) {
    named.insert(slice.id);
    look_at_slice(now, slice, suspicions);
  }
  std::erase_if(history_, [&](const auto& entry) { return !named.contains(entry.first); });
  std::erase_if(rewritten_at_, [&](const auto& entry) { return !named.contains(entry.first); });
  std::erase_if(shrunk_at_, [&](const auto& entry) { return !named.contains(entry.first); });

  std::map<Key, int> looks;
  std::map<Key, Finding> confirmed;
  for (Finding& finding : suspicions) {
    const Key key{finding.slice_id, finding.pid, finding.reason};
    const auto before = looks_.find(key);
    const int count = (before == looks_.end() ? 0 : before->second) + 1;
    looks[key] = std::min(count, kConfirmations);
    if (count >= kConfirmations) confirmed.emplace(key, std::move(finding));
  }
  looks_ = std::move(looks);
  std::vector<Finding> findings;
  for (auto& [key, finding] : confirmed) {
    if (findings.size() == kMaxFindings) break;
    findings.push_back(std::move(finding));
  }
  return findings;
}

}  // namespace tweendeck::device
