// What is queued on a card: each process has lists of entries (connections) that run in order. What runs when
// is schedule.cc's. All of Model here: the lock is held.
#include <algorithm>
#include <vector>

#include "softgpu/model/model.h"
#include "softgpu/model/sleep.h"

namespace tweendeck::softgpu {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kDone = static_cast<uint64_t>(EntryState::Done);
constexpr auto kQueued = static_cast<uint64_t>(EntryState::Queued);
constexpr auto kRunning = static_cast<uint64_t>(EntryState::Running);

// Real clock: a waiter whose work could have ended already looks again after so long at the earliest.
constexpr uint64_t kLookAgainNs = 50'000;

}  // namespace

bool Model::has_room(uint32_t index, uint32_t slot) const {
  const Card& card = shared_.card(index);
  if (execution(index) == Execution::Fifo) return get(card.queued) < kQueueDepth;
  return get(shared_.header().clients[slot].cards[index].queued) < kQueueDepth &&
         get(card.queued) < kPoolEntries;
}

uint64_t Model::enqueue(uint32_t index, uint32_t slot, const Work& work, uint64_t now) {
  Card& card = shared_.card(index);
  ClientSlot& client = shared_.header().clients[slot];
  ClientCard& mine = client.cards[index];
  const bool overlapping = execution(index) == Execution::Overlapping;
  const uint64_t lane = overlapping ? work.stream % kConnections : 0;
  Connection& connection = mine.connections[lane];
  const bool fresh = get(card.entries_used) < kPoolEntries;
  const uint64_t position = fresh ? get(card.entries_used) : get(card.free_first) - 1;
  const uint64_t ticket = (get(card.sequence) + 1) << kPoolBits | position;
  Word& planned = execution(index) == Execution::Fifo ? card.planned_ns : connection.planned_ns;
  const uint64_t end = std::max({now, get(planned), work.not_before_ns}) + work.duration_ns;
  const uint32_t all_sms = card.info.sm_count;
  const uint64_t sms = work.duration_ns == 0 ? 0 : work.sms == 0 ? all_sms : std::min(work.sms, all_sms);

  QueueEntry& queued = card.entries[position];
  const uint64_t next_free = get(queued.next);
  // From the first store on, who asks for the old ticket learns that it is done.
  queued.ticket.store(ticket, std::memory_order_release);
  queued.owner.store(slot | get(client.generation) << 16, kRelaxed);
  queued.connection.store(lane, kRelaxed);
  queued.sms.store(sms, kRelaxed);
  queued.not_before_ns.store(work.not_before_ns, kRelaxed);
  queued.after.store(work.after, kRelaxed);
  queued.remaining_ns.store(work.duration_ns, kRelaxed);
  queued.end_ns.store(end, kRelaxed);

  const bool first = get(connection.first) == 0;
  if (fresh) {
    shared_.put(card.entries_used, position + 1);
  } else {
    shared_.put(card.free_first, next_free);
    if (next_free == 0) shared_.put(card.free_last, 0);
  }
  shared_.put(queued.state, kQueued);
  shared_.put(queued.next, 0);
  shared_.put(first ? connection.first : card.entries[get(connection.last) - 1].next, position + 1);
  shared_.put(connection.last, position + 1);
  if (get(mine.queued) == 0) {
    Word& active = card.active[slot / 64];
    shared_.put(active, get(active) | 1ull << slot % 64);
  }
  shared_.add(mine.queued, 1);
  shared_.add(card.queued, 1);
  shared_.add(card.sequence, 1);
  shared_.put(planned, end);
  if (work.not_before_ns != 0) shared_.add(card.delayed, 1);
  if (first && (overlapping || get(card.running_count) == 0)) shared_.put(card.choose_ns, now + 1);
  shared_.commit();
  mine.launches.store(get(mine.launches) + 1, kRelaxed);
  return ticket;
}

// The first entry of a connection is done: it has finished, or was cancelled.
void Model::remove_first(uint32_t index, uint32_t slot, uint32_t lane, uint64_t at) {
  Card& card = shared_.card(index);
  ClientCard& client = shared_.header().clients[slot].cards[index];
  Connection& connection = client.connections[lane];
  const uint64_t position = get(connection.first) - 1;
  QueueEntry& done = card.entries[position];
  if (get(done.state) == kRunning) stop(index, done, at);
  if (get(done.not_before_ns) != 0) shared_.add(card.delayed, UINT64_MAX);  // minus one
  shared_.put(connection.first, get(done.next));
  if (get(done.next) == 0) shared_.put(connection.last, 0);
  shared_.add(client.queued, UINT64_MAX);
  if (get(client.queued) == 0) {
    Word& active = card.active[slot / 64];
    shared_.put(active, get(active) & ~(1ull << slot % 64));
  }
  shared_.add(card.queued, UINT64_MAX);
  shared_.put(done.next, 0);
  shared_.put(done.end_ns, at);
  shared_.put(done.state, kDone);
  shared_.put(get(card.free_last) == 0 ? card.free_first : card.entries[get(card.free_last) - 1].next,
              position + 1);
  shared_.put(card.free_last, position + 1);
  shared_.put(card.choose_ns, at + 1);
  shared_.commit();
}

