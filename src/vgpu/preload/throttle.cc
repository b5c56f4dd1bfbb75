#include "vgpu/preload/throttle.h"

#include "vgpu/bucket.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/clock.h"
#include "vgpu/preload/records.h"
#include "vgpu/preload/share.h"
#include "vgpu/preload/tenant.h"
#include "vgpu/preload/turn.h"
#include "vgpu/trim.h"

namespace tweendeck::vgpu {
namespace {

constexpr uint64_t kPausedSleepNs = 1'000'000;
constexpr uint64_t kLeastSleepNs = 200'000;  // for the share; what accrues meanwhile is not lost
constexpr uint64_t kShareSleepDivisor = 8;
// For work that should be done by now: at least so long, and a part of the time that was waited already.
constexpr uint64_t kFlightSleepNs = 20'000, kMostLateSleepNs = 500'000, kLateSleepDivisor = 32;
constexpr uint64_t kWaitGapNs = 10'000'000;  // a wait this long after the last is a new one
constexpr uint32_t kLeaseOfRunAhead = 2;     // a lease is at most this part of the run-ahead

uint32_t g_captures;

// While a capture is open somewhere, the driver refuses (and spoils the capture for) calls like asking for an event,
// unless the thread says that it knows what it does.
class InSpiteOfCaptures {
 public:
  InSpiteOfCaptures() {
    if (__atomic_load_n(&g_captures, __ATOMIC_RELAXED) == 0) return;
    exchange_ = reinterpret_cast<Exchange*>(driver_symbol("cuThreadExchangeStreamCaptureMode"));
    if (exchange_ && exchange_(&mode_) != CUDA_SUCCESS) exchange_ = nullptr;
  }
  ~InSpiteOfCaptures() {
    if (exchange_) exchange_(&mode_);
  }
  InSpiteOfCaptures(const InSpiteOfCaptures&) = delete;
  InSpiteOfCaptures& operator=(const InSpiteOfCaptures&) = delete;

