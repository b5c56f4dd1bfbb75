// The launch queue of a card: one kernel at a time, in the order of submission. Time is applied lazily:
// whoever holds the lock brings the card up to `now`; entries know their start and end, so a late advance
// gives the same result as an early one.
#include <algorithm>

#include "softgpu/model/model.h"
#include "softgpu/model/sleep.h"

namespace tweendeck::softgpu {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

uint64_t get(const Word& word) {
  return word.load(kRelaxed);
}

}  // namespace

void Model::advance(uint32_t index, uint64_t now) {
  Card& card = shared_.card(index);
  if (get(card.reschedule) != 0) reschedule(index, now);
  while (true) {
    const uint64_t head = get(card.head);
    const uint64_t sample_at = get(card.next_sample_ns);
    const uint64_t end = head != get(card.tail) ? get(entry(card, head).end_ns) : UINT64_MAX;
    if (end <= std::min(sample_at, now)) {
      retire(index);
    } else if (sample_at <= now) {
      take_sample(index, now);
    } else {
      return;
    }
  }
}

// Books the busy time of the running entry up to `until`.
void Model::account(uint32_t index, const QueueEntry& running, uint64_t until) {
  Card& card = shared_.card(index);
  const uint64_t from = std::max(get(running.start_ns), get(card.accounted_ns));
  if (until <= from) return;
  shared_.add(card.busy_ns, until - from);
  shared_.put(card.accounted_ns, until);
  const uint64_t owner = get(running.owner);
  ClientSlot& client = shared_.header().clients[owner % kMaxClients];
  if (get(client.generation) == owner >> 16) shared_.add(client.cards[index].busy_ns, until - from);
}

void Model::retire(uint32_t index) {
  Card& card = shared_.card(index);
  const QueueEntry& finished = entry(card, get(card.head));
  account(index, finished, get(finished.end_ns));
  shared_.add(card.head, 1);
  shared_.commit();
}

void Model::take_sample(uint32_t index, uint64_t now) {
  Card& card = shared_.card(index);
  const uint64_t at = get(card.next_sample_ns);
  const uint64_t head = get(card.head);
  const uint64_t start = head != get(card.tail) ? get(entry(card, head).start_ns) : UINT64_MAX;
  if (start < at) account(index, entry(card, head), at);
  // The slot that is written here is not among those that readers take, until the count below publishes it.
  Sample& sample = card.samples[get(card.sample_count) % kSampleRing];
  sample.time_ns.store(at, kRelaxed);
  sample.busy_ns.store(get(card.busy_ns), kRelaxed);
  for (uint32_t slot = 0; slot < kMaxClients; ++slot) {
    const ClientSlot& client = shared_.header().clients[slot];
    sample.client_generation[slot].store(get(client.generation), kRelaxed);
    sample.client_busy_ns[slot].store(get(client.cards[index].busy_ns), kRelaxed);
  }
  uint64_t next = at + kSamplePeriodNs;
  // An idle gap becomes one long idle sample.
  if (const uint64_t idle_until = std::min(now, start); idle_until > next) {
    next = idle_until / kSamplePeriodNs * kSamplePeriodNs;
  }
  shared_.put(card.next_sample_ns, next);
  shared_.add(card.sample_count, 1);
  shared_.commit();
}

// Computes starts and ends anew after cancellations. What has started keeps its start. Can be repeated.
void Model::reschedule(uint32_t index, uint64_t now) {
  Card& card = shared_.card(index);
  const uint64_t head = get(card.head);
  uint64_t previous_end = head > 0 ? get(entry(card, head - 1).end_ns) : 0;
  for (uint64_t i = head; i != get(card.tail); ++i) {
    QueueEntry& queued = entry(card, i);
    if (i != head || get(queued.start_ns) > now) {
      const uint64_t start = std::max({previous_end, get(queued.submit_ns), get(queued.not_before_ns)});
      queued.start_ns.store(start, std::memory_order_release);
    }
    previous_end = get(queued.start_ns) + get(queued.duration_ns);
    queued.end_ns.store(previous_end, std::memory_order_release);
  }
  card.reschedule.store(0, std::memory_order_release);
}

