// Launches in flight that are measured by events, and fences behind those that are not.
//
// A lane is what is in flight in one context. A flight is a launch between two events, or a fence: one event
// behind launches that went unmeasured since the thread's last flight. What has finished is settled by
// harvest(): durations are learned, and what was charged beforehand is corrected. GPU time of a process is
// the union of its intervals, so that overlapping streams are not charged twice.
//
// Safe from any thread. The lock inside is never held while the driver is asked anything that may take time.
#pragma once

#include <stdint.h>

#include "vgpu/durations.h"
#include "vgpu/preload/abi.h"

namespace tweendeck::vgpu {

inline constexpr uint32_t kMaxLanes = 16;    // contexts of one process that are measured
inline constexpr uint32_t kMaxFlights = 64;  // of one lane
inline constexpr uint32_t kMaxEvents = 4 * kMaxFlights;
inline constexpr uint16_t kNoEvent = 0;  // so that lanes are zero to begin with

struct Flight {
  uint64_t id = 0;
  uint64_t key = 0;
  uint64_t charged_ns = 0;     // what the measured launch was expected to take
  uint64_t unmeasured_ns = 0;  // a fence: what the launches before it were expected to take
  uint64_t taken_ns = 0;       // of the bucket, for all of that
  uint64_t since_ns = 0;
  uint64_t ahead_ns = 0;      // work of this process that was queued before it
  bool peers = false;         // other processes of the slice had work queued
  uint64_t turn = 0;          // not 0: the launch of unknown length that the slice has in flight
  uint16_t start = kNoEvent;  // kNoEvent: a fence
  uint16_t end = kNoEvent;
  uint16_t before = kNoEvent;  // a fence: where the unmeasured launches began
  bool recorded = false;       // the events are in the stream
  bool learned = false;
  bool exclusive = false;   // nothing else of the lane lies between `before` and `end`
  bool backlogged = false;  // the device was never idle between them
};

struct Lane {
  uint64_t context;
  uint64_t serial;  // another number whenever the lane is another context's
  uint32_t device;
  uint32_t count;
  uint64_t epoch;  // changes when another thread or stream takes its turn
  uint64_t last_user;
  uint16_t last_end;            // the latest end that was settled; what lies before it is charged
  Flight flights[kMaxFlights];  // oldest first
  CUevent events[kMaxEvents];
  uint8_t references[kMaxEvents];
};

extern Durations g_durations;

// Null when there are too many contexts: then nothing is measured there.
Lane* lane_of(uint64_t context, uint32_t device);
Lane* lane_with(uint64_t context, uint64_t serial);

// An event with one reference; kNoEvent when there is none to be had.
uint16_t take_event(Lane& lane);
uint16_t share_event(Lane& lane, uint16_t event);  // one more reference
void drop_event(Lane& lane, uint16_t event);
bool record_event(Lane& lane, uint16_t event, CUstream stream);
bool is_pending(Lane& lane, uint16_t event);  // in its stream, and not reached yet

// Puts the flight into the lane, which takes over one reference of each of its events. `user`: thread and
// stream; `epoch`: of the user's last flight before, of this one after. False: the lane is full.
bool add_flight(Lane& lane, Flight flight, uint64_t user, uint64_t& id, uint64_t& epoch);
void mark_recorded(Lane& lane, uint64_t id);
// The launch failed: takes the flight out. False: it is not there.
bool remove_flight(Lane& lane, uint64_t id, Flight& out);

// Settles what has finished; at once when another thread is at it.
void harvest(Lane& lane);
void harvest_all();

struct InFlight {
  uint32_t count = 0;
  uint64_t work_ns = 0;   // expected
  uint64_t until_ns = 0;  // when it is done, if nothing delays it and all is of known length
  bool unlearned = false;
  bool full = false;
  uint64_t oldest_since_ns = 0;
  uint64_t oldest_work_ns = 0;

  // What the device may have done of it: all, but not more than there was time for.
  uint64_t done_ns(uint64_t now_ns) const {
    if (count == 0 || now_ns < oldest_since_ns) return 0;
    const uint64_t elapsed = now_ns - oldest_since_ns;
    return unlearned || work_ns > elapsed ? elapsed : work_ns;
  }
};
InFlight in_flight(Lane& lane);

void forget_lane(uint64_t context);  // the context is gone, and its events with it
void forget_lanes();                 // after fork

bool is_capturing(CUstream stream);

}  // namespace tweendeck::vgpu
