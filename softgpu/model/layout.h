// What the device-model file holds: one mmap'ed file that every process of a software GPU shares.
//
// Layout: Header, then `card_count` Cards. Fixed width, native byte order, one layout version; a reader
// refuses any other version. Every mutable field is a 64-bit Word, so that the undo log (model/shared.h) can
// restore it.
//
// Kill safety: all writers hold Header::lock (a robust mutex). A change of several words goes through the
// undo log; whatever is not logged is either written before the one store that publishes it, or can be redone
// (a client in Reclaiming, Card::choose_ns). Times are nanoseconds on the model's clock: CLOCK_MONOTONIC
// (real) or Header::virtual_now_ns (virtual).
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tweendeck::softgpu {

inline constexpr uint64_t kMagic = 0x3155504754464f53;  // "SOFTGPU1"
inline constexpr uint64_t kLayoutVersion = 2;

inline constexpr uint32_t kMaxCards = 16;
inline constexpr uint32_t kMaxClients = 256;
inline constexpr uint32_t kMaxWaiters = 1024;  // threads waiting in virtual time
inline constexpr uint32_t kQueueDepth =
    1024;  // launches queued on a FIFO card, otherwise by one process of a card, before a submitter waits
inline constexpr uint32_t kPoolBits = 13;
inline constexpr uint32_t kPoolEntries =
    1 << kPoolBits;  // of a card: queued ones plus finished ones whose end can still be read
inline constexpr uint32_t kConnections = 8;  // queues of one process, as CUDA_DEVICE_MAX_CONNECTIONS' default
inline constexpr uint32_t kMaxResident = 128;           // kernels that run at once on an overlapping card
inline constexpr uint64_t kDefaultSliceNs = 2'000'000;  // about what NVIDIA's driver gives by default
inline constexpr uint32_t kSampleRing = 64;             // utilisation samples kept: about 10 s
inline constexpr uint32_t kUndoRecords = 32;
inline constexpr uint64_t kSamplePeriodNs =
    166'666'667;  // NVML's sampling period on data-centre cards, 1/6 s

using Word = std::atomic<uint64_t>;
static_assert(Word::is_always_lock_free && sizeof(Word) == 8);

inline uint64_t get(const Word& word) {  // for who holds the lock
  return word.load(std::memory_order_relaxed);
}

struct UndoRecord {
  Word offset;  // of the changed word from the start of the file
  Word old_value;
};

struct UndoLog {
  Word count;  // 0 = nothing in progress
  UndoRecord records[kUndoRecords];
};

enum class ClockMode : uint64_t { Real = 0, Virtual = 1 };

// How a card executes what several processes (or streams) have queued.
enum class Execution : uint64_t {
  Fifo = 0,         // one kernel at a time, in order of submission over all processes
  TimeSliced = 1,   // one kernel at a time; processes with work take turns, kernels are preempted
  Overlapping = 2,  // kernels hold the SMs that they ask for and run at once while SMs are free
};

enum class ClientState : uint64_t { Free = 0, Live = 1, Reclaiming = 2 };

// Entries that run in order, as a list. Positions in the entry pool are stored plus one; 0 = none.
struct Connection {
  Word first;
  Word last;
  Word planned_ns;  // its work cannot end before
};

// What one process uses of one card.
struct ClientCard {
  Word memory_bytes;
  Word peak_memory_bytes;
  Word contexts;
  Word launches;       // statistic; not exact after a kill
  Word busy_ns;        // union of the intervals in which its kernels ran, without the current one,
  Word busy_since_ns;  // ... which began here
  Word running;        // kernels that run now
  Word queued;         // running ones included
  Connection connections[kConnections];  // only an overlapping card uses more than the first
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

enum class EntryState : uint64_t { Queued = 0, Running = 1, Done = 2 };

// One launch. Its ticket is a number that grows, << kPoolBits, plus its position in the card's pool.
// Finished entries are used again, the oldest first; an entry that holds another ticket says that the old one
// is done.
struct QueueEntry {
  Word ticket;
  Word state;  // EntryState
  Word next;   // position + 1 of the next of its connection; of the next free one when done
  Word owner;  // slot | generation << 16
  Word connection;
  Word sms;
  Word not_before_ns;  // 0 = none, or it has started
  Word after;          // ticket that must be done first; 0 = none
  Word remaining_ns;   // when it last stopped running
  Word resumed_ns;     // runs since
  Word end_ns;         // until it is done: not before this moment, and exactly this one on a FIFO card
  Word reserved[5];
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
  uint32_t execution;  // Execution
  uint32_t reserved[2];
};

struct Card {
  CardInfo info;
  Word used_bytes;
  Word sequence;      // of the newest ticket
  Word entries_used;  // positions at and above this one were never used
  Word free_first;    // position + 1 of the entry that finished longest ago
  Word free_last;
  Word queued;
  Word delayed;                   // queued entries with a not_before_ns
  Word planned_ns;                // FIFO: when everything queued will have ended
  Word active[kMaxClients / 64];  // bit per client that has something queued
  Word running_count;
  Word running[kMaxResident];  // positions
  Word used_sms;
  Word turn;          // time-sliced: client whose turn it is
  Word slice_end_ns;  // ... and until when
  Word choose_ns;     // not 0: at this moment - 1 something changed, and what runs next must be chosen
  Word chosen_ns;     // when that was last done
  Word busy_ns;       // union of the intervals in which some kernel ran, without the current one,
  Word busy_since_ns;
  Word next_sample_ns;
  Word sample_count;  // the newest sample is samples[(count - 1) % kSampleRing]
  QueueEntry entries[kPoolEntries];
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
  uint64_t slice_ns;        // of time-sliced cards
  Word virtual_now_ns;
  Word started;
  Word wait_serial;
  Word clients_bound;  // slots at and above this one were never used
  Word waiters_bound;
  union {
    pthread_mutex_t lock;  // robust, process-shared
    char lock_space[64];
  };
  UndoLog undo;
  ClientSlot clients[kMaxClients];
  Waiter waiters[kMaxWaiters];
};

static_assert(sizeof(pthread_mutex_t) <= 64);
static_assert(offsetof(Header, virtual_now_ns) == 80 && offsetof(Header, lock) == 120);
static_assert(offsetof(Header, undo) == 184 && offsetof(Header, clients) == 704);
static_assert(sizeof(ClientSlot) == 96 + kMaxCards * (64 + 24 * kConnections) && sizeof(Waiter) == 48);
static_assert(sizeof(QueueEntry) == 128 && sizeof(Sample) == 16 + 16 * kMaxClients);
static_assert(sizeof(CardInfo) == 200 && offsetof(Card, used_bytes) == 200 &&
              offsetof(Card, entries) == 200 + 8 * (18 + kMaxClients / 64 + kMaxResident));

inline constexpr uint64_t kMarkOffset = 1ull << 40;  // first lock byte; far behind the end of the file

inline constexpr uint64_t kCardsOffset = (sizeof(Header) + 4095) / 4096 * 4096;
inline constexpr uint64_t kCardStride = (sizeof(Card) + 4095) / 4096 * 4096;

constexpr uint64_t file_bytes(uint64_t card_count) {
  return kCardsOffset + card_count * kCardStride;
}

}  // namespace tweendeck::softgpu
