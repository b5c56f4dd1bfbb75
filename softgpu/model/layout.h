// What the device-model file holds: one mmap'ed file that every process of a software GPU shares.
//
// Layout: Header, then `card_count` Cards. Fixed width, native byte order, one layout version; a reader
// refuses any other version. Every mutable field is a 64-bit Word, so that the undo log (model/shared.h) can
// restore it.
//
// Kill safety: all writers hold Header::lock (a robust mutex). A change of several words goes through the
// undo log; whatever is not logged is either written before the one store that publishes it, or can be redone
// (a flag says so). Times are nanoseconds on the model's clock: CLOCK_MONOTONIC (real) or
// Header::virtual_now_ns (virtual).
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tweendeck::softgpu {

inline constexpr uint64_t kMagic = 0x3155504754464f53;  // "SOFTGPU1"
inline constexpr uint64_t kLayoutVersion = 1;

inline constexpr uint32_t kMaxCards = 16;
inline constexpr uint32_t kMaxClients = 256;
inline constexpr uint32_t kMaxWaiters = 1024;  // threads waiting in virtual time
inline constexpr uint32_t kQueueDepth = 1024;  // launches that a card holds before a submitter waits
inline constexpr uint32_t kQueueRing = 4096;  // queued entries plus finished ones whose end can still be read
inline constexpr uint32_t kSampleRing = 64;   // utilisation samples kept: about 10 s
inline constexpr uint32_t kUndoRecords = 32;
inline constexpr uint64_t kSamplePeriodNs =
    166'666'667;  // NVML's sampling period on data-centre cards, 1/6 s

using Word = std::atomic<uint64_t>;
static_assert(Word::is_always_lock_free && sizeof(Word) == 8);

struct UndoRecord {
  Word offset;  // of the changed word from the start of the file
  Word old_value;
};

struct UndoLog {
  Word count;  // 0 = nothing in progress
  UndoRecord records[kUndoRecords];
};

enum class ClockMode : uint64_t { Real = 0, Virtual = 1 };

enum class ClientState : uint64_t { Free = 0, Live = 1, Reclaiming = 2 };

// What one process uses of one card.
struct ClientCard {
  Word memory_bytes;
  Word peak_memory_bytes;
  Word contexts;
  Word busy_ns;   // retired execution time
  Word launches;  // statistic; not exact after a kill
};

// One attached process. It holds a file lock on byte kMarkOffset + slot; a free lock means that it is gone.
struct ClientSlot {
  Word state;  // ClientState
  Word generation;
  Word pid;
  Word start_ticks;  // /proc/PID/stat field 22: tells a reused pid apart
  Word rank;         // order among clients that are ready at the same virtual time
  Word threads;      // threads that take part in virtual time
  Word waiting;      // threads of those that wait
  char name[40];     // the process's comm, NUL-terminated
  ClientCard cards[kMaxCards];
};

enum class WaiterState : uint64_t { Free = 0, Waiting = 1, Released = 2 };
enum class WaitKind : uint64_t { Time = 0, Done = 1, Space = 2, Start = 3 };

// A thread that waits in virtual time. Its futex is the low half of `state`.
struct Waiter {
  Word state;  // WaiterState
  Word client;
  Word kind;    // WaitKind
  Word card;    // Done, Space
  Word value;   // Time: wake-up time; Done: ticket
  Word serial;  // ties are released in this order
};

// One launch. Its ticket is its index in the queue plus one; the ring slot is index % kQueueRing.
struct QueueEntry {
  Word owner;  // slot | generation << 16
  Word submit_ns;
  Word not_before_ns;
  Word duration_ns;
  Word start_ns;
  Word end_ns;
  Word reserved[2];
};

// Cumulative busy time of each client at one moment; differences of neighbours are what NVML reports.
struct Sample {
  Word time_ns;
  Word busy_ns;
  Word client_generation[kMaxClients];
  Word client_busy_ns[kMaxClients];
};

// Never changes after creation.
struct CardInfo {
  char model[32];  // "H100-80G"
  char name[64];   // "Tweendeck Soft H100-80G (simulated)"
  uint8_t uuid[16];
  uint64_t memory_bytes;
  uint32_t sm_count;
  uint32_t sm_clock_mhz;
  uint32_t memory_clock_mhz;
  uint32_t memory_bus_bits;
  uint32_t compute_major;
  uint32_t compute_minor;
  uint32_t power_limit_mw;
  uint32_t idle_power_mw;
  uint32_t l2_bytes;
  uint32_t threads_per_sm;
  uint32_t shared_memory_per_sm;
  uint32_t shared_memory_per_block_optin;
  uint32_t pcie_generation;
  uint32_t pci_domain;
  uint32_t pci_bus;
  uint32_t pci_device_id;
  int32_t numa_node;
  uint32_t reserved[3];
};

struct Card {
  CardInfo info;
  Word used_bytes;
  Word head;  // first entry that has not finished
  Word tail;  // next free index
  Word busy_ns;
  Word accounted_ns;  // busy time is booked up to here
  Word next_sample_ns;
  Word sample_count;  // the newest sample is samples[(count - 1) % kSampleRing]
  Word reschedule;    // 1 = entries were cancelled and starts and ends must be computed again
  QueueEntry queue[kQueueRing];
  Sample samples[kSampleRing];
};

struct Header {
  Word magic;
  Word layout_version;
  uint64_t file_bytes;
  uint64_t card_count;
  uint64_t clock_mode;      // ClockMode
  uint64_t boot_id[2];      // CLOCK_MONOTONIC starts anew with each boot, so a file lives for one boot only
  uint64_t wall_offset_ns;  // model clock + this = nanoseconds since the Unix epoch
  uint64_t start_clients;   // virtual: time stands still until so many have attached
  Word virtual_now_ns;
  Word started;
  Word wait_serial;
  union {
    pthread_mutex_t lock;  // robust, process-shared
    char lock_space[64];
  };
  UndoLog undo;
  ClientSlot clients[kMaxClients];
  Waiter waiters[kMaxWaiters];
};

static_assert(sizeof(pthread_mutex_t) <= 64);
static_assert(offsetof(Header, virtual_now_ns) == 72 && offsetof(Header, lock) == 96);
static_assert(offsetof(Header, undo) == 160 && offsetof(Header, clients) == 680);
static_assert(sizeof(ClientSlot) == 96 + kMaxCards * 40 && sizeof(Waiter) == 48);
static_assert(sizeof(QueueEntry) == 64 && sizeof(Sample) == 16 + 16 * kMaxClients);
static_assert(sizeof(CardInfo) == 200 && offsetof(Card, used_bytes) == 200 && offsetof(Card, queue) == 264);

inline constexpr uint64_t kMarkOffset = 1ull << 40;  // first lock byte; far behind the end of the file

inline constexpr uint64_t kCardsOffset = (sizeof(Header) + 4095) / 4096 * 4096;
inline constexpr uint64_t kCardStride = (sizeof(Card) + 4095) / 4096 * 4096;

constexpr uint64_t file_bytes(uint64_t card_count) {
  return kCardsOffset + card_count * kCardStride;
}

}  // namespace tweendeck::softgpu
