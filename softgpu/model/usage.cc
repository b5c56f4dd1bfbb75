// What an observer sees of a card: memory and busy time per process, utilisation of the newest sample.
#include <algorithm>

#include "softgpu/model/model.h"

namespace tweendeck::softgpu {
namespace {

uint64_t get(const Word& word) {
  return word.load(std::memory_order_relaxed);
}

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

}  // namespace

CardUsage Model::usage(uint32_t index) {
  reclaim_dead();
  Locked locked(shared_);
  advance(index, now());
  Card& card = shared_.card(index);
  const Window window = newest_window(card);
  CardUsage usage;
  usage.used_bytes = get(card.used_bytes);
  usage.busy_ns = get(card.busy_ns);
  usage.queued = static_cast<uint32_t>(get(card.tail) - get(card.head));
  usage.sm_percent = window.card_percent();
  usage.sample_time_ns = window.newer == nullptr ? 0 : get(window.newer->time_ns);
  for (uint32_t slot = 0; slot < kMaxClients; ++slot) {
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
                         .busy_ns = get(use.busy_ns),
                         .launches = get(use.launches),
                         .sm_percent = window.client_percent(slot, generation)};
    for (uint64_t i = get(card.head); i != get(card.tail); ++i) {
      if (get(entry(card, i).owner) == (slot | generation << 16)) ++process.queued;
    }
    usage.processes.push_back(std::move(process));
  }
  return usage;
}

}  // namespace tweendeck::softgpu
