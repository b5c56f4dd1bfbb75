/* The two pages that are the whole contract between a node and the vgpu library in a tenant's process.
 *
 *   limits  one file per slice, written by the node only, mapped read-only by the tenant.
 *   usage   one file per slice, shared by all processes of the slice and writable by them. Never trusted
 *           alone: the node compares it with what the driver reports per process.
 *
 * Layout is fixed and versioned: sizes and offsets are asserted below, new fields take reserved space, and a
 * reader accepts any page whose abi_min <= TW_VGPU_ABI. All multi-byte fields are little-endian and naturally
 * aligned; a field that more than one process touches is a 64-bit word read and written with the atomics at
 * the end.
 *
 * No field is protected by a lock, so a process can be killed at any instruction:
 * - limits: two sets and a generation. The writer fills the set that is not in use, then publishes generation
 *   + 1.
 * - slots: a process owns a slot by its pid and start time in one word, and holds the slot's mark: a write
 *   lock (open-file-description lock) on byte TW_VGPU_MARKS_OFFSET + index of the usage page's file, behind
 *   its end. The kernel takes the mark back when the process ends, so its death is seen from every pid
 *   namespace.
 * Any peer or the node frees the slot of a dead process by one compare-and-swap; what it held is gone with
 * it, because
 * - memory: the slice's total is the sum of its slots' books. There is no separate total that could drift.
 * - compute: one word per device, the time until which the slice's share is used up (see bucket.h).
 *
 * C11 and C++; only <stdint.h>. Times are CLOCK_MONOTONIC nanoseconds. Safe from any thread and process.
 */
#ifndef TWEENDECK_VGPU_PAGE_H
#define TWEENDECK_VGPU_PAGE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define TW_VGPU_ASSERT(condition, text) static_assert(condition, text)
#define TW_VGPU_OFFSET(type, field) __builtin_offsetof(struct type, field)
#else
#define TW_VGPU_ASSERT(condition, text) _Static_assert(condition, text)
#define TW_VGPU_OFFSET(type, field) __builtin_offsetof(struct type, field)
#endif

#define TW_VGPU_ENV_LIMITS "TWEENDECK_VGPU_LIMITS"
#define TW_VGPU_ENV_USAGE "TWEENDECK_VGPU_USAGE"

#define TW_VGPU_LIMITS_MAGIC 0x31494c5550475654ull /* "TVGPULI1" */
#define TW_VGPU_USAGE_MAGIC 0x3153555550475654ull  /* "TVGPUUS1" */

enum {
  TW_VGPU_ABI = 1,                         /* version that this header describes */
  TW_VGPU_MAX_DEVICES = 16,                /* devices of one slice */
  TW_VGPU_MAX_SLOTS = 256,                 /* processes of one slice at once */
  TW_VGPU_WHOLE = 1000,                    /* compute is in permille of the device */
  TW_VGPU_EFFECTIVE_MAX_AGE_NS = 50000000, /* a lent share that is older has been called back */
  TW_VGPU_YIELD_MAX_NS = 20000000,         /* a launch yields no longer than this at a time */
  TW_VGPU_BURST_NS = 10000000,             /* of wall time: what an idle slice keeps of its share */
  TW_VGPU_TURN_MAX_NS = 250000000,         /* a launch of unknown length is forgotten after this */
  TW_VGPU_MOST_WAITED_NS = 250000000,      /* and what it keeps of the time that it waited behind others */
};

/* What device memory is used for; index of the books and counters by kind. Values are part of the layout. */
enum tw_vgpu_kind {
  TW_VGPU_KIND_LINEAR = 0, /* cuMemAlloc, cuMemAllocPitch */
  TW_VGPU_KIND_MANAGED = 1,
  TW_VGPU_KIND_POOL = 2,    /* stream-ordered */
  TW_VGPU_KIND_VIRTUAL = 3, /* cuMemCreate */
  TW_VGPU_KIND_ARRAY = 4,
  TW_VGPU_KIND_IMPORTED = 5,
  TW_VGPU_KIND_GRAPH = 6,
  TW_VGPU_KIND_CONTEXT = 7,
  TW_VGPU_KIND_MODULE = 8,
  TW_VGPU_KINDS = 12, /* room for three more */
};

