// Virtual time: it moves only when every attached client is blocked, and then exactly one waiting thread is
// released at a time. So clients run one after another in an order that depends on nothing but their own
// calls.
#include <algorithm>

#include "softgpu/model/model.h"
#include "softgpu/model/sleep.h"

namespace tweendeck::softgpu {
namespace {

bool is_waiting(const Waiter& waiter) {
  return get(waiter.state) == static_cast<uint64_t>(WaiterState::Waiting);
}

}  // namespace

uint64_t Model::now() const {
  if (clock_mode() == ClockMode::Real) return monotonic_ns();
  return shared_.header().virtual_now_ns.load(std::memory_order_acquire);
}

// A client runs unless all of its threads that take part wait, at least one.
bool Model::anyone_runs() {
  return std::ranges::any_of(clients(), [](const ClientSlot& client) {
    return get(client.state) == static_cast<uint64_t>(ClientState::Live) &&
           (get(client.waiting) == 0 || get(client.waiting) < get(client.threads));
  });
}

bool Model::satisfied(const Waiter& waiter, uint64_t now) {
  Card& card = shared_.card(get(waiter.card) % card_count());
  switch (static_cast<WaitKind>(get(waiter.kind))) {
    case WaitKind::Time:
      return get(waiter.value) <= now;
    case WaitKind::Done:
      return is_done(card, get(waiter.value));
    case WaitKind::Space:
      return has_room(get(waiter.card) % card_count(), get(waiter.client) % kMaxClients);
    case WaitKind::Start:
      return true;
  }
  return true;
}

Waiter* Model::next_ready(uint64_t now) {
  Waiter* best = nullptr;
  for (Waiter& waiter : waiters()) {
    if (!is_waiting(waiter) || !satisfied(waiter, now)) continue;
    if (best == nullptr || get(waiter.serial) < get(best->serial)) best = &waiter;
  }
  return best;
}

// The next moment at which something can become satisfied; UINT64_MAX when there is none.
uint64_t Model::next_event() {
  uint64_t next = UINT64_MAX;
  for (uint32_t i = 0; i < card_count(); ++i) next = std::min(next, next_change(i));
  for (const Waiter& waiter : waiters()) {
    if (is_waiting(waiter) && get(waiter.kind) == static_cast<uint64_t>(WaitKind::Time)) {
      next = std::min(next, get(waiter.value));
    }
  }
  return next;
}

void Model::release(Waiter& waiter) {
  shared_.put(waiter.state, static_cast<uint64_t>(WaiterState::Released));
  shared_.add(shared_.header().clients[get(waiter.client) % kMaxClients].waiting, UINT64_MAX);  // minus one
  shared_.commit();
  shared_.wake_later(&waiter.state);
}

void Model::settle() {
  Header& header = shared_.header();
  if (clock_mode() != ClockMode::Virtual) return;
  if (get(header.started) == 0) {
    const auto live = std::ranges::count_if(clients(), [](const ClientSlot& client) {
      return get(client.state) == static_cast<uint64_t>(ClientState::Live);
    });
    if (static_cast<uint64_t>(live) < header.start_clients) return;
    header.started.store(1, std::memory_order_release);
  }
  while (!anyone_runs()) {
    const uint64_t now = get(header.virtual_now_ns);
    for (uint32_t i = 0; i < card_count(); ++i) advance(i, now);
    if (Waiter* ready = next_ready(now); ready != nullptr) return release(*ready);
    const bool someone_waits = std::ranges::any_of(waiters(), is_waiting);
    const uint64_t next = next_event();
    if (!someone_waits || next == UINT64_MAX) return;
    header.virtual_now_ns.store(std::max(now, next), std::memory_order_release);
  }
}

void Client::block(WaitKind kind, uint32_t card, uint64_t value, std::optional<uint64_t> serial) {
  Shared& shared = model_.shared_;
  Waiter* waiter = nullptr;
  while (waiter == nullptr) {
    {
      Locked locked(shared);
      auto& waiters = shared.header().waiters;
      waiter = std::ranges::find_if(
          waiters, [](const Waiter& w) { return get(w.state) == static_cast<uint64_t>(WaiterState::Free); });
      if (waiter != std::end(waiters)) {
        const auto used = static_cast<uint64_t>(waiter - waiters) + 1;
        if (used > get(shared.header().waiters_bound)) shared.header().waiters_bound.store(used);
        waiter->client.store(slot_, std::memory_order_relaxed);
        waiter->kind.store(static_cast<uint64_t>(kind), std::memory_order_relaxed);
        waiter->card.store(card, std::memory_order_relaxed);
        waiter->value.store(value, std::memory_order_relaxed);
        waiter->serial.store(serial.value_or(get(shared.header().wait_serial)), std::memory_order_relaxed);
        shared.put(waiter->state, static_cast<uint64_t>(WaiterState::Waiting));
        shared.add(self().waiting, 1);
        if (!serial) shared.add(shared.header().wait_serial, 1);
        shared.commit();
        model_.settle();
        // Released at once: nobody sleeps there.
        if (!is_waiting(*waiter)) shared.wake_later(nullptr);
        break;
      }
      waiter = nullptr;
    }
    sleep_real(monotonic_ns() + kReclaimPeriodNs, kReclaimPeriodNs);  // more than kMaxWaiters threads wait
  }
  constexpr auto kWaiting = static_cast<uint64_t>(WaiterState::Waiting);
  while (waiter->state.load(std::memory_order_acquire) == kWaiting) {
    futex_wait(waiter->state, static_cast<uint32_t>(kWaiting), kReclaimPeriodNs);
    if (waiter->state.load(std::memory_order_acquire) != kWaiting) break;
    model_.reclaim_dead();
    Locked locked(shared);
    model_.settle();
  }
  waiter->state.store(static_cast<uint64_t>(WaiterState::Free), std::memory_order_release);
}

void Client::sleep_until(uint64_t time_ns) {
  if (model_.clock_mode() == ClockMode::Virtual) {
    if (time_ns > model_.now()) block(WaitKind::Time, 0, time_ns);
    return;
  }
  while (!sleep_real(time_ns, kReclaimPeriodNs)) {
  }
}

void Client::join_thread() {
  Locked locked(model_.shared_);
  model_.shared_.add(self().threads, 1);
  model_.shared_.commit();
}

void Client::leave_thread() {
  Locked locked(model_.shared_);
  model_.shared_.add(self().threads, UINT64_MAX);
  model_.shared_.commit();
  model_.settle();
}

}  // namespace tweendeck::softgpu
