// What the node measures, against what the library estimated: the trim.
//
// With other tenants on the device a process cannot tell its own kernels' time from theirs. It charges what
// it learned, and the node's figure (NVML, per process) says over some seconds by what factor that was off.
// Outside of such times the trim is 1: a process alone measures exactly.
//
// Works on the words of a slice's usage page, so that its processes share one trim; whichever of them sees
// new feedback first takes it in. A process that is killed in between leaves one period out.
#pragma once

#include <stdint.h>

#include "vgpu/page.h"

namespace tweendeck::vgpu {

inline constexpr uint64_t kFeedbackMaxAgeNs = 1'000'000'000;
inline constexpr uint64_t kFullTrim = 1000;
inline constexpr uint64_t kLowestTrim = 250;
inline constexpr uint64_t kHighestTrim = 20'000;
// As much GPU time counts as if the estimate had been right, so that the first periods move little...
inline constexpr uint64_t kTrimPriorNs = 600'000'000;
inline constexpr uint64_t kTrimKeeps = 31, kTrimOf = 32;  // ... and a new period leaves so much of the sums
inline constexpr uint64_t kLeastBlurNs =
    100'000'000;  // of the sums: the first period may have been a full one
inline constexpr uint64_t kMostDriftNs = 250'000'000;  // in one period: more is a forged page
inline constexpr uint64_t kSharedAbovePermille = 10;

inline uint64_t trim_of(const tw_vgpu_device_usage& shared) {
  const uint64_t trim = tw_vgpu_load(&shared.trim_permille);
  return trim == 0 ? kFullTrim : trim < kLowestTrim ? kLowestTrim : trim > kHighestTrim ? kHighestTrim : trim;
}

// What a word that only grows has grown by since the settlement that `settled` is of.
inline uint64_t trim_settle(uint64_t& settled, uint64_t now) {
  const uint64_t before = tw_vgpu_load(&settled);
  if (now <= before) return 0;
  tw_vgpu_store(&settled, now);
  return now - before;
}

// `in_flight_ns`: work of the slice that the device may have done without its being charged yet. Returns GPU time to
// give back (negative: to charge): what was charged too much or too little so far, beyond the blur.
inline int64_t take_feedback(tw_vgpu_device_usage& shared, const tw_vgpu_feedback& feedback, uint64_t now_ns,
                             uint64_t in_flight_ns) {
  const uint64_t sequence = tw_vgpu_load(&feedback.sequence);
  uint64_t seen = tw_vgpu_load(&shared.feedback_sequence);
  const bool stale = now_ns > tw_vgpu_load(&feedback.stamp_ns) + kFeedbackMaxAgeNs;
  if (stale && tw_vgpu_load(&shared.shared)) {
    tw_vgpu_store(&shared.shared, 0);
    tw_vgpu_store(&shared.trim_permille, 0);
  }
  if (stale || sequence == seen) return 0;
  if (!__atomic_compare_exchange_n(&shared.feedback_sequence, &seen, sequence, false, __ATOMIC_SEQ_CST,
                                   __ATOMIC_SEQ_CST))
    return 0;
  // Of what is in flight, half is done: that is wrong by half of it at most.
  if (in_flight_ns > kMostDriftNs) in_flight_ns = kMostDriftNs;
  const uint64_t half = in_flight_ns / 2;
  const uint64_t new_busy = trim_settle(shared.settled_slice_busy_ns, tw_vgpu_load(&feedback.slice_busy_ns));
  const uint64_t new_estimated =
      trim_settle(shared.settled_estimated_ns, tw_vgpu_load(&shared.estimated_ns) + half);
  const uint64_t new_charged =
      trim_settle(shared.settled_charged_ns, tw_vgpu_load(&shared.charged_ns) + half);
  const bool others = tw_vgpu_load(&feedback.others_permille) > kSharedAbovePermille;
  tw_vgpu_store(&shared.shared, others ? 1 : 0);
  if (others) tw_vgpu_store(&shared.others_ns, now_ns);
  // The sums go on through periods without others, as long as those are some: an edge's error would stay otherwise.
  const uint64_t others_ns = tw_vgpu_load(&shared.others_ns);
  const bool goes_on = others_ns != 0 && now_ns <= others_ns + kFeedbackMaxAgeNs;
  // The first period of all has no edge before it.
  const bool begins = tw_vgpu_load(&shared.trim_permille) == 0 && seen != 0;
  if (!goes_on || begins) {
    tw_vgpu_store(&shared.window_busy_ns, 0);
    tw_vgpu_store(&shared.window_estimated_ns, 0);
    tw_vgpu_store(&shared.drift_ns, 0);
    tw_vgpu_store(&shared.trim_permille, goes_on ? kFullTrim : 0);
    return 0;
  }
  const uint64_t window_busy = tw_vgpu_load(&shared.window_busy_ns) * kTrimKeeps / kTrimOf + new_busy;
  const uint64_t window_estimated =
      tw_vgpu_load(&shared.window_estimated_ns) * kTrimKeeps / kTrimOf + new_estimated;
  tw_vgpu_store(&shared.window_busy_ns, window_busy);
  tw_vgpu_store(&shared.window_estimated_ns, window_estimated);
  // Both sums may be off by what a period holds, because the node's periods end at other times than ours.
  const uint64_t period = new_busy > new_estimated ? new_busy : new_estimated;
  const uint64_t blur = (period > kLeastBlurNs ? period : kLeastBlurNs) + in_flight_ns;
  const uint64_t slow = (window_busy + kTrimPriorNs) * kFullTrim / (window_estimated + kTrimPriorNs);
  const uint64_t least = window_busy * kFullTrim / (window_estimated + blur + 1);
  const uint64_t most = (window_busy + blur) * kFullTrim / (window_estimated + 1);
  uint64_t trim = slow < least ? least : slow > most ? most : slow;
  trim = trim < kLowestTrim ? kLowestTrim : trim > kHighestTrim ? kHighestTrim : trim;
  tw_vgpu_store(&shared.trim_permille, trim);
  const uint64_t unsure = period / 4 + half;
  const auto bound = static_cast<int64_t>(unsure < kMostDriftNs ? unsure : kMostDriftNs);
  const int64_t drift = static_cast<int64_t>(tw_vgpu_load(&shared.drift_ns) + new_charged - new_busy);
  const int64_t kept = drift > bound ? bound : drift < -bound ? -bound : drift;
  tw_vgpu_store(&shared.drift_ns, static_cast<uint64_t>(kept));
  const auto most_back = static_cast<int64_t>(kMostDriftNs);
  return drift - kept > most_back ? most_back : drift - kept < -most_back ? -most_back : drift - kept;
}

}  // namespace tweendeck::vgpu
