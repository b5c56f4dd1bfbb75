// The memory of one card as one process sees it.
//
// Device addresses lie in a reserved, inaccessible window, so that using one without the API faults as on a
// real machine; the bytes live in a second reservation of the same shape that the kernel fills with pages on
// first touch. An 80 GB card costs nothing until bytes are written. Safe from any thread.
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

inline constexpr uint64_t kAllocationGranularity = 512;  // bytes; sizes are charged rounded up to it
inline constexpr uint64_t kWindowPerMemory = 4;  // address space per byte of the card, against fragmentation

class DeviceMemory {
 public:
  struct Range {
    uint64_t address;
    uint64_t bytes;    // as asked for
    uint64_t charged;  // rounded up
    const void* context;
  };

  static std::unique_ptr<DeviceMemory> create(uint64_t card_bytes);  // nullptr when no address space is left
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  static uint64_t charge_for(uint64_t bytes) {
    return (bytes + kAllocationGranularity - 1) / kAllocationGranularity * kAllocationGranularity;
  }

  uint64_t allocate(uint64_t bytes, const void* context);  // 0 = no room in the window
  std::optional<Range> free(uint64_t address);             // nullopt: not the start of an allocation
  std::optional<Range> find(uint64_t address);             // the allocation that holds `address`
  std::vector<Range> of_context(const void* context);
  bool contains(uint64_t address) const { return address - window_ < window_bytes_; }
  char* host(uint64_t address, uint64_t bytes);  // nullptr unless inside one allocation

 private:
  DeviceMemory() = default;
  struct Block {
    uint64_t bytes;
    uint64_t charged;
    const void* context;
    bool touched;
  };
  void give_back(uint64_t offset, uint64_t length);
  std::map<uint64_t, Block>::iterator holder(uint64_t offset);

  uint64_t window_ = 0;
  uint64_t window_bytes_ = 0;
  char* bytes_ = nullptr;
  std::mutex mutex_;
  std::map<uint64_t, Block> live_;                   // by offset
  std::map<uint64_t, uint64_t> free_;                // offset -> length, neighbours merged
  std::set<std::pair<uint64_t, uint64_t>> by_size_;  // (length, offset)
};

}  // namespace tweendeck::softgpu
