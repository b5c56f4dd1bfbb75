#include "softgpu/cuda/device_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace tweendeck::softgpu {
namespace {

constexpr uint64_t kPage = 4096;

// A forked child cannot use the card, and a core file must not hold it.
void keep_private(void* bytes, uint64_t length) {
  madvise(bytes, length, MADV_DONTFORK);
  madvise(bytes, length, MADV_DONTDUMP);
}

bool is_reserved(MemoryKind kind) {
  return kind == MemoryKind::Reserved || kind == MemoryKind::Imported || kind == MemoryKind::Graph;
}

}  // namespace

std::unique_ptr<DeviceMemory> DeviceMemory::create(uint64_t card_bytes) {
  const uint64_t bytes = card_bytes * kWindowPerMemory;
  const int file = memfd_create("softgpu-memory", MFD_CLOEXEC);
  if (file < 0) return nullptr;
  void* window = MAP_FAILED;
  void* backing = MAP_FAILED;
  if (ftruncate(file, static_cast<off_t>(bytes)) == 0) {
    window = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    backing = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
  }
  if (window == MAP_FAILED || backing == MAP_FAILED) {
    if (window != MAP_FAILED) munmap(window, bytes);
    if (backing != MAP_FAILED) munmap(backing, bytes);
    close(file);
    return nullptr;
  }
  keep_private(backing, bytes);
  std::unique_ptr<DeviceMemory> memory(new DeviceMemory);
  memory->window_ = reinterpret_cast<uint64_t>(window);
  memory->window_bytes_ = bytes;
  memory->file_ = file;
  memory->bytes_ = static_cast<char*>(backing);
  memory->give_back(0, bytes);
  return memory;
}

DeviceMemory::~DeviceMemory() {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): an address that callers see as a number
  munmap(reinterpret_cast<void*>(window_), window_bytes_);
  munmap(bytes_, window_bytes_);
  close(file_);
}

uint64_t DeviceMemory::allocate(uint64_t bytes, const MemoryOwner& owner, uint64_t alignment) {
  const uint64_t charged = charge_for(bytes);
  std::lock_guard guard(mutex_);
  // The smallest hole that is large enough wherever it starts.
  const auto fit = by_size_.lower_bound({charged + alignment - kAllocationGranularity, 0});
  if (fit == by_size_.end()) return 0;
  const auto [length, offset] = *fit;
  by_size_.erase(fit);
  free_.erase(offset);
  const uint64_t start = (window_ + offset + alignment - 1) / alignment * alignment - window_;
  if (start > offset) give_back(offset, start - offset);
  if (const uint64_t end = offset + length; end > start + charged)
    give_back(start + charged, end - start - charged);
  live_.emplace(start, Block{bytes, charged, owner, owner.kind == MemoryKind::Physical});
  return window_ + start;
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
    const uint64_t first = (offset + kPage - 1) / kPage * kPage;
    const uint64_t last = (offset + block.charged) / kPage * kPage;
    if (last > first) {
      fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(first),
                static_cast<off_t>(last - first));
    }
  }
  give_back(offset, block.charged);
  return Range{address, block.bytes, block.charged, block.owner};
}

DeviceMemory::Blocks::iterator DeviceMemory::holder(uint64_t offset) {
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
  return Range{window_ + found->first, found->second.bytes, found->second.charged, found->second.owner};
}

std::vector<DeviceMemory::Range> DeviceMemory::of_context(const void* context) {
  std::lock_guard guard(mutex_);
  std::vector<Range> ranges;
  for (const auto& [offset, block] : live_) {
    if (block.owner.context == context)
      ranges.push_back({window_ + offset, block.bytes, block.charged, block.owner});
  }
  return ranges;
}

bool DeviceMemory::is_usable(uint64_t offset, uint64_t bytes) const {
  while (bytes > 0) {
    auto next = usable_.upper_bound(offset);
    if (next == usable_.begin()) return false;
    const auto part = std::prev(next);
    const uint64_t left = part->first + part->second > offset ? part->first + part->second - offset : 0;
    if (left == 0) return false;
    if (left >= bytes) return true;
    offset += left;
    bytes -= left;
  }
  return true;
}

char* DeviceMemory::host(uint64_t address, uint64_t bytes) {
  if (!contains(address)) return nullptr;
  const uint64_t offset = address - window_;
  std::lock_guard guard(mutex_);
  const auto found = holder(offset);
  if (found == live_.end() || bytes > found->first + found->second.bytes - offset) return nullptr;
  const MemoryKind kind = found->second.owner.kind;
  if (kind == MemoryKind::Physical) return nullptr;
  if (is_reserved(kind) && !is_usable(offset, bytes)) return nullptr;
  found->second.touched = true;
  return bytes_ + offset;
}

bool DeviceMemory::map(uint64_t address, uint64_t bytes, int file, uint64_t offset) {
  char* at = bytes_ + offset_of(address);
  constexpr int kFlags = MAP_SHARED | MAP_FIXED | MAP_NORESERVE;
  if (mmap(at, bytes, PROT_READ | PROT_WRITE, kFlags, file, static_cast<off_t>(offset)) == MAP_FAILED)
    return false;
  keep_private(at, bytes);
  return true;
}

void DeviceMemory::unmap(uint64_t address, uint64_t bytes) {
  std::lock_guard guard(mutex_);
  for (auto part = usable_.lower_bound(offset_of(address));
       part != usable_.end() && part->first < offset_of(address) + bytes;) {
    part = usable_.erase(part);
  }
  map(address, bytes, file_, offset_of(address));
}

void DeviceMemory::set_usable(uint64_t address, uint64_t bytes, bool usable) {
  std::lock_guard guard(mutex_);
  if (usable) {
    usable_[offset_of(address)] = bytes;
  } else {
    usable_.erase(offset_of(address));
  }
}

}  // namespace tweendeck::softgpu
