#include "vgpu/preload/flights.h"

#include <sched.h>
#include <string.h>

#include "vgpu/preload/calls.h"
#include "vgpu/preload/clock.h"
#include "vgpu/preload/share.h"
#include "vgpu/preload/turn.h"

namespace tweendeck::vgpu {

constinit Durations g_durations;

namespace {

constexpr uint32_t kLookAt = 4;  // flights that are found unfinished before a harvest gives up

// Constructed at run time, it would cost each start its pages.
constinit Lane g_lanes[kMaxLanes] = {};
uint64_t g_serial;
uint64_t g_flight_id;
uint32_t g_lock;
uint32_t g_harvesting;

class Locked {
 public:
  Locked() {
    while (__atomic_exchange_n(&g_lock, 1, __ATOMIC_ACQUIRE) != 0) sched_yield();
  }
  ~Locked() { __atomic_store_n(&g_lock, 0, __ATOMIC_RELEASE); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;
};

// The driver's event calls, which are never the program's business here.
struct Events {
  CUresult (*create)(CUevent*, unsigned);
  CUresult (*record)(CUevent, CUstream);
  CUresult (*query)(CUevent);
  CUresult (*elapsed)(float*, CUevent, CUevent);
  CUresult (*capturing)(CUstream, int*);
  bool complete;
};
Events g_events;

template <class F>
void find(F*& function, const char* symbol) {
  function = reinterpret_cast<F*>(driver_symbol(symbol));
}

const Events& events() {
  if (!__atomic_load_n(&g_events.complete, __ATOMIC_ACQUIRE)) {
    find(g_events.create, "cuEventCreate");
    find(g_events.record, "cuEventRecord");
    find(g_events.query, "cuEventQuery");
    find(g_events.elapsed, "cuEventElapsedTime");
    find(g_events.capturing, "cuStreamIsCapturing");
    __atomic_store_n(&g_events.complete, true, __ATOMIC_RELEASE);
  }
  return g_events;
}

void unref(Lane& lane, uint16_t event) {
  if (event != kNoEvent && lane.references[event] > 0) --lane.references[event];
}

bool elapsed_ns(const Lane& lane, uint16_t from, uint16_t to, int64_t& out) {
  float milliseconds = 0;
  if (from == kNoEvent || to == kNoEvent) return false;
  if (events().elapsed(&milliseconds, lane.events[from], lane.events[to]) != CUDA_SUCCESS) return false;
  out = static_cast<int64_t>(static_cast<double>(milliseconds) * 1e6);
  return true;
}

uint64_t at_least_zero(int64_t ns) {
  return ns > 0 ? static_cast<uint64_t>(ns) : 0;
}

// Launches that went unmeasured took what was expected, but not longer than there was time for. If the device
// was busy with nothing else all that time, then exactly as long.
void settle_fence(const Lane& lane, const Flight& flight, Settlement& settlement) {
  int64_t length = 0;
  settlement.estimated_ns = flight.unmeasured_ns;
  if (!flight.exclusive || !elapsed_ns(lane, flight.before, flight.end, length)) return;
  const uint64_t elapsed = at_least_zero(length);
  if (elapsed < flight.unmeasured_ns || (flight.backlogged && settlement.alone)) {
    settlement.estimated_ns = elapsed;
  } else if (flight.backlogged) {
    settlement.waited_ns = elapsed - flight.unmeasured_ns;
  }
}

// A measured launch took what its events say, less what is charged already. With others' work on the device
// the interval holds that, too: what was learned is the better figure then, as far as it is possible, and the
// node's measurement corrects the rest.
void settle_launch(const Lane& lane, const Flight& flight, Settlement& settlement) {
  int64_t length = 0, gap = 0;
  settlement.estimated_ns = flight.charged_ns;
  if (!elapsed_ns(lane, flight.start, flight.end, length)) return;
  const uint64_t whole = at_least_zero(length);
  if (elapsed_ns(lane, lane.last_end, flight.start, gap) && gap < 0) length += gap;
  const uint64_t most = at_least_zero(length);
  uint64_t least = most;
  if (!settlement.alone) {
    least = 0;
  } else if (!flight.exclusive) {
    least = most > flight.ahead_ns ? most - flight.ahead_ns : 0;
  }
  const Charge charge = g_durations.update(flight.key, least, most, settlement.others);
  settlement.estimated_ns = charge.ns;
  settlement.refund_ns = charge.refund_ns;
  if (!settlement.alone) settlement.waited_ns = whole - settlement.estimated_ns;
}

void settle(Lane& lane, const Flight& flight) {
  const uint64_t now = device_now_ns();
  Settlement settlement;
  settlement.taken_ns = flight.taken_ns;
  settlement.age_ns = now > flight.since_ns ? now - flight.since_ns : 0;
  settlement.others = !alone_since(lane.device, flight.since_ns);
  settlement.alone = !settlement.others && !flight.peers && peers_until(lane.device) < flight.since_ns;
  if (flight.start == kNoEvent) {
    settle_fence(lane, flight, settlement);
  } else {
    settle_launch(lane, flight, settlement);
  }
  settle_charge(lane.device, now, settlement);
  end_turn(lane.device, flight.turn);
  int64_t later = 1;
  const bool newest = !elapsed_ns(lane, lane.last_end, flight.end, later) || later > 0;
  const Locked locked;
  unref(lane, flight.start);
  unref(lane, flight.before);
  unref(lane, newest ? lane.last_end : flight.end);
  if (newest) lane.last_end = flight.end;
}

}  // namespace

Lane* lane_with(uint64_t context, uint64_t serial) {
  for (Lane& lane : g_lanes) {
    if (lane.context == context && context != 0 && lane.serial == serial) return &lane;
  }
  return nullptr;
}

Lane* lane_of(uint64_t context, uint32_t device) {
  if (context == 0) return nullptr;
  Lane* unused = nullptr;
  for (Lane& lane : g_lanes) {
    if (__atomic_load_n(&lane.context, __ATOMIC_ACQUIRE) == context) return &lane;
  }
  const Locked locked;
  for (Lane& lane : g_lanes) {
    if (lane.context == context) return &lane;
    if (lane.context == 0 && !unused) unused = &lane;
  }
  if (!unused) return nullptr;
  memset(static_cast<void*>(unused), 0, sizeof(*unused));
  unused->serial = ++g_serial;
  unused->device = device;
  unused->last_end = kNoEvent;
  __atomic_store_n(&unused->context, context, __ATOMIC_RELEASE);
  return unused;
}

uint16_t take_event(Lane& lane) {
  uint16_t index = kNoEvent + 1;
  {
    const Locked locked;
    while (index < kMaxEvents && lane.references[index] != 0) ++index;
    if (index == kMaxEvents) return kNoEvent;
    lane.references[index] = 1;
    if (lane.events[index]) return index;
  }
  CUevent event = nullptr;
  if (events().create(&event, 0) != CUDA_SUCCESS) event = nullptr;
  const Locked locked;
  lane.events[index] = event;
  if (event) return index;
  lane.references[index] = 0;
  return kNoEvent;
}

void drop_event(Lane& lane, uint16_t event) {
  const Locked locked;
  unref(lane, event);
}

uint16_t share_event(Lane& lane, uint16_t event) {
  const Locked locked;
  if (event != kNoEvent) ++lane.references[event];
  return event;
}

bool record_event(Lane& lane, uint16_t event, CUstream stream) {
  return events().record(lane.events[event], stream) == CUDA_SUCCESS;
}

bool is_pending(Lane& lane, uint16_t event) {
  return events().query(lane.events[event]) == CUDA_ERROR_NOT_READY;
}

bool add_flight(Lane& lane, Flight flight, uint64_t user, uint64_t& id, uint64_t& epoch) {
  const Locked locked;
  if (lane.count == kMaxFlights) return false;
  if (lane.last_user != user) {
    if (lane.last_user != 0) flight.exclusive = false;
    lane.last_user = user;
    ++lane.epoch;
  }
  flight.id = ++g_flight_id;
  // A fence looks back as far as the thread's last flight.
  if (flight.start == kNoEvent && epoch != lane.epoch) flight.exclusive = false;
  lane.flights[lane.count++] = flight;
  id = flight.id;
  epoch = lane.epoch;
  return true;
}

void mark_recorded(Lane& lane, uint64_t id) {
  const Locked locked;
  for (uint32_t i = 0; i < lane.count; ++i) {
    if (lane.flights[i].id == id) lane.flights[i].recorded = true;
  }
}

bool remove_flight(Lane& lane, uint64_t id, Flight& out) {
  const Locked locked;
  for (uint32_t i = 0; i < lane.count; ++i) {
    if (lane.flights[i].id != id) continue;
    out = lane.flights[i];
    memmove(&lane.flights[i], &lane.flights[i + 1], (lane.count - i - 1) * sizeof(Flight));
    --lane.count;
    return true;
  }
  return false;
}

void harvest(Lane& lane) {
  if (__atomic_exchange_n(&g_harvesting, 1, __ATOMIC_ACQUIRE) != 0) return;
  uint32_t unfinished = 0, at = 0;
  while (unfinished < kLookAt) {
    Flight flight;
    CUevent end = nullptr;
    {
      const Locked locked;
      if (at >= lane.count) break;
      flight = lane.flights[at];
      end = lane.events[flight.end];
    }
    if (!flight.recorded || events().query(end) == CUDA_ERROR_NOT_READY) {
      ++unfinished;
      ++at;
      continue;
    }
    // Taken out before it is settled: nobody else may settle it, whatever becomes of the context meanwhile.
    if (remove_flight(lane, flight.id, flight)) settle(lane, flight);
  }
  __atomic_store_n(&g_harvesting, 0, __ATOMIC_RELEASE);
}

void harvest_all() {
  for (Lane& lane : g_lanes) {
    if (__atomic_load_n(&lane.count, __ATOMIC_RELAXED) > 0) harvest(lane);
  }
}

InFlight in_flight(Lane& lane) {
  const Locked locked;
  InFlight sum;
  sum.count = lane.count;
  sum.full = lane.count == kMaxFlights;
  for (uint32_t i = 0; i < lane.count; ++i) {
    const Flight& flight = lane.flights[i];
    const uint64_t work = flight.charged_ns + flight.unmeasured_ns;
    sum.work_ns += work;
    sum.until_ns = (flight.since_ns > sum.until_ns ? flight.since_ns : sum.until_ns) + work;
    if (!flight.learned && flight.start != kNoEvent) sum.unlearned = true;
  }
  if (lane.count > 0) {
    sum.oldest_since_ns = lane.flights[0].since_ns;
    sum.oldest_work_ns = lane.flights[0].charged_ns + lane.flights[0].unmeasured_ns;
  }
  return sum;
}

void forget_lane(uint64_t context) {
  const Locked locked;
  for (Lane& lane : g_lanes) {
    if (lane.context != context || context == 0) continue;
    for (uint32_t i = 0; i < lane.count; ++i) end_turn(lane.device, lane.flights[i].turn);
    memset(static_cast<void*>(&lane), 0, sizeof(lane));
  }
}

void forget_lanes() {
  memset(static_cast<void*>(g_lanes), 0, sizeof(g_lanes));
  g_lock = 0;
  g_harvesting = 0;
}

bool is_capturing(CUstream stream) {
  int capturing = 0;
  return events().capturing && events().capturing(stream, &capturing) == CUDA_SUCCESS && capturing != 0;
}

}  // namespace tweendeck::vgpu
