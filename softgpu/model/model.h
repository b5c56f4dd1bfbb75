// The device model: what the cards of one device-model file do, shared by every process that maps the file.
//
//   auto model = Model::open(path);               // one mapping, observer only
//   auto client = (*model)->attach({...});        // this process now uses the cards
//   uint64_t ticket = client->submit(0, {.duration_ns = 1'000'000});
//   client->wait_done(0, ticket);
//
// Threads: everything is safe from any thread and any process. No call blocks on a process that was killed:
// the lock is robust, changes are rolled back by the next holder, and a dead client's memory and queue
// entries are reclaimed by any peer that waits, attaches, runs out of memory or reads usage. Units: bytes,
// nanoseconds on the model's clock. Errors of opening and attaching are sentences for the user.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "softgpu/model/layout.h"
#include "softgpu/model/shared.h"

namespace tweendeck::softgpu {

// A waiting thread looks for dead peers this often, in wall time.
inline constexpr uint64_t kReclaimPeriodNs = 20'000'000;
// Virtual clock: asking "is it done?" in vain takes this long, so that a polling client does not stop time.
inline constexpr uint64_t kPollNs = 1'000;

// Work of one process runs in order on FIFO and time-sliced cards. On an overlapping card that holds for the
// work of one stream (streams share kConnections queues), and `after` orders work of different ones.
struct Work {
  uint64_t duration_ns = 0;    // 0 = a marker: takes its place in the order and no SMs
  uint64_t not_before_ns = 0;  // for dependencies on other cards
  uint32_t sms = 0;            // overlapping card: SMs that it holds while it runs; 0 = all
  uint64_t stream = 0;
  uint64_t after = 0;  // ticket of this card that must be done first, of any process; 0 = none
};

struct ProcessUsage {
  uint32_t slot = 0;
  uint64_t generation = 0;
  uint64_t pid = 0;
  uint64_t start_ticks = 0;
  std::string name;
  uint64_t memory_bytes = 0;
  uint64_t peak_memory_bytes = 0;
  uint64_t contexts = 0;
  uint64_t busy_ns = 0;
  uint64_t launches = 0;
  uint32_t queued = 0;
  uint32_t sm_percent = 0;  // of the newest sample
};

struct CardUsage {
  uint64_t used_bytes = 0;
  uint64_t busy_ns = 0;
  uint32_t queued = 0;
  uint32_t sm_percent = 0;              // of the newest sample
  uint64_t sample_time_ns = 0;          // 0 = no sample yet
  std::vector<ProcessUsage> processes;  // those with a context or memory here
};

class Client;

class Model {
 public:
  struct AttachOptions {
    std::string name;              // "" = this process's comm
    std::optional<uint64_t> rank;  // order among clients at equal virtual time; default: the slot
  };

  static std::expected<std::unique_ptr<Model>, std::string> open(const std::string& path);

  uint32_t card_count() const { return static_cast<uint32_t>(shared_.header().card_count); }
  const CardInfo& info(uint32_t card) const { return shared_.card(card).info; }
  ClockMode clock_mode() const { return static_cast<ClockMode>(shared_.header().clock_mode); }
  Execution execution(uint32_t card) const { return static_cast<Execution>(info(card).execution); }
  uint64_t now() const;
  uint64_t wall_ns(uint64_t model_ns) const { return model_ns + shared_.header().wall_offset_ns; }

  // Virtual clock with a start barrier: returns only when all expected clients have attached.
  std::expected<std::unique_ptr<Client>, std::string> attach(const AttachOptions& options);

  CardUsage usage(uint32_t card);
  void reclaim_dead();  // frees what killed processes held; costs one system call per live client
  uint32_t live_clients();

  Shared& shared() { return shared_; }  // for tests

 private:
  friend class Client;
  explicit Model(Shared shared) : shared_(std::move(shared)) {}

  // Those that were ever used.
  std::span<ClientSlot> clients() const {
    return std::span(shared_.header().clients).first(get(shared_.header().clients_bound) % (kMaxClients + 1));
  }
  std::span<Waiter> waiters() const {
    return std::span(shared_.header().waiters).first(get(shared_.header().waiters_bound) % (kMaxWaiters + 1));
  }