// A dead client's running kernels stop now; what it has queued takes no time. Can be repeated.
void Model::cancel_entries(uint32_t index, uint32_t slot, uint64_t now) {
  advance(index, now);
  for (uint32_t lane = 0; lane < kConnections; ++lane) {
    const Connection& connection = shared_.header().clients[slot].cards[index].connections[lane];
    while (get(connection.first) != 0) remove_first(index, slot, lane, now);
  }
  advance(index, now);
  if (execution(index) == Execution::Fifo) plan_again(index, now);
}

// When the entries of a FIFO card will end, anew.
void Model::plan_again(uint32_t index, uint64_t now) {
  Card& card = shared_.card(index);
  std::vector<QueueEntry*> queued;
  for (ClientSlot& client : shared_.header().clients) {
    for (uint64_t at = get(client.cards[index].connections[0].first); at != 0;) {
      queued.push_back(&card.entries[at - 1]);
      at = get(queued.back()->next);
    }
  }
  std::ranges::sort(queued, {}, [](const QueueEntry* entry) { return get(entry->ticket); });
  uint64_t planned = now;
  for (QueueEntry* entry : queued) {
    const bool runs = get(entry->state) == kRunning;
    planned = (runs ? get(entry->resumed_ns) : std::max(planned, get(entry->not_before_ns))) +
              get(entry->remaining_ns);
    entry->end_ns.store(planned, kRelaxed);
  }
  card.planned_ns.store(planned, kRelaxed);
}

uint64_t Client::submit(uint32_t index, const Work& work, uint64_t* end_ns) {
  while (true) {
    uint64_t room_at = 0;
    {
      Locked locked(model_.shared_);
      const uint64_t now = model_.now();
      model_.advance(index, now);
      if (model_.has_room(index, slot_)) {
        const uint64_t ticket = model_.enqueue(index, slot_, work, now);
        model_.advance(index, now);
        if (end_ns != nullptr) *end_ns = get(model_.entry(model_.shared_.card(index), ticket).end_ns);
        return ticket;
      }
      room_at = std::max(model_.next_change(index), now + kLookAgainNs);
    }
    if (model_.clock_mode() == ClockMode::Virtual) {
      block(WaitKind::Space, index, 0);
    } else if (!sleep_real(room_at, kReclaimPeriodNs)) {
      model_.reclaim_dead();
    }
  }
}

bool Model::is_done(Card& card, uint64_t ticket) {
  const QueueEntry& asked = entry(card, ticket);
  return ticket == 0 || asked.ticket.load(std::memory_order_acquire) != ticket ||
         asked.state.load(std::memory_order_acquire) == kDone;
}

bool Client::is_done(uint32_t index, uint64_t ticket) {
  Card& card = model_.shared_.card(index);
  if (model_.is_done(card, ticket)) return true;
  {
    Locked locked(model_.shared_);
    model_.advance(index, model_.now());
    if (model_.is_done(card, ticket)) return true;
  }
  if (model_.clock_mode() == ClockMode::Virtual) sleep_until(model_.now() + kPollNs);
  return false;
}

void Client::wait_done(uint32_t index, uint64_t ticket) {
  Card& card = model_.shared_.card(index);
  while (!model_.is_done(card, ticket)) {
    if (model_.clock_mode() == ClockMode::Virtual) {
      block(WaitKind::Done, index, ticket);
      continue;
    }
    uint64_t look_at = 0;
    {
      Locked locked(model_.shared_);
      const uint64_t now = model_.now();
      model_.advance(index, now);
      if (model_.is_done(card, ticket)) return;
      look_at = get(model_.entry(card, ticket).end_ns);
      if (look_at <= now) look_at = std::max(model_.next_change(index), now + kLookAgainNs);
    }
    if (!sleep_real(look_at, kReclaimPeriodNs)) model_.reclaim_dead();
  }
}

std::optional<uint64_t> Client::end_of(uint32_t index, uint64_t ticket) {
  Locked locked(model_.shared_);
  const QueueEntry& asked = model_.entry(model_.shared_.card(index), ticket);
  if (ticket == 0 || get(asked.ticket) != ticket) return std::nullopt;
  return get(asked.end_ns);
}

}  // namespace tweendeck::softgpu