// A dead client's running kernel stops now; what it has queued takes no time.
void Model::cancel_entries(uint32_t index, uint64_t owner, uint64_t now) {
  Card& card = shared_.card(index);
  advance(index, now);
  card.reschedule.store(1, std::memory_order_release);
  for (uint64_t i = get(card.head); i != get(card.tail); ++i) {
    QueueEntry& queued = entry(card, i);
    if (get(queued.owner) != owner) continue;
    const uint64_t start = get(queued.start_ns);
    const uint64_t ran = i == get(card.head) && start < now ? now - start : 0;
    queued.duration_ns.store(std::min(ran, get(queued.duration_ns)), std::memory_order_release);
  }
  reschedule(index, now);
}

uint64_t Client::submit(uint32_t index, const Work& work, uint64_t* end_ns) {
  Card& card = model_.shared_.card(index);
  while (true) {
    uint64_t room_at = 0;
    {
      Locked locked(model_.shared_);
      const uint64_t now = model_.now();
      model_.advance(index, now);
      const uint64_t tail = get(card.tail);
      if (tail - get(card.head) < kQueueDepth) {
        const uint64_t previous_end = tail > 0 ? get(model_.entry(card, tail - 1).end_ns) : 0;
        const uint64_t start = std::max({now, previous_end, work.not_before_ns});
        QueueEntry& queued = model_.entry(card, tail);
        queued.owner.store(owner(), kRelaxed);
        queued.submit_ns.store(now, kRelaxed);
        queued.not_before_ns.store(work.not_before_ns, kRelaxed);
        queued.duration_ns.store(work.duration_ns, kRelaxed);
        queued.start_ns.store(start, kRelaxed);
        queued.end_ns.store(start + work.duration_ns, kRelaxed);
        card.tail.store(tail + 1, std::memory_order_release);
        Word& launches = self().cards[index].launches;
        launches.store(get(launches) + 1, kRelaxed);
        if (end_ns != nullptr) *end_ns = start + work.duration_ns;
        return tail + 1;
      }
      room_at = get(model_.entry(card, get(card.head)).end_ns);
    }
    if (model_.clock_mode() == ClockMode::Virtual) {
      block(WaitKind::Space, index, 0);
    } else if (!sleep_real(room_at, kReclaimPeriodNs)) {
      model_.reclaim_dead();
    }
  }
}

bool Client::done_locked(uint32_t index, uint64_t ticket) const {
  model_.advance(index, model_.now());
  return model_.shared_.card(index).head.load(kRelaxed) >= ticket;
}

bool Client::is_done(uint32_t index, uint64_t ticket) {
  if (model_.shared_.card(index).head.load(std::memory_order_acquire) >= ticket) return true;
  {
    Locked locked(model_.shared_);
    if (done_locked(index, ticket)) return true;
  }
  if (model_.clock_mode() == ClockMode::Virtual) sleep_until(model_.now() + kPollNs);
  return false;
}

void Client::wait_done(uint32_t index, uint64_t ticket) {
  Card& card = model_.shared_.card(index);
  while (card.head.load(std::memory_order_acquire) < ticket) {
    if (model_.clock_mode() == ClockMode::Virtual) {
      block(WaitKind::Done, index, ticket);
      continue;
    }
    uint64_t end = 0;
    {
      Locked locked(model_.shared_);
      if (done_locked(index, ticket)) return;
      end = get(model_.entry(card, ticket - 1).end_ns);
    }
    if (!sleep_real(end, kReclaimPeriodNs)) model_.reclaim_dead();
  }
}

std::optional<uint64_t> Client::end_of(uint32_t index, uint64_t ticket) {
  Locked locked(model_.shared_);
  Card& card = model_.shared_.card(index);
  if (ticket == 0 || get(card.tail) - (ticket - 1) > kQueueRing) return std::nullopt;
  return get(model_.entry(card, ticket - 1).end_ns);
}

}  // namespace tweendeck::softgpu
