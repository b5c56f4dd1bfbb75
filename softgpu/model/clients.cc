// Who uses the cards: attaching, memory accounting, and reclaiming what dead processes held.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "softgpu/model/model.h"

namespace tweendeck::softgpu {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kFree = static_cast<uint64_t>(ClientState::Free);
constexpr auto kLive = static_cast<uint64_t>(ClientState::Live);
constexpr auto kReclaiming = static_cast<uint64_t>(ClientState::Reclaiming);

struct OwnProcess {
  std::string name = "?";
  uint64_t start_ticks = 0;
};

// /proc/self/stat: "PID (comm) state ppid ..."; comm may hold anything, so fields count from the last ')'.
OwnProcess read_own_process() {
  OwnProcess process;
  char text[1024] = {};
  const int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return process;
  const ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return process;
  const char* open_paren = strchr(text, '(');
  const char* close_paren = strrchr(text, ')');
  if (open_paren == nullptr || close_paren == nullptr || close_paren < open_paren) return process;
  process.name.assign(open_paren + 1, close_paren);
  constexpr int kFieldsToStartTime = 20;  // field 22; the one behind ')' is field 3
  const char* at = close_paren + 1;
  for (int i = 0; i < kFieldsToStartTime && at != nullptr; ++i) at = strchr(at + 1, ' ');
  if (at != nullptr) process.start_ticks = strtoull(at, nullptr, 10);
  return process;
}

void reset(ClientSlot& client) {
  for (ClientCard& card : client.cards) {
    for (Word* word : {&card.memory_bytes, &card.peak_memory_bytes, &card.contexts, &card.launches,
                       &card.busy_ns, &card.busy_since_ns, &card.running, &card.queued}) {
      word->store(0, kRelaxed);
    }
    for (Connection& connection : card.connections) {
      for (Word* word : {&connection.first, &connection.last, &connection.planned_ns})
        word->store(0, kRelaxed);
    }
  }
  client.threads.store(0, kRelaxed);
  client.waiting.store(0, kRelaxed);
}

}  // namespace

std::expected<std::unique_ptr<Model>, std::string> Model::open(const std::string& path) {
  auto shared = Shared::open(path);
  if (!shared) return std::unexpected(shared.error());
  return std::unique_ptr<Model>(new Model(std::move(*shared)));
}

std::expected<std::unique_ptr<Client>, std::string> Model::attach(const AttachOptions& options) {
  const OwnProcess process = read_own_process();
  reclaim_dead();
  std::unique_ptr<Client> client;
  bool before_start = false;
  {
    Locked locked(shared_);
    // Decided together with becoming live: from then on a peer that settles may count this client and start
    // the clock.
    before_start = clock_mode() == ClockMode::Virtual && shared_.header().started.load() == 0;
    for (uint32_t slot = 0; slot < kMaxClients; ++slot) {
      ClientSlot& words = shared_.header().clients[slot];
      if (get(words.state) != kFree) continue;
      const int mark = shared_.take_mark(slot);
      if (mark < 0) continue;
      // Nobody looks at a free slot: all of this is published by its state.
      reset(words);
      words.generation.store(get(words.generation) + 1, kRelaxed);
      words.pid.store(static_cast<uint64_t>(getpid()), kRelaxed);
      words.start_ticks.store(process.start_ticks, kRelaxed);
      words.rank.store(options.rank.value_or(slot), kRelaxed);
      snprintf(words.name, sizeof words.name, "%s",
               (options.name.empty() ? process.name : options.name).c_str());
      client.reset(new Client(*this, slot, get(words.generation), mark));
      if (slot >= get(shared_.header().clients_bound)) shared_.header().clients_bound.store(slot + 1);
      words.state.store(kLive, std::memory_order_release);
      break;
    }
  }
  if (!client) {
    return std::unexpected("the software GPU has no free client slot: " + std::to_string(kMaxClients) +
                           " processes are attached, or no file descriptor is left");
  }
  if (before_start) {
    client->block(WaitKind::Start, 0, 0,
                  std::min<uint64_t>(options.rank.value_or(client->slot()), kMaxClients - 1));
  }
  return client;
}

// Every step can be repeated: a peer that is killed in here leaves the slot in Reclaiming for the next one.
void Model::reclaim(uint32_t slot) {
  ClientSlot& client = shared_.header().clients[slot];
  client.state.store(kReclaiming, std::memory_order_release);
  const uint64_t current = now();
  for (uint32_t i = 0; i < card_count(); ++i) {
    cancel_entries(i, slot, current);
    ClientCard& held = client.cards[i];
    shared_.add(shared_.card(i).used_bytes, 0 - get(held.memory_bytes));
    shared_.put(held.memory_bytes, 0);
    shared_.put(held.contexts, 0);
    shared_.commit();
  }
  for (Waiter& waiter : waiters()) {
    if (get(waiter.client) == slot) waiter.state.store(static_cast<uint64_t>(WaiterState::Free), kRelaxed);
  }
  client.state.store(kFree, std::memory_order_release);
}

void Model::reclaim_dead() {
  for (uint32_t slot = 0; slot < get(shared_.header().clients_bound); ++slot) {
    const ClientSlot& client = shared_.header().clients[slot];
    if (client.state.load(std::memory_order_acquire) == kFree) continue;
    if (shared_.mark_is_held(slot)) continue;
    Locked locked(shared_);
    if (get(client.state) == kFree || shared_.mark_is_held(slot)) continue;
    reclaim(slot);
    settle();
  }
}

uint32_t Model::live_clients() {
  reclaim_dead();
  return static_cast<uint32_t>(
      std::ranges::count_if(clients(), [](const ClientSlot& client) { return get(client.state) == kLive; }));
}

void Client::detach() {
  if (mark_fd_ < 0) return;
  {
    Locked locked(model_.shared_);
    model_.reclaim(slot_);
    model_.settle();
  }
  close(mark_fd_);
  mark_fd_ = -1;
}

void Client::abandon_after_fork() {
  close(mark_fd_);
  mark_fd_ = -1;
}

bool Client::try_reserve(uint32_t index, uint64_t bytes) {
  Shared& shared = model_.shared_;
  Card& card = shared.card(index);
  Locked locked(shared);
  const uint64_t used = get(card.used_bytes);
  if (bytes > card.info.memory_bytes || used > card.info.memory_bytes - bytes) return false;
  ClientCard& mine = self().cards[index];
  const uint64_t memory = get(mine.memory_bytes) + bytes;
  shared.put(card.used_bytes, used + bytes);
  shared.put(mine.memory_bytes, memory);
  if (memory > get(mine.peak_memory_bytes)) shared.put(mine.peak_memory_bytes, memory);
  shared.commit();
  return true;
}

bool Client::reserve(uint32_t card, uint64_t bytes) {
  if (try_reserve(card, bytes)) return true;
  model_.reclaim_dead();
  return try_reserve(card, bytes);
}

void Client::release(uint32_t index, uint64_t bytes) {
  Shared& shared = model_.shared_;
  Locked locked(shared);
  shared.add(shared.card(index).used_bytes, 0 - bytes);
  shared.add(self().cards[index].memory_bytes, 0 - bytes);
  shared.commit();
}

void Client::add_context(uint32_t card) {
  Locked locked(model_.shared_);
  Word& contexts = self().cards[card].contexts;
  contexts.store(get(contexts) + 1, std::memory_order_release);
}

void Client::remove_context(uint32_t card) {
  Locked locked(model_.shared_);
  Word& contexts = self().cards[card].contexts;
  contexts.store(get(contexts) - 1, std::memory_order_release);
}

}  // namespace tweendeck::softgpu
