// The memory of one card as one process sees it.
//
// Device addresses lie in a reserved, inaccessible window, so that using one without the API faults as on a
// real machine; the bytes live in a second range of the same shape, pages of an anonymous file that appear on
// first touch. An 80 GB card costs nothing until bytes are written. Other bytes can be put behind a reserved
// address range (map), which is how virtual memory management and memory of other processes work. Accounting
// is the caller's. Safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace tweendeck::softgpu {

struct Pool;
struct GraphAllocation;

inline constexpr uint64_t kAllocationGranularity = 512;      // bytes; sizes are charged rounded up to it
inline constexpr uint64_t kMappingGranularity = 2ull << 20;  // of what is created, reserved and mapped
inline constexpr uint64_t kWindowPerMemory = 16;  // address space per byte of the card, against fragmentation

enum class MemoryKind {
  Linear,    // cuMemAlloc
  Pooled,    // of a memory pool
  Graph,     // of a graph's memory node: bytes only while it is allocated
  Array,     // not addressable
  Physical,  // of cuMemCreate; its own address is never given away
  Reserved,  // addresses without bytes until something is mapped there
  Imported,  // of another process, mapped here
};

struct MemoryOwner {
  MemoryKind kind = MemoryKind::Linear;
  const void* context = nullptr;  // null: not of a context
  Pool* pool = nullptr;
  GraphAllocation* graph = nullptr;
};

class DeviceMemory {
 public:
  struct Range {
    uint64_t address;
    uint64_t bytes;    // as asked for
    uint64_t charged;  // rounded up
    MemoryOwner owner;
  };

  static std::unique_ptr<DeviceMemory> create(uint64_t card_bytes);  // nullptr when no address space is left
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  static uint64_t charge_for(uint64_t bytes) {
    return (bytes + kAllocationGranularity - 1) / kAllocationGranularity * kAllocationGranularity;
  }

  // 0 = no room in the window. `alignment` is a power of two of at least kAllocationGranularity.
  uint64_t allocate(uint64_t bytes, const MemoryOwner& owner, uint64_t alignment = kAllocationGranularity);
  std::optional<Range> free(uint64_t address);  // nullopt: not the start of an allocation
  std::optional<Range> find(uint64_t address);  // the allocation that holds `address`
  std::vector<Range> of_context(const void* context);
  bool contains(uint64_t address) const { return address - window_ < window_bytes_; }
  char* host(uint64_t address, uint64_t bytes);  // nullptr unless inside one allocation, with bytes behind it

  // Puts `bytes` of `file` from `offset` on behind part of a reserved range; in whole pages.
  bool map(uint64_t address, uint64_t bytes, int file, uint64_t offset);
  void unmap(uint64_t address, uint64_t bytes);
  // Whether copies may use this part of a reserved range. Parts are those that were mapped.
  void set_usable(uint64_t address, uint64_t bytes, bool usable);

  int file() const { return file_; }  // where the bytes of what is allocated here are, at offset_of(address)
  uint64_t offset_of(uint64_t address) const { return address - window_; }

 private:
  DeviceMemory() = default;
  struct Block {
    uint64_t bytes;
    uint64_t charged;
    MemoryOwner owner;
    bool touched;
  };
  using Blocks = std::map<uint64_t, Block>;
  void give_back(uint64_t offset, uint64_t length);
  Blocks::iterator holder(uint64_t offset);
  bool is_usable(uint64_t offset, uint64_t bytes) const;

  uint64_t window_ = 0;
  uint64_t window_bytes_ = 0;
  int file_ = -1;
  char* bytes_ = nullptr;
  std::mutex mutex_;
  Blocks live_;                                      // by offset
  std::map<uint64_t, uint64_t> usable_;              // mapped and accessible parts of reserved ranges
  std::map<uint64_t, uint64_t> free_;                // offset -> length, neighbours merged
  std::set<std::pair<uint64_t, uint64_t>> by_size_;  // (length, offset)
};

}  // namespace tweendeck::softgpu
