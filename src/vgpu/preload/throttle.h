// Launches within the slice's share of GPU time.
//
// Most launches only call spend() (lease.h). The others come here: what has finished is settled, the thread
// waits for pause, share and work in flight, takes a new lease from the slice's bucket, and this one launch
// is measured. At most the run-ahead of work is queued by a slice, or one unit; while a kernel's duration is
// not known, one such launch. There is no thread: what has finished is settled by later launches. Without a
// compute limit nothing waits and a sample of launches is measured, for the statistics only.
//
// Safe from any thread; nothing is locked while waiting.
#pragma once

#include <stdint.h>

#include "vgpu/preload/abi.h"
#include "vgpu/preload/flights.h"
#include "vgpu/preload/lease.h"

namespace tweendeck::vgpu {

// Kernels may wait for each other: no launch waits longer for one in flight than this, and four times what it
// should take.
inline constexpr uint64_t kInFlightWaitNs = 250'000'000;
// A waiting thread looks at the limits at least this often.
inline constexpr uint64_t kLongestSleepNs = 2'000'000;

struct Ticket {
  CUresult refused = 0;  // not 0: answer this and do not launch
  Lane* lane = nullptr;
  uint64_t flight = 0;  // not 0: measured
  uint16_t end = kNoEvent;
};

// Waits for the share and records the start.
Ticket begin_launch(const Shape& shape, CUstream stream);
void end_launch(const Ticket& ticket, CUstream stream, bool launched);

// After a call that waited for the device: what it waited for is settled, and a turn is given on.
void settle_finished();

// A stream begins or ends to be captured: what is launched into it is not run.
void capture_begins();
void capture_ends();

// What an executable graph does was changed, or its handle may come to mean another.
void graph_changed(CUgraphExec graph);
void graph_gone(CUgraphExec graph);

// The context is gone, and its events with it.
void forget_launches_of(uint64_t context);
// After fork.
void forget_launches();

}  // namespace tweendeck::vgpu
