#include "vgpu/preload/throttle.h"

#include <sched.h>
#include <string.h>

#include "vgpu/bucket.h"
#include "vgpu/durations.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/clock.h"
#include "vgpu/preload/tenant.h"

namespace tweendeck::vgpu {
namespace {

constexpr uint32_t kMaxLanes = 16;    // contexts of one process that are measured
constexpr uint32_t kMaxFlights = 64;  // measured launches of one context that have not been settled
constexpr uint64_t kPausedSleepNs = 1'000'000;
constexpr uint64_t kLongestSleepNs = 1'000'000;
constexpr uint64_t kWaitGapNs = 10'000'000;  // a wait this long after the last is a new one
constexpr uint64_t kFlightSleepNs = 30'000;
constexpr uint64_t kFullTrim = 1000;
constexpr uint64_t kLowestTrim = 50;
constexpr uint64_t kHighestTrim = 20'000;
constexpr uint64_t kLeastChargeToTrimNs = 5'000'000;  // less says nothing about the ratio
constexpr uint64_t kSharedAbovePermille = 10;
constexpr CUresult kNotPermitted = 800;

struct Flight {
  CUevent start, end;
  uint64_t key;
  uint64_t charged_ns;  // estimate, on the bucket already
  uint64_t since_ns;
  bool recorded;  // both events are in the stream
  bool learned;
};

// What is in flight in one context.
struct Lane {
  uint64_t context;
  uint32_t count;
  uint32_t launches;
  CUevent last_end;  // the latest end that was settled; what lies before it is charged
  uint32_t spare_count;
  Flight flights[kMaxFlights];  // oldest first
  CUevent spares[2 * kMaxFlights + 2];
};

Lane g_lanes[kMaxLanes];
Durations g_durations;
uint32_t g_lock;

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

const Events& events() {
  if (!__atomic_load_n(&g_events.complete, __ATOMIC_ACQUIRE)) {
    g_events.create = reinterpret_cast<CUresult (*)(CUevent*, unsigned)>(driver_symbol("cuEventCreate"));
    g_events.record = reinterpret_cast<CUresult (*)(CUevent, CUstream)>(driver_symbol("cuEventRecord"));
    g_events.query = reinterpret_cast<CUresult (*)(CUevent)>(driver_symbol("cuEventQuery"));
    g_events.elapsed =
        reinterpret_cast<CUresult (*)(float*, CUevent, CUevent)>(driver_symbol("cuEventElapsedTime"));
    g_events.capturing = reinterpret_cast<CUresult (*)(CUstream, int*)>(driver_symbol("cuStreamIsCapturing"));
    __atomic_store_n(&g_events.complete, true, __ATOMIC_RELEASE);
  }
  return g_events;
}

Lane* find_lane(uint64_t context) {
  Lane* unused = nullptr;
  for (Lane& lane : g_lanes) {
    if (lane.context == context) return &lane;
    if (lane.context == 0 && !unused) unused = &lane;
  }
  if (unused) unused->context = context;
  return unused;
}

CUevent take_event(Lane& lane) {
  if (lane.spare_count > 0) return lane.spares[--lane.spare_count];
  CUevent event = nullptr;
  return events().create(&event, 0) == CUDA_SUCCESS ? event : nullptr;
}

void keep_event(Lane& lane, CUevent event) {
  if (event && lane.spare_count < sizeof(lane.spares) / sizeof(lane.spares[0]))
    lane.spares[lane.spare_count++] = event;
}

bool elapsed_ns(CUevent from, CUevent to, int64_t& out) {
  float milliseconds = 0;
  if (events().elapsed(&milliseconds, from, to) != CUDA_SUCCESS) return false;
  out = static_cast<int64_t>(static_cast<double>(milliseconds) * 1e6);
  return true;
}

uint64_t trimmed(uint64_t measured_ns, const tw_vgpu_device_usage& shared) {
  const uint64_t trim = tw_vgpu_load(&shared.trim_permille);
  return trim == 0 ? measured_ns : measured_ns * trim / kFullTrim;
}

// What a finished launch is charged. Alone it is what was measured. With others on the device the interval
// holds their kernels too: what was learned is the better figure, and the node's measurement corrects
// whatever error is left.
uint64_t charge_of(uint64_t key, uint64_t measured_ns, const tw_vgpu_device_usage& shared) {
  if (tw_vgpu_load(&shared.shared) == 0) return measured_ns;
  const Duration known = g_durations.find(key);
  return trimmed(known.stable && known.mean_ns < measured_ns ? known.mean_ns : measured_ns, shared);
}

void settle(Lane& lane, const Flight& flight, int device, const tw_vgpu_device_limit& limit) {
  int64_t length = 0, gap = 0;
  if (!elapsed_ns(flight.start, flight.end, length)) return;  // the events are lost with their context
  if (lane.last_end && elapsed_ns(lane.last_end, flight.start, gap) && gap < 0) length += gap;
  const uint64_t measured = length > 0 ? static_cast<uint64_t>(length) : 0;

  tw_vgpu_device_usage& shared = usage()->devices[device];
  const uint64_t charge = charge_of(flight.key, measured, shared);
  g_durations.update(flight.key, measured, tw_vgpu_load(&shared.shared) == 0);
  tw_vgpu_count(&shared.charged_ns, charge);
  bucket_charge(&shared.share_used_until_ns, device_now_ns(),
                static_cast<int64_t>(charge) - static_cast<int64_t>(flight.charged_ns),
                limit.compute_ceiling_permille);

  keep_event(lane, flight.start);
  int64_t later = 1;
  if (lane.last_end && elapsed_ns(lane.last_end, flight.end, later) && later <= 0) {
    keep_event(lane, flight.end);
    return;
  }
  keep_event(lane, lane.last_end);
  lane.last_end = flight.end;
}

void harvest(Lane& lane, int device, const tw_vgpu_device_limit& limit) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < lane.count; ++i) {
    const Flight flight = lane.flights[i];
    if (flight.recorded && events().query(flight.end) != CUDA_ERROR_NOT_READY) {
      settle(lane, flight, device, limit);
    } else {
      lane.flights[kept++] = flight;
    }
  }
  lane.count = kept;
}

