#include "routing/kv/readers.h"

#include <algorithm>
#include <utility>

namespace tweendeck::routing::kv {

std::optional<size_t> Readers::join() {
  for (size_t place = 0; place < kMaxReaders; ++place) {
    bool free = false;
    if (places_[place].taken.compare_exchange_strong(free, true)) return place;
  }
  return std::nullopt;
}

void Readers::finish() {
  for (Retired& retired : retired_) retired.destroy();
  retired_.clear();
}

void Readers::retire(std::function<void()> destroy) {
  retired_.push_back({epoch_.load(), std::move(destroy)});
}

void Readers::reclaim() {
  if (retired_.empty()) return;
  epoch_.fetch_add(1);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  uint64_t oldest = UINT64_MAX;
  for (const Place& place : places_) {
    const uint64_t since = place.since.load(std::memory_order_acquire);
    if (since != 0) oldest = std::min(oldest, since);
  }
  // Who entered after an object was retired came in a later epoch, or read the epoch before it was raised and
  // counts as older than he is.
  while (!retired_.empty() && retired_.front().epoch < oldest) {
    const std::function<void()> destroy = std::move(retired_.front().destroy);
    retired_.pop_front();
    destroy();
  }
}

}  // namespace tweendeck::routing::kv
