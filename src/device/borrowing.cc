#include "device/borrowing.h"

#include <algorithm>
#include <cmath>

namespace tweendeck::device {
namespace {

constexpr double kSmoothing =
    static_cast<double>(40 * kMillisecond);  // time constant of the use that is seen
constexpr double kShrinking = static_cast<double>(60 * kMillisecond);  // and of a reserve that is not needed

struct Want {
  double base = 0;   // given without question: the reserve
  double limit = 0;  // what the slice could use at all
  double given = 0;
};

double ceiling_of(const SliceActivity& slice) {
  const uint32_t ceiling = slice.ceiling_permille == 0 ? kWholePermille : slice.ceiling_permille;
  return std::clamp(ceiling, std::min(slice.floor_permille, kWholePermille), kWholePermille);
}

double headroom(double use) {
  return std::max<double>(kLeastHeadroomPermille, use / kHeadroomDivisor);
}

// Shares `rest` among the wants by weight until everybody has what it could use or nothing is left.
double fill(double rest, const std::vector<const SliceActivity*>& slices, const std::vector<Want*>& wants) {
  std::vector<size_t> open;
  for (size_t i = 0; i < wants.size(); ++i) {
    if (wants[i]->limit > wants[i]->given) open.push_back(i);
  }
  while (!open.empty() && rest > 0) {
    double weights = 0;
    for (const size_t i : open) weights += std::max(1u, slices[i]->weight);
    const double offer = rest / weights;
    std::vector<size_t> still_open;
    bool anyone_full = false;
    for (const size_t i : open) {
      const double room = wants[i]->limit - wants[i]->given;
      if (room <= offer * std::max(1u, slices[i]->weight)) {
        wants[i]->given = wants[i]->limit;
        rest -= room;
        anyone_full = true;
      } else {
        still_open.push_back(i);
      }
    }
    if (!anyone_full) {
      for (const size_t i : open) wants[i]->given += offer * std::max(1u, slices[i]->weight);
      return 0;
    }
    open = std::move(still_open);
  }
  return std::max(0.0, rest);
}

}  // namespace

void Borrowing::observe(Nanos now, const SliceActivity& slice, Seen& seen) const {
  const bool known = seen.at != 0 && now > seen.at && slice.charged_ns >= seen.charged_ns;
  const double elapsed = known ? static_cast<double>(now - seen.at) : 0;
  const bool used = known && slice.charged_ns > seen.charged_ns;
  seen.wants_more = !slice.paused && (slice.waiting || (known && slice.throttled_ns > seen.throttled_ns));
  const double floor = std::min(slice.floor_permille, kWholePermille);
  // A long kernel is charged when it has ended: until then its slice uses what it can.
  const bool at_work = slice.last_active >= now;
  const bool all_the_time = at_work && seen.at_work && !used;
  if (known) {
    const double charged = static_cast<double>(slice.charged_ns - seen.charged_ns) / elapsed * kWholePermille;
    seen.use +=
        ((all_the_time ? kWholePermille : charged) - seen.use) * (1 - std::exp(-elapsed / kSmoothing));
  }
  seen.active_at = used || seen.wants_more ? now : std::max(seen.active_at, slice.last_active);
  const bool was_active = seen.active;
  seen.active = !slice.paused && seen.active_at != 0 && now - seen.active_at < kLendAfter;
  if (!seen.active) {
    seen.reserve = 0;
    seen.use = 0;
  } else if (!was_active || seen.wants_more || seen.use + headroom(seen.use) / 2 >= seen.reserve) {
    seen.reserve = floor;
    seen.whole_at = now;
  } else if (now - seen.whole_at >= kLendAfter) {
    const double needed = std::min(floor, seen.use + headroom(seen.use));
    seen.reserve = std::min(floor, needed + (seen.reserve - needed) * std::exp(-elapsed / kShrinking));
  }
  seen.at = now;
  seen.at_work = at_work;
  seen.charged_ns = slice.charged_ns;
  seen.throttled_ns = slice.throttled_ns;
}

std::vector<ShareGrant> Borrowing::decide(Nanos now, const std::vector<SliceActivity>& slices,
                                          uint32_t others_permille) {
  std::map<std::string, Seen, std::less<>> seen;
  std::vector<Want> wants(slices.size());
  double rest = kWholePermille - std::min(others_permille, kWholePermille);
  for (size_t i = 0; i < slices.size(); ++i) {
    Seen& one = seen[slices[i].id];
    if (const auto found = seen_.find(slices[i].id); found != seen_.end()) one = found->second;
    observe(now, slices[i], one);
    wants[i].base = wants[i].given = one.reserve;
    const double ceiling = ceiling_of(slices[i]);
    // Who did not wait has what it wants, with some headroom to grow into before it must wait.
    wants[i].limit = !one.active      ? 0
                     : one.wants_more ? ceiling
                                      : std::clamp(one.use + headroom(one.use), one.reserve, ceiling);
    rest -= one.reserve;
  }
  seen_ = std::move(seen);

  std::map<int32_t, std::vector<size_t>, std::greater<>> classes;
  for (size_t i = 0; i < slices.size(); ++i) classes[slices[i].priority].push_back(i);
  rest = std::max(0.0, rest);
  for (const auto& [priority, members] : classes) {
    std::vector<const SliceActivity*> of;
    std::vector<Want*> their;
    for (const size_t i : members) {
      of.push_back(&slices[i]);
      their.push_back(&wants[i]);
    }
    rest = fill(rest, of, their);
  }

  std::map<int32_t, Nanos> active_at;  // by priority
  for (const SliceActivity& slice : slices) {
    Nanos& latest = active_at[slice.priority];
    latest = std::max(latest, slice.paused ? 0 : seen_[slice.id].active_at);
  }
  std::vector<ShareGrant> grants(slices.size());
  busy_ = false;
  for (size_t i = 0; i < slices.size(); ++i) {
    ShareGrant& grant = grants[i];
    grant.effective_permille = static_cast<uint32_t>(wants[i].given);
    grant.reserve_permille = static_cast<uint32_t>(wants[i].base);
    grant.borrowed_permille = grant.effective_permille > slices[i].floor_permille
                                  ? grant.effective_permille - slices[i].floor_permille
                                  : 0;
    const Seen& one = seen_[slices[i].id];
    grant.wants_more = one.wants_more;
    for (auto above = active_at.upper_bound(slices[i].priority); above != active_at.end(); ++above) {
      const bool at_work = above->second != 0 && now - above->second < kYieldTo;
      grant.yields = grant.yields || (at_work && one.use >= slices[i].floor_permille);
    }
    const bool can_borrow = ceiling_of(slices[i]) > slices[i].floor_permille;
    busy_ = busy_ || (grant.wants_more && can_borrow) || grant.borrowed_permille > 0 || grant.yields;
  }
  return grants;
}

}  // namespace tweendeck::device