// May another launch be queued behind what is in flight?
bool room_in_flight(const Lane& lane, const Duration& duration, const tw_vgpu_device_limit& limit,
                    uint64_t now_ns) {
  if (lane.count == 0) return true;
  if (lane.count == kMaxFlights || duration.mean_ns == 0) return false;
  const uint64_t run_ahead = limit.run_ahead_us ? uint64_t{limit.run_ahead_us} * 1000 : kRunAheadNs;
  uint64_t queued = duration.mean_ns;
  for (uint32_t i = 0; i < lane.count; ++i) {
    const Flight& flight = lane.flights[i];
    if (!flight.learned) return false;
    queued += flight.charged_ns;
  }
  const Flight& oldest = lane.flights[0];
  const bool overdue = now_ns - oldest.since_ns > 4 * oldest.charged_ns + run_ahead;
  return queued <= run_ahead && !overdue;
}

// What the node measured meanwhile; one process of the slice takes it in.
void take_feedback(int device, uint64_t now_ns) {
  const tw_vgpu_feedback& feedback = limits_page()->feedback[device];
  tw_vgpu_device_usage& shared = usage()->devices[device];
  const uint64_t sequence = tw_vgpu_load(&feedback.sequence);
  uint64_t seen = tw_vgpu_load(&shared.feedback_sequence);
  const bool stale = now_ns > tw_vgpu_load(&feedback.stamp_ns) + kFeedbackMaxAgeNs;
  if (stale && tw_vgpu_load(&shared.shared)) tw_vgpu_store(&shared.shared, 0);
  if (stale || sequence == seen) return;
  if (!__atomic_compare_exchange_n(&shared.feedback_sequence, &seen, sequence, false, __ATOMIC_SEQ_CST,
                                   __ATOMIC_SEQ_CST)) {
    return;
  }
  const bool others = tw_vgpu_load(&feedback.others_permille) > kSharedAbovePermille;
  const uint64_t busy = tw_vgpu_load(&feedback.slice_busy_ns), charged = tw_vgpu_load(&shared.charged_ns);
  const uint64_t new_busy = busy - tw_vgpu_load(&shared.settled_slice_busy_ns);
  const uint64_t new_charged = charged - tw_vgpu_load(&shared.settled_charged_ns);
  tw_vgpu_store(&shared.settled_slice_busy_ns, busy);
  tw_vgpu_store(&shared.settled_charged_ns, charged);
  if (others && tw_vgpu_load(&shared.shared) && new_charged >= kLeastChargeToTrimNs) {
    uint64_t trim = tw_vgpu_load(&shared.trim_permille);
    if (trim == 0) trim = kFullTrim;
    // Towards what would have been right, by at most a fifth per period: periods are short and their edges
    // blurred.
    const uint64_t wanted = trim * new_busy / new_charged;
    trim = wanted < trim * 4 / 5 ? trim * 4 / 5 : wanted > trim * 5 / 4 ? trim * 5 / 4 : wanted;
    trim = trim < kLowestTrim ? kLowestTrim : trim > kHighestTrim ? kHighestTrim : trim;
    tw_vgpu_store(&shared.trim_permille, trim);
  }
  tw_vgpu_store(&shared.shared, others ? 1 : 0);
}

