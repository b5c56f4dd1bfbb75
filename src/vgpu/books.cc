#include "vgpu/books.h"

namespace tweendeck::vgpu {
namespace {

void add(uint64_t& word, uint64_t by) {
  __atomic_fetch_add(&word, by, __ATOMIC_SEQ_CST);
}
void subtract(uint64_t& word, uint64_t by) {
  __atomic_fetch_sub(&word, by, __ATOMIC_SEQ_CST);
}

bool swap(uint64_t& word, uint64_t expected, uint64_t desired) {
  return __atomic_compare_exchange_n(&word, &expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

// Most are zero, and a store to a page of a file that nobody has written yet costs far more than a load.
void clear(uint64_t& word) {
  if (tw_vgpu_load(&word) != 0) tw_vgpu_store(&word, 0);
}

void raise(uint64_t& word, uint64_t to) {
  uint64_t now = tw_vgpu_load(&word);
  while (now < to &&
         !__atomic_compare_exchange_n(&word, &now, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
  }
}

// Grants of this thread that the page's counter does not have yet.
struct Uncounted {
  uint32_t device;
  uint32_t kind;
  uint32_t count;
  uint32_t most;

  bool of(uint32_t which_device, uint32_t which_kind) const {
    return device == which_device && kind == which_kind;
  }
};
__attribute__((tls_model("initial-exec"))) constinit thread_local Uncounted t_uncounted{0, 0, 0, 1};

}  // namespace

void Books::raise_bound(uint32_t to) {
  uint64_t now = tw_vgpu_load(&page_->slots_in_use), next = 0;
  do {
    const uint32_t bound = static_cast<uint32_t>(now);
    next = ((now >> 32) + 1) << 32 | (bound < to ? to : bound);
  } while (!__atomic_compare_exchange_n(&page_->slots_in_use, &now, next, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST));
}

// Everybody's sum is as long as the bound. A claim since the word was read has changed it, so a slot that was
// found free is free still when the bound passes it.
void Books::lower_bound() {
  while (true) {
    const uint64_t now = tw_vgpu_load(&page_->slots_in_use);
    const uint32_t bound = static_cast<uint32_t>(now);
    if (bound == 0 || bound > TW_VGPU_MAX_SLOTS || tw_vgpu_load(&page_->slots[bound - 1].owner) != 0) return;
    if (!swap(page_->slots_in_use, now, now - 1)) return;
  }
}

bool Books::claim(uint32_t index) {
  tw_vgpu_slot& slot = page_->slots[index];
  if (tw_vgpu_load(&slot.owner) != 0) return false;
  const Mark mark = system_->take_mark(index);
  if (mark == Mark::Others) return false;
  // While moving in, the slot does not count, so the books of whoever had it before can be cleared.
  bool mine = swap(slot.owner, 0, owner_ | 1);
  if (mine) {
    slot.marked = mark == Mark::Mine;
    // Only those that were used: looking at all would fault in a page for each device.
    const uint64_t used = tw_vgpu_load(&slot.used_devices);
    for (uint32_t device = 0; device < TW_VGPU_MAX_DEVICES; ++device) {
      if ((used >> device & 1) == 0) continue;
      tw_vgpu_book& book = page_->books[device][index];
      clear(book.used_bytes);
      clear(book.pending_bytes);
      for (uint64_t& kind : book.by_kind) clear(kind);
    }
    tw_vgpu_store(&slot.used_devices, 0);
    used_devices_ = 0;
    slot.pid_namespace = name_space_;
    slot.attached_ns = system_->now_ns();
    slot.library_abi = TW_VGPU_ABI;
    ++slot.generation;
    raise_bound(index + 1);
    mine = swap(slot.owner, owner_ | 1, owner_);
  }
  if (!mine && mark == Mark::Mine) system_->drop_mark();
  if (mine) slot_ = index;
  return mine;
}

bool Books::attach(tw_vgpu_usage_page* page) {
  page_ = page;
  owner_ = system_->self();
  name_space_ = system_->pid_namespace();
  // exec keeps pid and start time; what the earlier image held is gone.
  for (tw_vgpu_slot& slot : page->slots) {
    const uint64_t owner = tw_vgpu_load(&slot.owner);
    if ((owner | 1) == (owner_ | 1) && slot.pid_namespace == name_space_) swap(slot.owner, owner, 0);
  }
  do {
    for (uint32_t i = 0; i < TW_VGPU_MAX_SLOTS; ++i) {
      if (!claim(i)) continue;
      lower_bound();
      set_attached(true);
      return true;
    }
  } while (sweep());
  return false;
}

void Books::detach() {
  if (!attached()) return;
  set_attached(false);
  if (swap(page_->slots[slot_].owner, owner_, 0)) system_->drop_mark();
}

bool Books::has_ended(uint32_t index, uint64_t owner) const {
  const tw_vgpu_slot& slot = page_->slots[index];
  const bool moving_in = tw_vgpu_owner_moving_in(owner) != 0;
  const Mark mark = system_->see_mark(index);
  if (mark == Mark::Others) return false;
  if (mark == Mark::Free && (moving_in || slot.marked != 0)) return true;  // it is taken before anything else
  // A pid of another namespace says nothing here.
  return (moving_in || slot.pid_namespace == name_space_) && !system_->alive(owner);
}

bool Books::sweep() {
  bool found = false;
  // All of them: who is killed while moving in may not have raised the bound yet.
  for (uint32_t i = 0; i < TW_VGPU_MAX_SLOTS; ++i) {
    uint64_t& word = page_->slots[i].owner;
    const uint64_t owner = tw_vgpu_load(&word);
    if (owner != 0 && owner != owner_ && has_ended(i, owner) && swap(word, owner, 0)) found = true;
  }
  lower_bound();
  return found;
}

// One look at the total. `conclusive` = refused although nothing in flight of others is counted.
bool Books::try_once(uint32_t device, uint64_t limit_bytes, uint64_t bytes, bool keep_pending,
                     bool& conclusive) {
  uint64_t used = 0;
  const bool fits = tw_vgpu_memory_claimed(page_, device, &used) <= limit_bytes;
  conclusive = !fits && used + bytes > limit_bytes;
  if (fits) add(book(device).used_bytes, bytes);
  if (fits || conclusive || !keep_pending) subtract(book(device).pending_bytes, bytes);
  return fits;
}

bool Books::wait_as_contender(uint32_t device, uint64_t limit_bytes, uint64_t bytes, uint64_t id,
                              bool& conclusive) {
  const uint64_t until = system_->now_ns() + kTurnNs;
  add(book(device).pending_bytes, bytes);
  while (!try_once(device, limit_bytes, bytes, true, conclusive)) {
    if (conclusive) return false;
    if (system_->now_ns() >= until || tw_vgpu_load(&page_->devices[device].contender) != id) {
      subtract(book(device).pending_bytes, bytes);
      return false;
    }
    system_->sleep_ns(kContentionPauseNs);
  }
  return true;
}

Grant Books::take_turns(uint32_t device, uint64_t limit_bytes, uint64_t bytes) {
  tw_vgpu_device_usage& shared = page_->devices[device];
  const uint64_t id = owner_ ^ (__atomic_add_fetch(&turns_, 1, __ATOMIC_RELAXED) << 48) ^ 1;
  const uint64_t until = system_->now_ns() + kContentionLimitNs;
  bool conclusive = false;
  while (!conclusive && system_->now_ns() < until) {
    const uint64_t holder = tw_vgpu_load(&shared.contender);
    const uint64_t since = tw_vgpu_load(&shared.contender_since_ns);
    const bool stale = system_->now_ns() > since + kTurnNs;
    if ((holder == 0 || stale) && swap(shared.contender, holder, id)) {
      tw_vgpu_store(&shared.contender_since_ns, system_->now_ns());
      const bool granted = wait_as_contender(device, limit_bytes, bytes, id, conclusive);
      swap(shared.contender, id, 0);
      if (granted) return Grant::Granted;
      sweep();  // a reservation that stays in flight for a whole turn may be a dead process's
    } else {
      system_->sleep_ns(kContentionPauseNs);
    }
  }
  return conclusive ? Grant::OverLimit : Grant::Contended;
}

// Statistics only. The shared counters are cache lines that all processes of the slice write, so they are touched
// seldom.
inline void Books::note(tw_vgpu_book& mine, uint32_t device, uint64_t used_bytes, uint64_t bytes,
                        tw_vgpu_kind kind) {
  tw_vgpu_count(&mine.by_kind[kind], bytes);
  uint64_t& peak = page_->devices[device].memory_peak_bytes;
  if (__builtin_expect(tw_vgpu_load(&peak) < used_bytes, 0)) raise(peak, used_bytes);
  Uncounted& grants = t_uncounted;
  if (__builtin_expect(!grants.of(device, kind) || ++grants.count >= grants.most, 0))
    count_grants(device, kind);
}

// With the one that is new, if it is of another kind.
[[gnu::noinline, gnu::cold]] void Books::count_grants(uint32_t device, tw_vgpu_kind kind) {
  Uncounted& mine = t_uncounted;
  if (mine.count > 0) tw_vgpu_count(&page_->devices[mine.device].allocations[mine.kind], mine.count);
  if (mine.of(device, kind)) {
    mine.count = 0;
    if (mine.most < kMostUncounted) mine.most *= 2;
  } else {
    mine = {device, kind, 0, 1};
    tw_vgpu_count(&page_->devices[device].allocations[kind], 1);
  }
}

// Nobody has claimed the slot since, so the books are as they were.
[[gnu::noinline, gnu::cold]] bool Books::rejoin() {
  if (!swap(page_->slots[slot_].owner, 0, owner_)) return false;
  page_->slots[slot_].marked = 0;
  raise_bound(slot_ + 1);
  return true;
}

[[gnu::noinline, gnu::cold]] void Books::use_device(uint32_t device) {
  __atomic_fetch_or(&page_->slots[slot_].used_devices, uint64_t{1} << device, __ATOMIC_SEQ_CST);
  __atomic_fetch_or(&used_devices_, 1u << device, __ATOMIC_RELEASE);
}

Grant Books::reserve(uint32_t device, uint64_t limit_bytes, uint64_t bytes, tw_vgpu_kind kind) {
  if (limit_bytes == 0) limit_bytes = UINT64_MAX >> 1;
  if (bytes > limit_bytes) return Grant::OverLimit;
  if (__builtin_expect(!owns_slot(), 0) && !rejoin()) return Grant::OverLimit;
  if (__builtin_expect((__atomic_load_n(&used_devices_, __ATOMIC_ACQUIRE) >> device & 1) == 0, 0))
    use_device(device);
  uint64_t used = 0;
  tw_vgpu_book& mine = book(device);
  add(mine.pending_bytes, bytes);
  if (__builtin_expect(tw_vgpu_memory_claimed(page_, device, &used) > limit_bytes, 0))
    return reserve_slowly(device, limit_bytes, bytes, kind);
  add(mine.used_bytes, bytes);
  subtract(mine.pending_bytes, bytes);
  note(mine, device, used + bytes, bytes, kind);
  return Grant::Granted;
}

// `bytes` are pending.
[[gnu::noinline, gnu::cold]] Grant Books::reserve_slowly(uint32_t device, uint64_t limit_bytes,
                                                         uint64_t bytes, tw_vgpu_kind kind) {
  subtract(book(device).pending_bytes, bytes);
  const Grant grant = reserve_beside_others(device, limit_bytes, bytes);
  if (grant == Grant::Granted) {
    uint64_t used = 0;
    tw_vgpu_memory_claimed(page_, device, &used);
    note(book(device), device, used, bytes, kind);
  }
  return grant;
}

Grant Books::reserve_beside_others(uint32_t device, uint64_t limit_bytes, uint64_t bytes) {
  Grant grant = Grant::Contended;
  bool swept = false;
  system_->begin_undisturbed();
  while (true) {
    bool conclusive = false;
    add(book(device).pending_bytes, bytes);
    if (try_once(device, limit_bytes, bytes, false, conclusive)) {
      grant = Grant::Granted;
      break;
    }
    // What a dead peer holds is taken back before anybody waits or is refused for it; also by another, since the last look.
    if (!swept) {
      sweep();
      swept = true;
      continue;
    }
    grant = conclusive ? Grant::OverLimit : take_turns(device, limit_bytes, bytes);
    break;
  }
  system_->end_undisturbed();
  return grant;
}

void Books::release(uint32_t device, uint64_t bytes, tw_vgpu_kind kind) {
  if (!owns_slot()) return;  // the books are another's
  tw_vgpu_book& mine = book(device);
  subtract(mine.used_bytes, bytes);
  tw_vgpu_count(&mine.by_kind[kind], 0 - bytes);
}

}  // namespace tweendeck::vgpu
