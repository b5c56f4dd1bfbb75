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

void raise(uint64_t& word, uint64_t to) {
  uint64_t now = tw_vgpu_load(&word);
  while (now < to &&
         !__atomic_compare_exchange_n(&word, &now, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
  }
}

}  // namespace

bool Books::claim(uint32_t index) {
  tw_vgpu_slot& slot = page_->slots[index];
  // While moving in, the slot does not count, so the books of whoever had it before can be cleared.
  if (!swap(slot.owner, 0, owner_ | 1)) return false;
  for (auto& device : page_->books) {
    tw_vgpu_book& book = device[index];
    tw_vgpu_store(&book.used_bytes, 0);
    tw_vgpu_store(&book.pending_bytes, 0);
    for (uint64_t& kind : book.by_kind) tw_vgpu_store(&kind, 0);
  }
  slot.pid_namespace = system_->pid_namespace();
  slot.attached_ns = system_->now_ns();
  slot.library_abi = TW_VGPU_ABI;
  ++slot.generation;
  raise(page_->slots_in_use, index + 1);
  tw_vgpu_store(&slot.owner, owner_);
  slot_ = index;
  return true;
}

bool Books::attach(tw_vgpu_usage_page* page) {
  page_ = page;
  owner_ = system_->self();
  // exec keeps pid and start time; what the earlier image held is gone.
  for (tw_vgpu_slot& slot : page->slots) {
    if ((tw_vgpu_load(&slot.owner) | 1) == (owner_ | 1)) tw_vgpu_store(&slot.owner, 0);
  }
  do {
    for (uint32_t i = 0; i < TW_VGPU_MAX_SLOTS; ++i) {
      if (claim(i)) return true;
    }
  } while (sweep());
  page_ = nullptr;
  return false;
}

void Books::detach() {
  if (page_) swap(page_->slots[slot_].owner, owner_, 0);
  page_ = nullptr;
}

bool Books::sweep() {
  bool found = false;
  const uint64_t name_space = page_->slots[slot_].pid_namespace;
  const uint32_t bound = tw_vgpu_slot_bound(page_);
  for (uint32_t i = 0; i < bound; ++i) {
    tw_vgpu_slot& slot = page_->slots[i];
    const uint64_t owner = tw_vgpu_load(&slot.owner);
    if (owner == 0 || owner == owner_) continue;
    // A pid of another namespace says nothing here; the node judges those.
    if (!tw_vgpu_owner_moving_in(owner) && slot.pid_namespace != name_space) continue;
    if (!system_->alive(owner) && swap(slot.owner, owner, 0)) found = true;
  }
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

void Books::note(uint32_t device, uint64_t bytes, tw_vgpu_kind kind) {
  tw_vgpu_count(&book(device).by_kind[kind], bytes);
  tw_vgpu_count(&page_->devices[device].allocations[kind], 1);
  uint64_t used = 0;
  tw_vgpu_memory_claimed(page_, device, &used);
  raise(page_->devices[device].memory_peak_bytes, used);
}

Grant Books::reserve(uint32_t device, uint64_t limit_bytes, uint64_t bytes, tw_vgpu_kind kind) {
  if (limit_bytes == 0) limit_bytes = UINT64_MAX >> 1;
  if (bytes > limit_bytes) return Grant::OverLimit;
  Grant grant = Grant::Contended;
  bool swept = false;
  while (true) {
    bool conclusive = false;
    add(book(device).pending_bytes, bytes);
    if (try_once(device, limit_bytes, bytes, false, conclusive)) {
      grant = Grant::Granted;
      break;
    }
    grant = conclusive ? Grant::OverLimit : take_turns(device, limit_bytes, bytes);
    // What a dead peer holds is taken back before anybody is refused for it.
    if (grant == Grant::Granted || swept || !sweep()) break;
    swept = true;
  }
  if (grant == Grant::Granted) note(device, bytes, kind);
  return grant;
}

void Books::release(uint32_t device, uint64_t bytes, tw_vgpu_kind kind) {
  subtract(book(device).used_bytes, bytes);
  tw_vgpu_count(&book(device).by_kind[kind], 0 - bytes);
}

}  // namespace tweendeck::vgpu