// Tells the node that somebody waits for the share.
void note_wait(tw_vgpu_device_usage& shared, uint64_t now_ns) {
  if (now_ns > tw_vgpu_load(&shared.last_wait_ns) + kWaitGapNs) tw_vgpu_store(&shared.want_since_ns, now_ns);
  tw_vgpu_store(&shared.last_wait_ns, now_ns);
}

bool is_capped(const tw_vgpu_device_limit& limit) {
  return limit.compute_ceiling_permille > 0 && limit.compute_ceiling_permille < TW_VGPU_WHOLE;
}

// Puts the launch into the books and the lane. Called with the lock held.
void admit(Ticket& ticket, Lane* lane, const Duration& duration, const tw_vgpu_device_limit& limit,
           uint64_t now_ns) {
  tw_vgpu_device_usage& shared = usage()->devices[ticket.device];
  bucket_charge(&shared.share_used_until_ns, now_ns, static_cast<int64_t>(duration.mean_ns),
                limit.compute_ceiling_permille);
  const bool sampled = !duration.stable || duration.mean_ns >= kSampleBelowNs;
  if (lane && lane->count < kMaxFlights && (sampled || lane->launches++ % kSampleEvery == 0)) {
    ticket.start = take_event(*lane);
    ticket.end = ticket.start ? take_event(*lane) : nullptr;
  }
  if (!ticket.end) {
    ticket.start = nullptr;
    tw_vgpu_count(&shared.charged_ns, duration.mean_ns);
    return;
  }
  ticket.lane = lane->context;
  lane->flights[lane->count++] = {ticket.start, ticket.end, ticket.key,           duration.mean_ns,
                                  now_ns,       false,      duration.mean_ns != 0};
}

// One attempt; otherwise for how long to wait, and whether for the share or for work in flight.
struct Attempt {
  bool admitted = false;
  bool for_flight = false;
  uint64_t wait_ns = 0;
};