/* Why the library refused a call; index of tw_vgpu_device_usage.refused. */
enum tw_vgpu_refusal {
  TW_VGPU_REFUSED_LIMIT = 0,     /* the slice's memory limit */
  TW_VGPU_REFUSED_DEVICE = 1,    /* the device is not part of the slice; counted on device 0 */
  TW_VGPU_REFUSED_CALL = 2,      /* a call that cannot be accounted and is therefore not allowed */
  TW_VGPU_REFUSED_CONTENDED = 3, /* peers held reservations in flight for longer than the bound */
  TW_VGPU_REFUSALS = 8,
};

enum { TW_VGPU_FLAG_PAUSED = 1 }; /* launches wait until the flag is cleared */

/* ---- limits page ---- */

struct tw_vgpu_device_limit {
  uint8_t uuid[16];                  /* as cuDeviceGetUuid gives it */
  uint64_t memory_bytes;             /* 0 = not limited */
  uint32_t compute_floor_permille;   /* share that is the slice's own */
  uint32_t compute_ceiling_permille; /* share it may use when others are idle; 0 or >= 1000 = not limited */
  uint32_t weight;                   /* among borrowers of an idle share */
  int32_t priority;                  /* higher goes first */
  uint32_t flags;                    /* TW_VGPU_FLAG_* */
  uint32_t run_ahead_us;             /* GPU time one process may have queued; 0 = the library's default */
  uint32_t memory_wait_ms; /* how long an allocation above the limit waits for room; 0 = not at all */
  uint32_t reserved32;
  uint64_t reserved[1];
};
TW_VGPU_ASSERT(sizeof(struct tw_vgpu_device_limit) == 64, "layout");

struct tw_vgpu_limit_set {
  uint32_t device_count;
  uint32_t flags; /* TW_VGPU_FLAG_* for all devices */
  uint64_t reserved[7];
  struct tw_vgpu_device_limit devices[TW_VGPU_MAX_DEVICES];
};
TW_VGPU_ASSERT(sizeof(struct tw_vgpu_limit_set) == 64 + 64 * TW_VGPU_MAX_DEVICES, "layout");

/* What the node measured, per device. sequence is 0 until the node writes feedback at all, and is written
 * last. */
struct tw_vgpu_feedback {
  uint64_t sequence;
  uint64_t stamp_ns;
  uint64_t slice_busy_ns;   /* GPU time of the slice's processes since the page was made */
  uint64_t others_permille; /* how busy everybody else kept the device in the last period */
  /* Borrowing, written by another round than the fields above: the share that the slice may use while
   * effective_stamp_ns is at most TW_VGPU_EFFECTIVE_MAX_AGE_NS old, within floor and ceiling. 0 = none lent.
   */
  uint64_t effective_permille;
  uint64_t effective_stamp_ns; /* written last */
  uint64_t yield_until_ns;     /* a higher class is active: launches wait, at most TW_VGPU_YIELD_MAX_NS */
  uint64_t others_active_ns;   /* when others were last seen to use the device; 0 = not told */
};
TW_VGPU_ASSERT(sizeof(struct tw_vgpu_feedback) == 64, "layout");

struct tw_vgpu_limits_page {
  uint64_t magic;
  uint32_t abi;     /* version of the writer */
  uint32_t abi_min; /* oldest library that may use the page */
  uint64_t size;    /* bytes of this page */
  uint64_t binding; /* random; equal in the usage page that belongs to it */
  char slice_id[64];
  uint64_t generation; /* sets[generation & 1] is in force */
  uint64_t
      boot; /* which boot of the machine the page is of: pids and times in it mean nothing after another */
  uint64_t reserved[2];
  struct tw_vgpu_limit_set sets[2];
  struct tw_vgpu_feedback feedback[TW_VGPU_MAX_DEVICES];
};
TW_VGPU_ASSERT(TW_VGPU_OFFSET(tw_vgpu_limits_page, slice_id) == 32, "layout");
TW_VGPU_ASSERT(TW_VGPU_OFFSET(tw_vgpu_limits_page, generation) == 96, "layout");
TW_VGPU_ASSERT(TW_VGPU_OFFSET(tw_vgpu_limits_page, sets) == 128, "layout");
TW_VGPU_ASSERT(sizeof(struct tw_vgpu_limits_page) == 128 + 2 * 1088 + 64 * TW_VGPU_MAX_DEVICES, "layout");

/* ---- usage page ---- */

/* One process. owner is 0 when the slot is free, else tw_vgpu_owner(). Only the owner writes the other
 * fields, and it takes the slot's mark before it writes anything. */
