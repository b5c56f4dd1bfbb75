// What an observer sees of a card: memory and busy time per process, utilisation of the newest sample.
#include <algorithm>

#include "softgpu/model/model.h"

namespace tweendeck::softgpu {
namespace {

// Two neighbouring samples; their difference is one sampling window.
struct Window {
  const Sample* older = nullptr;
  const Sample* newer = nullptr;

  uint32_t percent(uint64_t busy_ns) const {
    const uint64_t length = get(newer->time_ns) - get(older->time_ns);
    if (length == 0) return 0;
    return static_cast<uint32_t>(std::min<uint64_t>((busy_ns * 100 + length / 2) / length, 100));
  }
  uint32_t card_percent() const {
    return newer == nullptr ? 0 : percent(get(newer->busy_ns) - get(older->busy_ns));
  }
  uint32_t client_percent(uint32_t slot, uint64_t generation) const {
    if (newer == nullptr || get(newer->client_generation[slot]) != generation) return 0;
    const bool same = get(older->client_generation[slot]) == generation;
    return percent(get(newer->client_busy_ns[slot]) - (same ? get(older->client_busy_ns[slot]) : 0));
  }
};

Window newest_window(const Card& card) {
  const uint64_t count = get(card.sample_count);
  if (count < 2) return {};
  return {&card.samples[(count - 2) % kSampleRing], &card.samples[(count - 1) % kSampleRing]};
}

// Busy time up to `at`, with the interval that has not ended.
uint64_t busy_until(const auto& user, const Word& running, uint64_t at) {
  return get(user.busy_ns) + (get(running) > 0 ? at - get(user.busy_since_ns) : 0);
}

}  // namespace

// `idle_until`: nothing runs before, unless something runs now.
void Model::take_sample(uint32_t index, uint64_t at, uint64_t idle_until) {
  Card& card = shared_.card(index);
  // The slot that is written here is not among those that readers take, until the count below publishes it.
  Sample& sample = card.samples[get(card.sample_count) % kSampleRing];
  sample.time_ns.store(at, std::memory_order_relaxed);
  sample.busy_ns.store(busy_until(card, card.running_count, at), std::memory_order_relaxed);
  for (uint32_t slot = 0; slot < kMaxClients; ++slot) {
    const ClientSlot& client = shared_.header().clients[slot];
    const ClientCard& use = client.cards[index];
    sample.client_generation[slot].store(get(client.generation), std::memory_order_relaxed);
    sample.client_busy_ns[slot].store(busy_until(use, use.running, at), std::memory_order_relaxed);
  }
  uint64_t next = at + kSamplePeriodNs;
  // An idle gap becomes one long idle sample.
  if (get(card.running_count) == 0 && idle_until > next) {
    next = idle_until / kSamplePeriodNs * kSamplePeriodNs;
  }
  shared_.put(card.next_sample_ns, next);
  shared_.add(card.sample_count, 1);
  shared_.commit();
}

CardUsage Model::usage(uint32_t index) {
  reclaim_dead();
  Locked locked(shared_);
  const uint64_t at = now();
  advance(index, at);
  Card& card = shared_.card(index);
  const Window window = newest_window(card);
  CardUsage usage;
  usage.used_bytes = get(card.used_bytes);
  usage.busy_ns = busy_until(card, card.running_count, at);
  usage.queued = static_cast<uint32_t>(get(card.queued));
  usage.sm_percent = window.card_percent();
  usage.sample_time_ns = window.newer == nullptr ? 0 : get(window.newer->time_ns);
  for (uint32_t slot = 0; slot < clients().size(); ++slot) {
    const ClientSlot& client = shared_.header().clients[slot];
    const ClientCard& use = client.cards[index];
    if (get(client.state) != static_cast<uint64_t>(ClientState::Live)) continue;
    if (get(use.contexts) == 0 && get(use.memory_bytes) == 0) continue;
    const uint64_t generation = get(client.generation);
    ProcessUsage process{.slot = slot,
                         .generation = generation,
                         .pid = get(client.pid),
                         .start_ticks = get(client.start_ticks),
                         .name = {client.name, std::find(client.name, std::end(client.name), '\0')},
                         .memory_bytes = get(use.memory_bytes),
                         .peak_memory_bytes = get(use.peak_memory_bytes),
                         .contexts = get(use.contexts),
                         .busy_ns = busy_until(use, use.running, at),
                         .launches = get(use.launches),
                         .queued = static_cast<uint32_t>(get(use.queued)),
                         .sm_percent = window.client_percent(slot, generation)};
    usage.processes.push_back(std::move(process));
  }
  return usage;
}

}  // namespace tweendeck::softgpu