Attempt try_admit(Ticket& ticket, const tw_vgpu_device_limit& limit, uint64_t context, uint64_t now_ns,
                  bool ignore_flight) {
  const Locked locked;
  Lane* lane = find_lane(context);
  if (lane) harvest(*lane, ticket.device, limit);
  const Duration duration = g_durations.find(ticket.key);
  if (is_capped(limit)) {
    const uint64_t wait = bucket_wait_ns(&usage()->devices[ticket.device].share_used_until_ns, now_ns);
    if (wait > 0) return {false, false, wait < kLongestSleepNs ? wait : kLongestSleepNs};
    if (lane && !ignore_flight && !room_in_flight(*lane, duration, limit, now_ns))
      return {false, true, kFlightSleepNs};
  }
  admit(ticket, lane, duration, limit, now_ns);
  return {true};
}

}  // namespace

Ticket begin_launch(uint64_t key, CUstream stream) {
  Ticket ticket;
  ticket.key = key;
  ticket.device = page_device_now();
  if (ticket.device == kNotInSlice) {
    count_refusal(0, TW_VGPU_REFUSED_DEVICE);
    ticket.refused = kNotPermitted;
  }
  if (ticket.device < 0) return ticket;
  tw_vgpu_device_usage& shared = usage()->devices[ticket.device];
  tw_vgpu_count(&shared.launches, 1);
  int capturing = 0;
  if (events().capturing && events().capturing(stream, &capturing) == CUDA_SUCCESS && capturing) {
    tw_vgpu_count(&shared.captured_launches, 1);
    return ticket;
  }
  const uint64_t context = current_context();
  uint64_t flight_wait_ns = 0;
  while (true) {
    uint32_t set_flags = 0;
    const tw_vgpu_device_limit limit = device_limit(static_cast<uint32_t>(ticket.device), &set_flags);
    const uint64_t now = device_now_ns();
    if ((limit.flags | set_flags) & TW_VGPU_FLAG_PAUSED) {
      device_sleep_ns(kPausedSleepNs);
      tw_vgpu_count(&shared.paused_ns, device_now_ns() - now);
      continue;
    }
    take_feedback(ticket.device, now);
    const Attempt attempt = try_admit(ticket, limit, context, now, flight_wait_ns > kInFlightWaitNs);
    if (attempt.admitted) {
      tw_vgpu_store(&shared.last_launch_ns, now);
      break;
    }
    if (!attempt.for_flight) note_wait(shared, now);
    device_sleep_ns(attempt.wait_ns);
    const uint64_t waited = device_now_ns() - now;
    if (attempt.for_flight) flight_wait_ns += waited;
    tw_vgpu_count(&shared.throttled_ns, waited);
  }
  if (ticket.start) events().record(ticket.start, stream);
  return ticket;
}

void end_launch(const Ticket& ticket, CUstream stream, bool launched) {
  if (!ticket.start) return;
  const bool recorded = launched && events().record(ticket.end, stream) == CUDA_SUCCESS;
  const Locked locked;
  Lane* lane = find_lane(ticket.lane);
  for (uint32_t i = 0; lane && i < lane->count; ++i) {
    if (lane->flights[i].start != ticket.start) continue;
    lane->flights[i].recorded = true;
    if (recorded) return;
    // The driver refused the launch: nothing runs, so nothing is charged.
    const Flight flight = lane->flights[i];
    memmove(&lane->flights[i], &lane->flights[i + 1], (lane->count - i - 1) * sizeof(Flight));
    --lane->count;
    const tw_vgpu_device_limit limit = device_limit(static_cast<uint32_t>(ticket.device), nullptr);
    bucket_charge(&usage()->devices[ticket.device].share_used_until_ns, device_now_ns(),
                  -static_cast<int64_t>(flight.charged_ns), limit.compute_ceiling_permille);
    keep_event(*lane, flight.start);
    keep_event(*lane, flight.end);
    return;
  }
}

void forget_launches_of(uint64_t context) {
  const Locked locked;
  for (Lane& lane : g_lanes) {
    if (lane.context == context && context != 0) memset(&lane, 0, sizeof(lane));
  }
}

void forget_launches() {
  memset(g_lanes, 0, sizeof(g_lanes));
  g_lock = 0;
}

}  // namespace tweendeck::vgpu
