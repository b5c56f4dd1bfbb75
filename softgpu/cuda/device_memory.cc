#include "softgpu/cuda/device_memory.h"

#include <sys/mman.h>

namespace tweendeck::softgpu {

std::unique_ptr<DeviceMemory> DeviceMemory::create(uint64_t card_bytes) {
  const uint64_t bytes = card_bytes * kWindowPerMemory;
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* window = mmap(nullptr, bytes, PROT_NONE, kFlags, -1, 0);
  if (window == MAP_FAILED) return nullptr;
  void* backing = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  if (backing == MAP_FAILED) {
    munmap(window, bytes);
    return nullptr;
  }
  madvise(backing, bytes, MADV_DONTFORK);  // a forked child cannot use the card
  madvise(backing, bytes, MADV_DONTDUMP);
  std::unique_ptr<DeviceMemory> memory(new DeviceMemory);
  memory->window_ = reinterpret_cast<uint64_t>(window);
  memory->window_bytes_ = bytes;
  memory->bytes_ = static_cast<char*>(backing);
  memory->give_back(0, bytes);
  return memory;
}

DeviceMemory::~DeviceMemory() {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): an address that callers see as a number
  munmap(reinterpret_cast<void*>(window_), window_bytes_);
  munmap(bytes_, window_bytes_);
}

uint64_t DeviceMemory::allocate(uint64_t bytes, const void* context) {
  const uint64_t charged = charge_for(bytes);
  std::lock_guard guard(mutex_);
  const auto fit = by_size_.lower_bound({charged, 0});  // the smallest hole that is large enough
  if (fit == by_size_.end()) return 0;
  const auto [length, offset] = *fit;
  by_size_.erase(fit);
  free_.erase(offset);
  if (length > charged) {
    free_.emplace(offset + charged, length - charged);
    by_size_.emplace(length - charged, offset + charged);
  }
  live_.emplace(offset, Block{bytes, charged, context, false});
  return window_ + offset;
}

void DeviceMemory::give_back(uint64_t offset, uint64_t length) {
  auto next = free_.lower_bound(offset);
  if (next != free_.end() && next->first == offset + length) {
    length += next->second;
    by_size_.erase({next->second, next->first});
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second == offset) {
      offset = previous->first;
      length += previous->second;
      by_size_.erase({previous->second, previous->first});
      free_.erase(previous);
    }
  }
  free_.emplace(offset, length);
  by_size_.emplace(length, offset);
}

std::optional<DeviceMemory::Range> DeviceMemory::free(uint64_t address) {
  std::lock_guard guard(mutex_);
  const auto found = live_.find(address - window_);
  if (found == live_.end()) return std::nullopt;
  const auto [offset, block] = *found;
  live_.erase(found);
  if (block.touched) {
    // Whole pages only: the first and the last may hold a neighbour's bytes.
    constexpr uint64_t kPage = 4096;
    const uint64_t first = (offset + kPage - 1) / kPage * kPage;
    const uint64_t last = (offset + block.charged) / kPage * kPage;
    if (last > first) madvise(bytes_ + first, last - first, MADV_DONTNEED);
  }
  give_back(offset, block.charged);
  return Range{address, block.bytes, block.charged, block.context};
}

std::map<uint64_t, DeviceMemory::Block>::iterator DeviceMemory::holder(uint64_t offset) {
  auto next = live_.upper_bound(offset);
  if (next == live_.begin()) return live_.end();
  const auto found = std::prev(next);
  return offset - found->first < found->second.charged ? found : live_.end();
}

std::optional<DeviceMemory::Range> DeviceMemory::find(uint64_t address) {
  if (!contains(address)) return std::nullopt;
  std::lock_guard guard(mutex_);
  const auto found = holder(address - window_);
  if (found == live_.end()) return std::nullopt;
  return Range{window_ + found->first, found->second.bytes, found->second.charged, found->second.context};
}

std::vector<DeviceMemory::Range> DeviceMemory::of_context(const void* context) {
  std::lock_guard guard(mutex_);
  std::vector<Range> ranges;
  for (const auto& [offset, block] : live_) {
    if (block.context == context)
      ranges.push_back({window_ + offset, block.bytes, block.charged, block.context});
  }
  return ranges;
}

char* DeviceMemory::host(uint64_t address, uint64_t bytes) {
  if (!contains(address)) return nullptr;
  const uint64_t offset = address - window_;
  std::lock_guard guard(mutex_);
  const auto found = holder(offset);
  if (found == live_.end() || bytes > found->first + found->second.bytes - offset) return nullptr;
  found->second.touched = true;
  return bytes_ + offset;
}

}  // namespace tweendeck::softgpu