  // All below: the lock is held.
  // queue.cc
  QueueEntry& entry(Card& card, uint64_t ticket) { return card.entries[ticket % kPoolEntries]; }
  bool has_room(uint32_t card, uint32_t slot) const;
  uint64_t enqueue(uint32_t card, uint32_t slot, const Work& work, uint64_t now);
  void remove_first(uint32_t card, uint32_t slot, uint32_t connection, uint64_t at);
  void cancel_entries(uint32_t card, uint32_t slot, uint64_t now);
  bool is_done(Card& card, uint64_t ticket);  // needs no lock
  void plan_again(uint32_t card, uint64_t now);

  // schedule.cc
  void advance(uint32_t card, uint64_t now);
  void end_slice(uint32_t card, uint64_t at);
  void start_next(uint32_t card, uint64_t at);
  QueueEntry* choose(uint32_t card, uint64_t at);
  bool is_ready(Card& card, const QueueEntry& candidate, uint64_t at);
  QueueEntry* ready_first(uint32_t card, uint32_t slot, uint32_t connection, uint64_t at);
  QueueEntry* oldest(uint32_t card, uint64_t at, bool only_ready);
  uint32_t next_in_turn(uint32_t card, uint32_t turn, uint64_t at);
  void start(uint32_t card, QueueEntry& chosen, uint64_t at);
  void stop(uint32_t card, QueueEntry& stopped, uint64_t at);
  uint64_t next_end(Card& card, QueueEntry** which);
  uint64_t next_slice_end(uint32_t card) const;
  uint64_t next_delayed(uint32_t card);
  uint64_t next_change(
      uint32_t card);  // the next moment at which something ends or may start; UINT64_MAX = none

  // usage.cc
  void take_sample(uint32_t card, uint64_t at, uint64_t idle_until);

  // clients.cc, virtual_clock.cc
  void reclaim(uint32_t slot);
  void settle();
  bool anyone_runs();
  bool satisfied(const Waiter& waiter, uint64_t now);
  Waiter* next_ready(uint64_t now);
  uint64_t next_event();
  void release(Waiter& waiter);

  Shared shared_;
};

// One process's use of the cards; detaches when destroyed.
class Client {
 public:
  ~Client() { detach(); }
  void detach();  // gives everything back; only threads that are already in a call may still be in one
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Memory accounting. reserve() refuses what would pass the card's memory, after reclaiming dead peers.
  bool reserve(uint32_t card, uint64_t bytes);
  void release(uint32_t card, uint64_t bytes);
  void add_context(uint32_t card);
  void remove_context(uint32_t card);

  // Queues work and returns its ticket; waits while the queue is full. Later tickets of a card are greater.
  // `end_ns`: FIFO card: when it will end as things are now (a dead peer's cancelled work only makes it
  // earlier); otherwise the earliest moment at which it can.
  uint64_t submit(uint32_t card, const Work& work, uint64_t* end_ns = nullptr);
  bool is_done(uint32_t card, uint64_t ticket);  // virtual clock: "no" takes kPollNs
  void wait_done(uint32_t card, uint64_t ticket);
  // End of work, finished or as submit() tells it, while its card remembers (kPoolEntries with the queued
  // ones).
  std::optional<uint64_t> end_of(uint32_t card, uint64_t ticket);
  void sleep_until(uint64_t time_ns);

  // Virtual clock: time stands still while a thread that joined neither waits nor has left.
  void join_thread();
  void leave_thread();

  // In a child after fork: gives the child's copy of the owner mark back, so that the parent's death is seen.
  void abandon_after_fork();

  uint32_t slot() const { return slot_; }
  uint64_t owner() const { return slot_ | generation_ << 16; }

 private:
  friend class Model;
  Client(Model& model, uint32_t slot, uint64_t generation, int mark_fd)
      : model_(model), slot_(slot), generation_(generation), mark_fd_(mark_fd) {}
  ClientSlot& self() const { return model_.shared_.header().clients[slot_]; }
  bool try_reserve(uint32_t card, uint64_t bytes);
  void block(WaitKind kind, uint32_t card, uint64_t value, std::optional<uint64_t> serial = std::nullopt);

  Model& model_;
  const uint32_t slot_;
  const uint64_t generation_;
  int mark_fd_;
};

}  // namespace tweendeck::softgpu
