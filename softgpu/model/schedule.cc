// What runs when on a card, by its execution mode. Time is applied lazily: whoever holds the lock brings the
// card up to `now`, event by event at the events' own times, so a late advance gives the same result as an
// early one. Whenever something changes, choose_ns is set together with it, and what runs from then on is
// chosen at that moment. One step is one transaction. All of this: the lock is held.
#include <algorithm>
#include <bit>

#include "softgpu/model/model.h"

namespace tweendeck::softgpu {
namespace {

constexpr auto kQueued = static_cast<uint64_t>(EntryState::Queued);
constexpr auto kRunning = static_cast<uint64_t>(EntryState::Running);

// Calls visit(slot) for each client that has something queued, in the order of slots from `from` on and
// around.
template <class Visit>
void for_active_clients(const Card& card, uint32_t from, Visit visit) {
  constexpr uint32_t kWords = kMaxClients / 64;
  for (uint32_t step = 0; step <= kWords; ++step) {
    const uint32_t word = (from / 64 + step) % kWords;
    uint64_t bits = get(card.active[word]);
    if (step == 0) bits &= UINT64_MAX << from % 64;
    if (step == kWords) bits &= ~(UINT64_MAX << from % 64);
    for (; bits != 0; bits &= bits - 1) {
      if (visit(word * 64 + static_cast<uint32_t>(std::countr_zero(bits)))) return;
    }
  }
}

}  // namespace

// The end of the kernel that ends first; UINT64_MAX when none runs.
uint64_t Model::next_end(Card& card, QueueEntry** which) {
  uint64_t next = UINT64_MAX;
  for (uint64_t i = 0; i < get(card.running_count); ++i) {
    QueueEntry& running = card.entries[get(card.running[i])];
    const uint64_t end = get(running.resumed_ns) + get(running.remaining_ns);
    if (end >= next) continue;
    next = end;
    *which = &running;
  }
  return next;
}

uint64_t Model::next_slice_end(uint32_t index) const {
  const Card& card = shared_.card(index);
  const bool sliced = execution(index) == Execution::TimeSliced && get(card.running_count) > 0;
  return sliced ? get(card.slice_end_ns) : UINT64_MAX;
}

// The next moment at which a connection's first entry may start that was held back by its not_before_ns.
uint64_t Model::next_delayed(uint32_t index) {
  Card& card = shared_.card(index);
  uint64_t next = UINT64_MAX;
  if (get(card.delayed) == 0) return next;
  for_active_clients(card, 0, [&](uint32_t slot) {
    for (const Connection& connection : shared_.header().clients[slot].cards[index].connections) {
      if (get(connection.first) == 0) continue;
      const uint64_t at = get(card.entries[get(connection.first) - 1].not_before_ns);
      if (at > get(card.chosen_ns)) next = std::min(next, at);
    }
    return false;
  });
  return next;
}

uint64_t Model::next_change(uint32_t index) {
  Card& card = shared_.card(index);
  QueueEntry* ends = nullptr;
  return std::min({next_end(card, &ends), next_slice_end(index), next_delayed(index)});
}

void Model::advance(uint32_t index, uint64_t now) {
  Card& card = shared_.card(index);
  while (true) {
    QueueEntry* ending = nullptr;
    const uint64_t end = next_end(card, &ending);
    // What ends at that moment has ended before the choice is made.
    if (const uint64_t choose = get(card.choose_ns); choose != 0 && end >= choose) {
      start_next(index, choose - 1);
      continue;
    }
    const uint64_t slice_end = next_slice_end(index);
    const uint64_t delayed = next_delayed(index);
    const uint64_t sample = get(card.next_sample_ns);
    const uint64_t next = std::min({end, slice_end, delayed, sample});
    if (next > now) return;
    if (next == end) {
      remove_first(index, get(ending->owner) % kMaxClients, static_cast<uint32_t>(get(ending->connection)),
                   end);
    } else if (next == sample) {
      take_sample(index, sample, std::min({now, end, delayed}));
    } else if (next == slice_end) {
      end_slice(index, slice_end);
    } else {
      shared_.put(card.choose_ns, delayed + 1);
      shared_.commit();
    }
  }
}

// Preempts what runs when another process has something to run; otherwise its slice begins anew.
void Model::end_slice(uint32_t index, uint64_t at) {
  Card& card = shared_.card(index);
  const auto turn = static_cast<uint32_t>(get(card.turn));
  const uint32_t next = next_in_turn(index, turn, at);
  if (next != turn) {
    stop(index, card.entries[get(card.running[0])], at);
    shared_.put(card.choose_ns, at + 1);
  } else {
    shared_.put(card.slice_end_ns, at + shared_.header().slice_ns);
  }
  shared_.commit();
}

// Starts one kernel, or finds that nothing more can start at this moment.
void Model::start_next(uint32_t index, uint64_t at) {
  Card& card = shared_.card(index);
  QueueEntry* chosen = choose(index, at);
  if (chosen != nullptr) start(index, *chosen, at);
  if (chosen == nullptr || execution(index) != Execution::Overlapping) {
    shared_.put(card.choose_ns, 0);
    shared_.put(card.chosen_ns, at);
  }
  shared_.commit();
}

QueueEntry* Model::choose(uint32_t index, uint64_t at) {
  Card& card = shared_.card(index);
  const uint64_t running = get(card.running_count);
  switch (execution(index)) {
    case Execution::Fifo: {
      QueueEntry* next = running > 0 ? nullptr : oldest(index, at, false);
      return next != nullptr && is_ready(card, *next, at) ? next : nullptr;
    }
    case Execution::TimeSliced: {
      if (running > 0) return nullptr;
      auto turn = static_cast<uint32_t>(get(card.turn));
      if (at >= get(card.slice_end_ns) || ready_first(index, turn, 0, at) == nullptr) {
        turn = next_in_turn(index, turn, at);
        if (ready_first(index, turn, 0, at) == nullptr) return nullptr;
        shared_.put(card.turn, turn);
        shared_.put(card.slice_end_ns, at + shared_.header().slice_ns);
      }
      return ready_first(index, turn, 0, at);
    }
    case Execution::Overlapping: {
      // One that does not fit holds back those behind it, so that large kernels get their turn.
      QueueEntry* next = running == kMaxResident ? nullptr : oldest(index, at, true);
      return next != nullptr && get(card.used_sms) + get(next->sms) <= card.info.sm_count ? next : nullptr;
    }
  }
  return nullptr;
}

bool Model::is_ready(Card& card, const QueueEntry& candidate, uint64_t at) {
  const uint64_t after = get(candidate.after);
  return get(candidate.not_before_ns) <= at && (after == 0 || is_done(card, after));
}

// The first entry of a connection when it can start; nullptr otherwise.
QueueEntry* Model::ready_first(uint32_t index, uint32_t slot, uint32_t lane, uint64_t at) {
  Card& card = shared_.card(index);
  const uint64_t first = get(shared_.header().clients[slot].cards[index].connections[lane].first);
  if (first == 0) return nullptr;
  QueueEntry& candidate = card.entries[first - 1];
  return get(candidate.state) == kQueued && is_ready(card, candidate, at) ? &candidate : nullptr;
}

// Of the first entries of all connections the one that was submitted first; of those that can start, or of
// all.
QueueEntry* Model::oldest(uint32_t index, uint64_t at, bool only_ready) {
  Card& card = shared_.card(index);
  const uint32_t lanes = execution(index) == Execution::Overlapping ? kConnections : 1;
  QueueEntry* best = nullptr;
  for_active_clients(card, 0, [&](uint32_t slot) {
    for (uint32_t lane = 0; lane < lanes; ++lane) {
      const uint64_t first = get(shared_.header().clients[slot].cards[index].connections[lane].first);
      if (first == 0) continue;
      QueueEntry& candidate = card.entries[first - 1];
      if (only_ready && ready_first(index, slot, lane, at) == nullptr) continue;
      if (best == nullptr || get(candidate.ticket) < get(best->ticket)) best = &candidate;
    }
    return false;
  });
  return best;
}

// The next client after `turn` that has something to run; `turn` itself when there is no other.
uint32_t Model::next_in_turn(uint32_t index, uint32_t turn, uint64_t at) {
  uint32_t next = turn;
  for_active_clients(shared_.card(index), (turn + 1) % kMaxClients, [&](uint32_t slot) {
    if (ready_first(index, slot, 0, at) == nullptr) return false;
    next = slot;
    return true;
  });
  return next;
}

void Model::start(uint32_t index, QueueEntry& chosen, uint64_t at) {
  Card& card = shared_.card(index);
  ClientCard& client = shared_.header().clients[get(chosen.owner) % kMaxClients].cards[index];
  if (get(chosen.not_before_ns) != 0) {
    shared_.put(chosen.not_before_ns, 0);
    shared_.add(card.delayed, UINT64_MAX);  // minus one
  }
  shared_.put(chosen.state, kRunning);
  shared_.put(chosen.resumed_ns, at);
  shared_.put(chosen.end_ns, at + get(chosen.remaining_ns));
  shared_.put(card.running[get(card.running_count)], static_cast<uint64_t>(&chosen - card.entries));
  if (get(card.running_count) == 0) shared_.put(card.busy_since_ns, at);
  if (get(client.running) == 0) shared_.put(client.busy_since_ns, at);
  shared_.add(card.running_count, 1);
  shared_.add(client.running, 1);
  shared_.add(card.used_sms, get(chosen.sms));
}

void Model::stop(uint32_t index, QueueEntry& stopped, uint64_t at) {
  Card& card = shared_.card(index);
  ClientCard& client = shared_.header().clients[get(stopped.owner) % kMaxClients].cards[index];
  shared_.put(stopped.state, kQueued);
  shared_.add(stopped.remaining_ns, get(stopped.resumed_ns) - at);
  shared_.add(card.running_count, UINT64_MAX);  // minus one
  shared_.add(client.running, UINT64_MAX);
  shared_.add(card.used_sms, 0 - get(stopped.sms));
  const uint64_t last = get(card.running[get(card.running_count)]);
  for (Word& position : card.running) {
    if (get(position) != static_cast<uint64_t>(&stopped - card.entries)) continue;
    shared_.put(position, last);
    break;
  }
  if (get(card.running_count) == 0) shared_.add(card.busy_ns, at - get(card.busy_since_ns));
  if (get(client.running) == 0) shared_.add(client.busy_ns, at - get(client.busy_since_ns));
}

}  // namespace tweendeck::softgpu