struct tw_vgpu_slot {
  uint64_t owner;
  uint64_t
      pid_namespace;   /* inode of /proc/self/ns/pid; pids of another namespace are not judged. 0 = unknown */
  uint64_t generation; /* counts claims of this slot */
  uint64_t attached_ns;
  uint32_t library_abi;
  uint32_t marked;       /* 1 = the owner holds the slot's mark, so a free mark means that it has ended */
  uint64_t used_devices; /* bit i: the book of device i may hold something; set before the book is written */
  uint64_t reserved[2];
};
TW_VGPU_ASSERT(sizeof(struct tw_vgpu_slot) == 64, "layout");

/* What one process holds on one device. used + pending counts against the limit while the slot is owned. */
struct tw_vgpu_book {
  uint64_t used_bytes;    /* granted by the driver, or about to be */
  uint64_t pending_bytes; /* asked for; not yet checked against the limit */
  uint64_t by_kind[TW_VGPU_KINDS];
  uint64_t queued_until_ns; /* when the work that the process has queued will be done, by its own estimate */
  uint64_t reserved;
};
TW_VGPU_ASSERT(sizeof(struct tw_vgpu_book) == 128, "layout");

/* What the slice does on one device. Counters only grow. */
struct tw_vgpu_device_usage {
  uint64_t share_used_until_ns; /* the token bucket; see bucket.h */
  uint64_t share_permille;      /* the share that the bucket is scaled for */
  uint64_t unlearned; /* who has the slice's one launch of unknown length in flight: tw_vgpu_turn() */
  /* Demand, for the node: when a thread last launched, last waited for the share, and began to wait. Written
   * at the end of a lease (at most 1 ms of GPU time), and at least every 5 ms while a thread waits. */
  uint64_t last_launch_ns;
  uint64_t last_wait_ns;
  uint64_t want_since_ns;
  uint64_t reserved_bucket[2]; /* the bucket has a cache line of its own */
  uint64_t memory_peak_bytes;
  uint64_t contender; /* who goes first when reservations collide; advice only, see books.h */
  uint64_t contender_since_ns;
  uint64_t launches;
  uint64_t charged_ns;        /* GPU time charged to the slice */
  uint64_t throttled_ns;      /* time that threads waited in a launch for the share */
  uint64_t paused_ns;         /* time that threads waited because of TW_VGPU_FLAG_PAUSED */
  uint64_t captured_launches; /* recorded into a graph instead of run */
  uint64_t refused[TW_VGPU_REFUSALS];
  uint64_t allocations[TW_VGPU_KINDS]; /* granted, by kind */
  uint64_t feedback_sequence;          /* last tw_vgpu_feedback that was settled */
  uint64_t borrowed_ns;                /* GPU time used above the floor */
  uint64_t trim_permille;         /* what part of a measured interval is the slice's own; 0 = all of it */
  uint64_t settled_slice_busy_ns; /* feedback and estimate at the last settlement */
  uint64_t settled_estimated_ns;
  uint64_t shared;       /* 1 = others used the device in the last feedback period */
  uint64_t estimated_ns; /* charged_ns before the trim */
  uint64_t
      window_busy_ns; /* what the trim is made of: the last seconds as the node and the library see them */
  uint64_t window_estimated_ns;
  uint64_t yielded_ns; /* time that threads waited for a higher class */
  uint64_t
      settled_charged_ns; /* charged_ns at the last settlement, and what was charged too much since others */
  uint64_t drift_ns;      /* came: a signed number */
  uint64_t others_ns;     /* when the feedback last had others use the device */
  uint64_t reserved[15];
};
TW_VGPU_ASSERT(sizeof(struct tw_vgpu_device_usage) == 512, "layout");

struct tw_vgpu_usage_page {
  uint64_t magic;
  uint32_t abi;
  uint32_t abi_min;
  uint64_t size;
  uint64_t binding;
  uint64_t slots_in_use; /* low half: slots at and above this index have no owner; high half: how often
                                    a slot was claimed, so that who lowers it has seen the latest claim */
  uint64_t unclassified_symbols; /* driver functions handed out that the library does not know */
  uint64_t reserved[10];
  struct tw_vgpu_device_usage devices[TW_VGPU_MAX_DEVICES];
  struct tw_vgpu_slot slots[TW_VGPU_MAX_SLOTS];
  struct tw_vgpu_book books[TW_VGPU_MAX_DEVICES][TW_VGPU_MAX_SLOTS];
};
TW_VGPU_ASSERT(TW_VGPU_OFFSET(tw_vgpu_usage_page, devices) == 128, "layout");
TW_VGPU_ASSERT(TW_VGPU_OFFSET(tw_vgpu_usage_page, slots) == 128 + 512 * TW_VGPU_MAX_DEVICES, "layout");
TW_VGPU_ASSERT(TW_VGPU_OFFSET(tw_vgpu_usage_page, books) == 8320 + 64 * TW_VGPU_MAX_SLOTS, "layout");
TW_VGPU_ASSERT(sizeof(struct tw_vgpu_usage_page) == 24704 + 128 * TW_VGPU_MAX_DEVICES * TW_VGPU_MAX_SLOTS,
               "layout");

