#include "vgpu/preload/records.h"

#include <dlfcn.h>
#include <sched.h>
#include <sys/mman.h>

#include <new>

#include "vgpu/bucket.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/clock.h"
#include "vgpu/preload/share.h"
#include "vgpu/preload/tenant.h"

namespace tweendeck::vgpu {
namespace {

constinit Lease g_no_lease;
Record* g_records;
uint32_t g_lease_epoch;
uint32_t g_records_lock;
uint32_t g_threads;
using KeyCreate = int(unsigned*, void (*)(void*));
using SetSpecific = int(unsigned, const void*);
SetSpecific* g_set_specific;
unsigned g_exit_key;
uint32_t g_exit_key_state;  // 0 = none yet, 1 = being made, 2 = made or not to be had

class LockedRecords {
 public:
  LockedRecords() {
    while (__atomic_exchange_n(&g_records_lock, 1, __ATOMIC_ACQUIRE) != 0) sched_yield();
  }
  ~LockedRecords() { __atomic_store_n(&g_records_lock, 0, __ATOMIC_RELEASE); }
  LockedRecords(const LockedRecords&) = delete;
  LockedRecords& operator=(const LockedRecords&) = delete;
};

void count_launches(Record& record) {
  const uint32_t left = cost_launches(record.left);
  if (record.device < 0 || record.granted_launches <= left) return;
  tw_vgpu_count(&usage()->devices[record.device].launches, record.granted_launches - left);
  record.granted_launches = left;
}

void thread_ends(void* value) {
  auto* record = static_cast<Record*>(value);
  {
    const LockedRecords locked;
    Record** at = &g_records;
    while (*at && *at != record) at = &(*at)->next;
    if (!*at) return;  // the process forked meanwhile
    *at = record->next;
    --g_threads;
  }
  t_lease = &g_no_lease;
  const uint64_t now = device_now_ns();
  return_lease(*record, now);
  settle_unfenced(*record, now);
  drop_marker(*record);
  munmap(record, sizeof(Record));
}

// Threads have their own end where the C library can say so; it may live in a library that is loaded later
// than this.
void hear_of_thread_end(Record* record) {
  uint32_t none = 0;
  if (__atomic_compare_exchange_n(&g_exit_key_state, &none, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    auto* create = reinterpret_cast<KeyCreate*>(dlsym(RTLD_DEFAULT, "pthread_key_create"));
    auto* set = reinterpret_cast<SetSpecific*>(dlsym(RTLD_DEFAULT, "pthread_setspecific"));
    if (create && set && create(&g_exit_key, thread_ends) == 0) g_set_specific = set;
    __atomic_store_n(&g_exit_key_state, 2, __ATOMIC_RELEASE);
  }
  while (__atomic_load_n(&g_exit_key_state, __ATOMIC_ACQUIRE) != 2) sched_yield();
  if (g_set_specific) g_set_specific(g_exit_key, record);
}

}  // namespace

__thread Lease* t_lease __attribute__((tls_model("initial-exec"))) = &g_no_lease;

Record* record_of_thread() {
  if (t_lease != &g_no_lease) return static_cast<Record*>(t_lease);
  void* memory = mmap(nullptr, sizeof(Record), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  auto* record = ::new (memory) Record;
  find_all_real(Class::Launch);  // a lease pays for all of them
  record->generation_word = &limits_page()->generation;
  {
    const LockedRecords locked;
    record->next = g_records;
    record->random = 2654435761u * ++g_threads | 1u;
    g_records = record;
  }
  t_lease = record;
  hear_of_thread_end(record);
  return record;
}

uint32_t launching_threads() {
  const uint32_t threads = __atomic_load_n(&g_threads, __ATOMIC_RELAXED);
  return threads ? threads : 1;
}

uint32_t lease_epoch() {
  return __atomic_load_n(&g_lease_epoch, __ATOMIC_SEQ_CST);
}

void return_lease(Record& record, uint64_t now_ns) {
  if (record.device < 0) return;
  count_launches(record);
  if (record.limited && record.left_ns() > 0) {
    const auto device = static_cast<uint32_t>(record.device);
    bucket_charge(&usage()->devices[device].share_used_until_ns, now_ns, credit_ns(device, now_ns),
                  -static_cast<int64_t>(record.left_ns() * record.trim / kFullTrim),
                  share_of(device, now_ns).permille);
  }
  record.granted_ns -= record.left_ns();
  record.left = 0;
  record.granted_launches = 0;
}

void settle_unfenced(Record& record, uint64_t now_ns) {
  if (record.device < 0 || record.granted_ns == 0) return;
  settle_charge(static_cast<uint32_t>(record.device), now_ns,
                {.taken_ns = record.granted_ns * record.trim / kFullTrim,
                 .estimated_ns = record.granted_ns,
                 .alone = record.trim == kFullTrim});
  record.granted_ns = 0;
}

void drop_marker(Record& record) {
  if (record.marker != kNoEvent) {
    if (Lane* lane = lane_with(record.context, record.serial)) drop_event(*lane, record.marker);
  }
  record.marker = kNoEvent;
}

void end_leases() {
  __atomic_add_fetch(&g_lease_epoch, 1, __ATOMIC_SEQ_CST);
  const LockedRecords locked;
  for (Record* record = g_records; record; record = record->next)
    __atomic_store_n(&record->generation, Lease::kNoGeneration, __ATOMIC_SEQ_CST);
}

void forget_records() {
  t_lease = &g_no_lease;
  g_records = nullptr;
  g_records_lock = 0;
  g_threads = 0;
}

// At the end of the process in order, what its threads have counted is written down.
__attribute__((destructor)) static void count_at_exit() {
  const LockedRecords locked;
  for (Record* record = g_records; record; record = record->next) count_launches(*record);
}

}  // namespace tweendeck::vgpu
