// Launches within the slice's share of GPU time.
//
// A launch is charged what its kernel takes, as measured by events around earlier launches of the same kernel
// and shape, and the charge is corrected when its own events have passed. GPU time of a process is the union
// of its intervals, so that overlapping streams are not charged twice. While a kernel's duration is not
// known, one such launch is in flight; besides, at most the run-ahead of queued work. There is no thread:
// what has finished is settled by the next launch. Without a compute limit nothing waits and a sample of
// launches is measured, for the statistics only.
//
// Safe from any thread; the lock inside is this process's own and never held while waiting.
#pragma once

#include <stdint.h>

#include "vgpu/preload/abi.h"

namespace tweendeck::vgpu {

inline constexpr uint64_t kRunAheadNs = 4'000'000;  // default of tw_vgpu_device_limit.run_ahead_us
inline constexpr uint64_t kSampleBelowNs =
    200'000;  // shorter kernels of known duration are measured now and then
inline constexpr uint32_t kSampleEvery = 16;
inline constexpr uint64_t kInFlightWaitNs =
    250'000'000;  // kernels may wait for each other: no launch waits longer for one
inline constexpr uint64_t kFeedbackMaxAgeNs = 1'000'000'000;

struct Ticket {
  CUresult refused = 0;  // not 0: answer this and do not launch
  int device = -1;
  uint64_t key = 0;
  CUevent start = nullptr;  // not null: measured
  CUevent end = nullptr;
  uint64_t lane = 0;
};

// Waits for the share and records the start. `key` names kernel and shape.
Ticket begin_launch(uint64_t key, CUstream stream);
void end_launch(const Ticket& ticket, CUstream stream, bool launched);

// The context is gone, and its events with it.
void forget_launches_of(uint64_t context);
// After fork.
void forget_launches();

}  // namespace tweendeck::vgpu