enum { TW_VGPU_MARKS_OFFSET = sizeof(struct tw_vgpu_usage_page) };

/* ---- how both pages begin ---- */

struct tw_vgpu_page_head {
  uint64_t magic;
  uint32_t abi, abi_min;
  uint64_t size, binding;
};
TW_VGPU_ASSERT(sizeof(struct tw_vgpu_page_head) == TW_VGPU_OFFSET(tw_vgpu_limits_page, slice_id), "layout");
TW_VGPU_ASSERT(sizeof(struct tw_vgpu_page_head) == TW_VGPU_OFFSET(tw_vgpu_usage_page, slots_in_use),
               "layout");

static inline struct tw_vgpu_page_head tw_vgpu_limits_head(uint64_t binding) {
  const struct tw_vgpu_page_head head = {TW_VGPU_LIMITS_MAGIC, TW_VGPU_ABI, TW_VGPU_ABI,
                                         sizeof(struct tw_vgpu_limits_page), binding};
  return head;
}
static inline struct tw_vgpu_page_head tw_vgpu_usage_head(uint64_t binding) {
  const struct tw_vgpu_page_head head = {TW_VGPU_USAGE_MAGIC, TW_VGPU_ABI, TW_VGPU_ABI,
                                         sizeof(struct tw_vgpu_usage_page), binding};
  return head;
}

/* Two pages that belong together: no limits, nothing used. `binding` must not be 0. */
static inline void tw_vgpu_init_pages(struct tw_vgpu_limits_page* limits, struct tw_vgpu_usage_page* usage,
                                      uint64_t binding) {
  const struct tw_vgpu_page_head limits_head = tw_vgpu_limits_head(binding);
  const struct tw_vgpu_page_head usage_head = tw_vgpu_usage_head(binding);
  __builtin_memset((void*)limits, 0, sizeof(*limits));
  __builtin_memset((void*)usage, 0, sizeof(*usage));
  __builtin_memcpy((void*)limits, &limits_head, sizeof(limits_head));
  __builtin_memcpy((void*)usage, &usage_head, sizeof(usage_head));
}

/* ---- access that both sides share ---- */

static inline uint64_t tw_vgpu_load(const uint64_t* word) {
  return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}
static inline void tw_vgpu_store(uint64_t* word, uint64_t value) {
  __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}
static inline void tw_vgpu_count(uint64_t* word, uint64_t by) {
  __atomic_fetch_add(word, by, __ATOMIC_RELAXED);
}

/* Owner word of a slot: pid, the low 31 bits of its start time in clock ticks, and whether it is still moving
 * in. */
static inline uint64_t tw_vgpu_owner(uint32_t pid, uint64_t start_ticks, int moving_in) {
  return (uint64_t)pid << 32 | (start_ticks & 0x7fffffffu) << 1 | (moving_in ? 1u : 0u);
}
static inline uint32_t tw_vgpu_owner_pid(uint64_t owner) {
  return (uint32_t)(owner >> 32);
}
static inline uint32_t tw_vgpu_owner_start(uint64_t owner) {
  return (uint32_t)owner >> 1;
}
static inline int tw_vgpu_owner_moving_in(uint64_t owner) {
  return (int)(owner & 1u);
}

/* The limit set in force. Never waits: a set that the writer is replacing a second time meanwhile is read
 * again, at most `tries` times; 0 = the writer outran us each time (keep the previous set). */
static inline int tw_vgpu_read_limits(const struct tw_vgpu_limits_page* page, struct tw_vgpu_limit_set* out,
                                      uint64_t* generation, int tries) {
  while (tries-- > 0) {
    const uint64_t before = tw_vgpu_load(&page->generation);
    __builtin_memcpy(out, &page->sets[before & 1], sizeof(*out));
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (tw_vgpu_load(&page->generation) == before) {
      *generation = before;
      return 1;
    }
  }
  return 0;
}