 private:
  using Exchange = CUresult(int*);
  Exchange* exchange_ = nullptr;
  int mode_ = 2;  // CU_STREAM_CAPTURE_MODE_RELAXED
};

uint64_t key_of(const Shape& shape) {
  const uint64_t words[] = {shape.handle, uint64_t{shape.gx} << 32 | shape.gy,
                            uint64_t{shape.gz} << 32 | shape.bx, uint64_t{shape.by} << 32 | shape.bz};
  return duration_key(words, 4);
}

// The thread's lease holds and pays for the launch too: all that was missing is that the thread knows the
// kernel.
bool spend_anew(Record& record, const Shape& shape, CUstream stream, const Duration& duration, int device) {
  if (!duration.cost || device != record.device) return false;
  record.place(shape) = {shape, duration.cost};
  return spend(shape, stream, Form::Legacy);
}

// Tells the node that somebody waits for the share.
void note_wait(tw_vgpu_device_usage& shared, uint64_t now_ns) {
  if (now_ns > tw_vgpu_load(&shared.last_wait_ns) + kWaitGapNs) tw_vgpu_store(&shared.want_since_ns, now_ns);
  tw_vgpu_store(&shared.last_wait_ns, now_ns);
}

// One slow launch on its way.
struct Attempt {
  Record& record;
  Lane* lane;
  uint32_t device;
  uint64_t key;
  CUstream stream;
  uint64_t user;
  uint64_t flight_wait_ns = 0;
  uint64_t share_wait_ns = 0;
  uint64_t turn = 0;
  uint64_t grant_ns = 0;
  bool peers = false;
  bool mixed = false;  // the lease before went to several streams
  Duration duration{};
};

// Puts a fence behind what the thread launched unmeasured, so that it can be settled and the next lease be
// bounded.
void fence(Attempt& attempt) {
  Record& record = attempt.record;
  attempt.mixed = record.several_streams;
  if (record.granted_ns == 0) return;
  Lane* lane = attempt.lane;
  const bool same = lane && record.context == lane->context && record.serial == lane->serial &&
                    record.device == static_cast<int>(attempt.device) && record.stream == attempt.stream;
  const uint16_t end = same ? take_event(*lane) : kNoEvent;
  if (end == kNoEvent) return settle_unfenced(record, device_now_ns());
  Flight flight;
  flight.unmeasured_ns = record.granted_ns;
  flight.taken_ns = record.limited ? record.granted_ns * record.trim / kFullTrim : 0;
  flight.since_ns = device_now_ns();
  flight.exclusive = !record.several_streams && record.marker != kNoEvent;
  flight.backlogged = flight.exclusive && is_pending(*lane, record.marker);
  flight.recorded = record_event(*lane, end, attempt.stream);
  flight.before = record.marker;
  flight.end = end;
  uint64_t id = 0;
  if (!flight.recorded || !add_flight(*lane, flight, attempt.user, id, record.epoch_of_marker)) {
    drop_event(*lane, end);
    return settle_unfenced(record, flight.since_ns);
  }
  record.granted_ns = 0;
  record.marker = share_event(*lane, end);
}

uint64_t sleep_from(uint64_t now_ns, uint64_t ns) {
  device_sleep_ns(ns);
  return device_now_ns() - now_ns;
}

uint64_t between(uint64_t least, uint64_t value, uint64_t most) {
  return value < least ? least : value > most ? most : value;
}

// How much GPU time may be queued on top of what is in flight; 0 = none now.
uint64_t room(const Attempt& attempt, const Share& share, const InFlight& flying, uint64_t peers_ns,
              uint64_t now_ns) {
  const uint64_t unit = attempt.duration.mean_ns;
  if (flying.count == 0 && peers_ns == 0) return share.run_ahead_ns > unit ? share.run_ahead_ns : unit;
  if (flying.full) return 0;
  const bool overdue =
      attempt.flight_wait_ns > kInFlightWaitNs && now_ns - flying.oldest_since_ns > 4 * flying.oldest_work_ns;
  if (overdue) return unit ? unit : 1;
  if (unit == 0 || flying.unlearned) return 0;
  const uint64_t queued = flying.work_ns + peers_ns;
  return queued + unit <= share.run_ahead_ns ? share.run_ahead_ns - queued : 0;
}

// How long to sleep before there may be room: until what is in flight should be done, or what is too much of it.
uint64_t sleep_for_room(const Attempt& attempt, const Share& share, const InFlight& flying, uint64_t peers_ns,
                        uint64_t now_ns) {
  const uint64_t queued = flying.work_ns + peers_ns, unit = attempt.duration.mean_ns;
  if (unit != 0 && !flying.unlearned && unit <= share.run_ahead_ns && queued > 0) {
    const uint64_t excess = queued + unit > share.run_ahead_ns ? queued + unit - share.run_ahead_ns : 0;
    return between(kFlightSleepNs, excess / 2, kLongestSleepNs);
  }
  const uint64_t until = flying.until_ns > now_ns + peers_ns ? flying.until_ns : now_ns + peers_ns;
  if (until > now_ns) return between(kFlightSleepNs, until - now_ns, kLongestSleepNs);
  return between(kFlightSleepNs, attempt.flight_wait_ns / kLateSleepDivisor, kMostLateSleepNs);
}

// Waits until nothing forbids to launch: pause, higher classes.
bool held(const Share& share, tw_vgpu_device_usage& shared, uint64_t now_ns, uint64_t& yielded_ns) {
  if (share.paused) {
    tw_vgpu_count(&shared.paused_ns, sleep_from(now_ns, kPausedSleepNs));
    return true;
  }
  if (share.yield_until_ns <= now_ns || yielded_ns >= TW_VGPU_YIELD_MAX_NS) return false;
  const uint64_t waited = sleep_from(now_ns, between(1, share.yield_until_ns - now_ns, kLongestSleepNs));
  yielded_ns += waited;
  tw_vgpu_count(&shared.yielded_ns, waited);
  note_wait(shared, now_ns);
  return true;
}

// One try to get a grant; sleeps when there is none.
bool try_grant(Attempt& attempt, const Share& share, const InFlight& flying, tw_vgpu_device_usage& shared,
               uint64_t now_ns) {
  uint64_t* bucket = &shared.share_used_until_ns;
  bucket_rescale(bucket, &shared.share_permille, now_ns, share.permille);
  if (const uint64_t wait = bucket_wait_ns(bucket, now_ns)) {
    note_wait(shared, now_ns);
    // Where many wait for little at a time, who has not had its turn asks less often, and then gets more.
    const uint64_t turn_ns = attempt.share_wait_ns / kShareSleepDivisor;
    const uint64_t slept =
        sleep_from(now_ns, between(kLeastSleepNs, wait < kLeastSleepNs ? turn_ns : wait, kLongestSleepNs));
    attempt.share_wait_ns += slept;
    tw_vgpu_count(&shared.throttled_ns, slept);
    return false;
  }
  const uint64_t peers = peers_queued_ns(attempt.device, now_ns);
  const uint64_t most =
      peer_has_turn(attempt.device, now_ns) ? 0 : room(attempt, share, flying, peers, now_ns);
  const uint64_t unit = attempt.duration.mean_ns;
  if (most > 0 && unit == 0 && attempt.turn == 0) attempt.turn = take_turn(attempt.device, now_ns);
  if (most == 0 || (unit == 0 && attempt.turn == 0 && attempt.flight_wait_ns <= TW_VGPU_TURN_MAX_NS)) {
    const uint64_t sleep_ns = sleep_for_room(attempt, share, flying, peers, now_ns);
    // Whatever was expected of it, it is still there.
    uint64_t* until = &usage()->books[attempt.device][books().slot()].queued_until_ns;
    if (flying.count > 0 && tw_vgpu_load(until) < now_ns + sleep_ns) tw_vgpu_store(until, now_ns + sleep_ns);
    attempt.flight_wait_ns += sleep_from(now_ns, sleep_ns);
    return false;
  }
  // Sizes vary, so that no kernel of a repeating sequence is always or never the measured one.
  attempt.record.random = attempt.record.random * 1664525u + 1013904223u;
  const uint64_t full = share.run_ahead_ns / kLeaseOfRunAhead;
  const uint64_t lease =
      (full - full / 4 + (attempt.record.random >> 16) % (full / 4 + 1)) / launching_threads();
  const uint64_t wanted = attempt.duration.unmeasured == 0 ? unit : unit + lease;
  const uint64_t trim = alone_since(attempt.device, now_ns) ? kFullTrim : trim_of(shared);
  const BucketGrant grant =
      bucket_take(bucket, now_ns, credit_ns(attempt.device, now_ns), unit * trim / kFullTrim,
                  (wanted < most ? wanted : most) * trim / kFullTrim, share.permille);
  if (!grant.granted) return false;
  attempt.record.trim = trim;
  attempt.peers = peers > 0;
  attempt.grant_ns = grant.gpu_ns * kFullTrim / trim;
  if (attempt.grant_ns < unit) attempt.grant_ns = unit;
  tw_vgpu_store(&usage()->books[attempt.device][books().slot()].queued_until_ns,
                now_ns + flying.work_ns + attempt.grant_ns);
  return true;
}

// Waits for a grant. Without a limit there is nothing to wait for but a pause.
void get_grant(Attempt& attempt) {
  tw_vgpu_device_usage& shared = usage()->devices[attempt.device];
  uint64_t yielded_ns = 0;
  while (true) {
    const uint64_t now = device_now_ns();
    const Share share = share_of(attempt.device, now);
    if (held(share, shared, now, yielded_ns)) continue;
    if (attempt.lane) harvest(*attempt.lane);
    const InFlight flying = attempt.lane ? in_flight(*attempt.lane) : InFlight{};
    follow_node(attempt.device, now, share, flying.done_ns(now));
    attempt.duration = g_durations.find(attempt.key);
    attempt.record.limited = share.limited;
    if (!share.limited) {
      attempt.record.trim = kFullTrim;
      attempt.grant_ns = attempt.duration.mean_ns + share.run_ahead_ns / kLeaseOfRunAhead;
    } else if (!try_grant(attempt, share, flying, shared, now)) {
      continue;
    }
    tw_vgpu_store(&shared.last_launch_ns, now);
    return;
  }
}

void fill_lease(Attempt& attempt, uint64_t generation, uint32_t epoch) {
  Record& record = attempt.record;
  const uint64_t unit = attempt.duration.mean_ns;
  record.device = static_cast<int>(attempt.device);
  record.stream = attempt.stream;
  record.several_streams = false;
  record.granted_ns = attempt.grant_ns - unit;
  if (record.granted_ns > kMostCostNs) record.granted_ns = kMostCostNs;
  record.granted_launches = __atomic_load_n(&g_captures, __ATOMIC_RELAXED) ? 0 : attempt.duration.unmeasured;
  record.left = cost_word(record.granted_ns, record.granted_launches);
  __atomic_store_n(&record.generation, generation, __ATOMIC_SEQ_CST);
  // Leases may have been ended meanwhile.
  if (lease_epoch() != epoch) record.generation = Lease::kNoGeneration;
}

// Books the launch itself as a flight.
void take_off(Attempt& attempt, Ticket& ticket) {
  Lane* lane = attempt.lane;
  Record& record = attempt.record;
  tw_vgpu_count(&usage()->devices[attempt.device].launches, 1);
  const uint64_t unit = attempt.duration.mean_ns;
  const uint64_t taken = record.limited ? unit * record.trim / kFullTrim : 0;
  const uint16_t start = lane ? take_event(*lane) : kNoEvent;
  const uint16_t end = start != kNoEvent ? take_event(*lane) : kNoEvent;
  if (end != kNoEvent && record_event(*lane, start, attempt.stream)) {
    Flight flight;
    flight.key = attempt.key;
    flight.charged_ns = unit;
    flight.taken_ns = taken;
    flight.since_ns = device_now_ns();
    flight.turn = attempt.turn;
    flight.start = start;
    flight.end = end;
    flight.learned = unit != 0;
    flight.ahead_ns = in_flight(*lane).work_ns;
    flight.peers = attempt.peers;
    flight.exclusive = !attempt.mixed;
    if (add_flight(*lane, flight, attempt.user, ticket.flight, record.epoch_of_marker)) {
      drop_marker(record);
      record.context = lane->context;
      record.serial = lane->serial;
      record.marker = share_event(*lane, end);
      ticket.lane = lane;
      ticket.end = end;
      return;
    }
  }
  // It cannot be measured, so it is what it was expected to be.
  if (end != kNoEvent) drop_event(*lane, end);
  if (start != kNoEvent) drop_event(*lane, start);
  end_turn(attempt.device, attempt.turn);
  settle_charge(attempt.device, device_now_ns(),
                {.taken_ns = taken, .estimated_ns = unit, .alone = record.trim == kFullTrim});
}

}  // namespace

Ticket begin_launch(const Shape& shape, CUstream stream) {
  Ticket ticket;
  const int device = page_device_now();
  if (device == kNotInSlice) {
    count_refusal(0, TW_VGPU_REFUSED_DEVICE);
    ticket.refused = CUDA_ERROR_NOT_PERMITTED;
  }
  if (device < 0) return ticket;
  Record* record = record_of_thread();
  if (!record) {
    ticket.refused = CUDA_ERROR_OUT_OF_MEMORY;
    return ticket;
  }
  const uint64_t key = key_of(shape);
  const uint32_t epoch = lease_epoch();
  const uint64_t generation = tw_vgpu_load(record->generation_word);
  if (is_capturing(stream)) {
    tw_vgpu_count(&usage()->devices[device].launches, 1);
    tw_vgpu_count(&usage()->devices[device].captured_launches, 1);
    return ticket;
  }
  if (spend_anew(*record, shape, stream, g_durations.find(key), device)) return ticket;
  const InSpiteOfCaptures in_spite;
  return_lease(*record, device_now_ns());
  const uint64_t context = current_context();
  const auto on = static_cast<uint32_t>(device);
  Attempt attempt{*record, lane_of(context, on),
                  on,      key,
                  stream,  reinterpret_cast<uint64_t>(record) ^ reinterpret_cast<uint64_t>(stream)};
  fence(attempt);
  get_grant(attempt);
  fill_lease(attempt, generation, epoch);
  if (attempt.duration.cost) record->place(shape) = {shape, attempt.duration.cost};
  take_off(attempt, ticket);
  return ticket;
}

void end_launch(const Ticket& ticket, CUstream stream, bool launched) {
  if (ticket.flight == 0) return;
  if (launched && record_event(*ticket.lane, ticket.end, stream)) {
    mark_recorded(*ticket.lane, ticket.flight);
    return;
  }
  // The driver refused the launch: nothing runs, so nothing is charged.
  Flight flight;
  Lane& lane = *ticket.lane;
  if (!remove_flight(lane, ticket.flight, flight)) return;
  end_turn(lane.device, flight.turn);
  settle_charge(lane.device, device_now_ns(), {.taken_ns = flight.taken_ns});
  drop_event(lane, flight.start);
  drop_event(lane, flight.end);
}

void settle_finished() {
  if (__atomic_load_n(&g_captures, __ATOMIC_RELAXED) == 0) harvest_all();
}

void capture_begins() {
  __atomic_add_fetch(&g_captures, 1, __ATOMIC_RELAXED);
  end_leases();
}
void capture_ends() {
  if (__atomic_load_n(&g_captures, __ATOMIC_RELAXED) > 0)
    __atomic_sub_fetch(&g_captures, 1, __ATOMIC_RELAXED);
}

void graph_changed(CUgraphExec graph) {
  g_durations.doubt(key_of(shape_of(graph)));
}
void graph_gone(CUgraphExec graph) {
  g_durations.forget(key_of(shape_of(graph)));
  end_leases();
}

void forget_launches_of(uint64_t context) {
  forget_lane(context);
  end_leases();
}

void forget_launches() {
  forget_records();
  g_captures = 0;
  forget_lanes();
}

}  // namespace tweendeck::vgpu
