// Lets readers look at memory that one writer replaces: what the writer takes out of sight is freed once
// everybody who could still see it has left.
//
// A reader is wait-free: entering is one store, leaving another. The writer never waits either; it asks what
// may be freed. (Epoch-based reclamation, Fraser 2004, for one writer.)
//
// Order: a full fence lies between a reader's entering and its first look, and between what the writer unlinked
// and its look at the readers. So a reader whom the writer did not see yet sees what was unlinked.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>

namespace tweendeck::routing::kv {

inline constexpr size_t kMaxReaders = 64;

class Readers {
 public:
  // ---- readers; any thread, one at a time per place
  std::optional<size_t> join();  // nullopt: kMaxReaders have joined
  void part(size_t place) { places_[place].taken.store(false, std::memory_order_release); }
  void enter(size_t place) {
    places_[place].since.store(epoch_.load(), std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  void leave(size_t place) { places_[place].since.store(0, std::memory_order_release); }

  // ---- the writer
  // `destroy` is called when nobody can see the object any more, by reclaim() or finish().
  void retire(std::function<void()> destroy);
  void reclaim();
  void finish();  // no reader is there any more; before what the destroyers need is gone
  size_t waiting() const { return retired_.size(); }

 private:
  struct alignas(64) Place {
    std::atomic<bool> taken{false};
    std::atomic<uint64_t> since{0};  // epoch at enter(); 0 = outside
  };
  struct Retired {
    uint64_t epoch;
    std::function<void()> destroy;
  };

  std::atomic<uint64_t> epoch_{1};
  std::array<Place, kMaxReaders> places_;
  std::deque<Retired> retired_;
};

}  // namespace tweendeck::routing::kv