/* Node only, one writer at a time. A writer that dies here leaves the old set in force. */
static inline void tw_vgpu_publish_limits(struct tw_vgpu_limits_page* page,
                                          const struct tw_vgpu_limit_set* set) {
  const uint64_t next = tw_vgpu_load(&page->generation) + 1;
  __builtin_memcpy(&page->sets[next & 1], set, sizeof(*set));
  __atomic_thread_fence(__ATOMIC_RELEASE);
  tw_vgpu_store(&page->generation, next);
}

/* The share that a slice may use, of its limits and of what the node lends (0 unless fresh): the floor, or more
 * within the ceiling. */
static inline uint32_t tw_vgpu_share_in_force(uint32_t floor_permille, uint32_t ceiling_permille,
                                              uint64_t effective_permille) {
  const uint32_t whole = TW_VGPU_WHOLE;
  const uint32_t ceiling = ceiling_permille == 0 || ceiling_permille > whole ? whole : ceiling_permille;
  const uint32_t lent = effective_permille < ceiling ? (uint32_t)effective_permille : ceiling;
  return lent > floor_permille ? lent : floor_permille;
}

/* Slots that may be owned; bounded whatever a tenant wrote there. */
static inline uint32_t tw_vgpu_slot_bound(const struct tw_vgpu_usage_page* page) {
  const uint32_t bound = (uint32_t)tw_vgpu_load(&page->slots_in_use);
  return bound < TW_VGPU_MAX_SLOTS ? bound : (uint32_t)TW_VGPU_MAX_SLOTS;
}

/* Slot and time of the launch of unknown length that is in flight. A turn ends with its owner or its time. */
static inline uint64_t tw_vgpu_turn(uint32_t slot, uint64_t now_ns) {
  return ((uint64_t)slot + 1) << 48 | (now_ns >> 10 & 0xffffffffffffull);
}
static inline uint64_t tw_vgpu_turn_slot(uint64_t turn) {
  return (turn >> 48) - 1;
}
static inline int tw_vgpu_turn_runs(const struct tw_vgpu_usage_page* page, uint64_t turn, uint64_t now_ns) {
  const uint64_t slot = tw_vgpu_turn_slot(turn);
  const uint64_t age = ((now_ns >> 10) - turn) & 0xffffffffffffull;
  return slot < TW_VGPU_MAX_SLOTS && tw_vgpu_load(&page->slots[slot].owner) != 0 &&
         age <= (uint64_t)TW_VGPU_TURN_MAX_NS >> 10;
}

/* The latest time at which the slice launched, wanted to, or had work queued on the device; at most now_ns. */
static inline uint64_t tw_vgpu_last_active_ns(const struct tw_vgpu_usage_page* page, uint32_t device,
                                              uint64_t now_ns) {
  const struct tw_vgpu_device_usage* usage = &page->devices[device];
  uint64_t last = tw_vgpu_load(&usage->last_launch_ns);
  const uint64_t waited = tw_vgpu_load(&usage->last_wait_ns);
  const uint32_t bound = tw_vgpu_slot_bound(page);
  if (waited > last) last = waited;
  if (tw_vgpu_turn_runs(page, tw_vgpu_load(&usage->unlearned), now_ns)) return now_ns;
  for (uint32_t i = 0; i < bound && last < now_ns; ++i) {
    const uint64_t until = tw_vgpu_load(&page->books[device][i].queued_until_ns);
    if (until > last && tw_vgpu_load(&page->slots[i].owner) != 0) last = until;
  }
  return last < now_ns ? last : now_ns;
}

/* Bytes that count against the slice's limit on a device, in flight ones included. pending is read before
 * used, so that a peer that moves bytes from one to the other is never missed. */
static inline uint64_t tw_vgpu_memory_claimed(const struct tw_vgpu_usage_page* page, uint32_t device,
                                              uint64_t* used_only) {
  uint64_t used = 0, pending = 0;
  const uint32_t bound = tw_vgpu_slot_bound(page);
  for (uint32_t i = 0; i < bound; ++i) {
    const uint64_t owner = tw_vgpu_load(&page->slots[i].owner);
    if (owner == 0 || tw_vgpu_owner_moving_in(owner)) continue;
    pending += tw_vgpu_load(&page->books[device][i].pending_bytes);
    used += tw_vgpu_load(&page->books[device][i].used_bytes);
  }
  if (used_only) *used_only = used;
  return used + pending;
}

#ifdef __cplusplus
}
#endif
#endif
