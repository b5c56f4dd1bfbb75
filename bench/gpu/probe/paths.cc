#include "paths.h"

#include <vector>

#include "driver.h"

namespace probe {
namespace {

constexpr uint64_t kGranule = 512, kPage = 2ull << 20;
constexpr uint64_t kPoolPiece = 32ull << 20;  // what a pool takes from the device at a time
constexpr unsigned kAttachGlobal = 1;
constexpr int kFloat = 0x20;
constexpr uint64_t kArrayRow = 4096;  // floats
constexpr unsigned kMipLevels = 2;
constexpr int kPinned = 1, kOnDevice = 1, kReadWrite = 3;
constexpr int kManagedMemory = 83, kVirtualMemory = 102, kMemoryPools = 115;  // device attributes

// CUmemAllocationProp and CUmemPoolProps begin alike and are zero behind this.
struct Properties {
  int type = kPinned, handle_types = 0, location = kOnDevice, device = 0;
  uint64_t rest[12] = {};
};

void need(bool there, const char* what) {
  if (!there) stop(kNotThere, "the device has no ", what);
}

class Linear : public Path {
 public:
  explicit Linear(std::string how) : how_(std::move(how)) {
    need(how_ != "managed" || attribute(kManagedMemory) != 0, "managed memory");
  }
  int take(uint64_t bytes) override {
    uint64_t address = 0;
    size_t pitch = 0;
    const int code =
        how_ == "managed"
            ? call<uint64_t*, size_t, unsigned>("cuMemAllocManaged", &address, bytes, kAttachGlobal)
        : how_ == "pitch" ? call<uint64_t*, size_t*, size_t, size_t, unsigned>(
                                "cuMemAllocPitch_v2", &address, &pitch, kGranule, bytes / kGranule, 4)
                          : call<uint64_t*, size_t>("cuMemAlloc_v2", &address, bytes);
    if (code == kSuccess) held_.push_back(address);
    return code;
  }
  void release_all() override {
    for (const uint64_t address : held_) must<uint64_t>("cuMemFree_v2", address);
    held_.clear();
  }
  uint64_t finest() const override { return kGranule; }

 private:
  std::string how_;
  std::vector<uint64_t> held_;
};

class Array : public Path {
 public:
  explicit Array(bool mipmap) : mipmap_(mipmap) {}
  int take(uint64_t bytes) override {
    struct {
      size_t width, height, depth;
      int format;
      unsigned channels, flags;
    } shape = {kArrayRow, bytes / (kArrayRow * sizeof(float)), 0, kFloat, 1, 0};
    void* array = nullptr;
    const int code =
        mipmap_ ? call<void**, const void*, unsigned>("cuMipmappedArrayCreate", &array, &shape, kMipLevels)
                : call<void**, const void*>("cuArray3DCreate_v2", &array, &shape);
    if (code == kSuccess) held_.push_back(array);
    return code;
  }
  void release_all() override {
    for (void* array : held_) must<void*>(mipmap_ ? "cuMipmappedArrayDestroy" : "cuArrayDestroy", array);
    held_.clear();
  }
  uint64_t finest() const override { return kPage; }
  uint64_t slack() const override { return 2 * kPage; }  // padding, and the lesser levels of a mipmap

 private:
  bool mipmap_;
  std::vector<void*> held_;
};

class Virtual : public Path {
 public:
  Virtual() {
    need(attribute(kVirtualMemory) != 0, "virtual memory management");
    must<size_t*, const void*, int>("cuMemGetAllocationGranularity", &granularity_, &properties_, 0);
  }
  // Mapped and the handle dropped at once, as allocators do: the mapping alone keeps it.
  int take(uint64_t bytes) override {
    unsigned long long handle = 0;
    uint64_t address = 0;
    const int code = call<unsigned long long*, size_t, const void*, unsigned long long>(
        "cuMemCreate", &handle, bytes, &properties_, 0);
    if (code != kSuccess) return code;
    must<uint64_t*, size_t, size_t, uint64_t, unsigned long long>("cuMemAddressReserve", &address, bytes, 0,
                                                                  0, 0);
    must<uint64_t, size_t, size_t, unsigned long long, unsigned long long>("cuMemMap", address, bytes, 0,
                                                                           handle, 0);
    must<unsigned long long>("cuMemRelease", handle);
    const int access[3] = {kOnDevice, 0, kReadWrite};
    must<uint64_t, size_t, const void*, size_t>("cuMemSetAccess", address, bytes, access, 1);
    held_.emplace_back(address, bytes);
    return kSuccess;
  }
  void release_all() override {
    for (const auto& [address, bytes] : held_) {
      must<uint64_t, size_t>("cuMemUnmap", address, bytes);
      must<uint64_t, size_t>("cuMemAddressFree", address, bytes);
    }
    held_.clear();
  }
  uint64_t finest() const override { return granularity_; }

 private:
  Properties properties_;
  size_t granularity_ = 0;
  std::vector<std::pair<uint64_t, uint64_t>> held_;
};

class Ordered : public Path {
 public:
  explicit Ordered(bool own_pool) {
    need(attribute(kMemoryPools) != 0, "stream-ordered memory");
    if (own_pool)
      must<void**, const void*>("cuMemPoolCreate", &pool_, &properties_);
    else
      must<void**, int>("cuDeviceGetDefaultMemPool", &pool_, 0);
    own_ = own_pool;
    must<void**, unsigned>("cuStreamCreate", &stream_, 1);
  }
  int take(uint64_t bytes) override {
    uint64_t address = 0;
    const int code = own_ ? call<uint64_t*, size_t, void*, void*>("cuMemAllocFromPoolAsync", &address, bytes,
                                                                  pool_, stream_)
                          : call<uint64_t*, size_t, void*>("cuMemAllocAsync", &address, bytes, stream_);
    if (code == kSuccess) held_.push_back(address);
    return code;
  }
  void release_all() override {
    for (const uint64_t address : held_) must<uint64_t, void*>("cuMemFreeAsync", address, stream_);
    held_.clear();
    must<void*>("cuStreamSynchronize", stream_);
    must<void*, size_t>("cuMemPoolTrimTo", pool_, 0);
  }
  uint64_t finest() const override { return kPoolPiece; }

 private:
  Properties properties_;
  bool own_ = false;
  void *pool_ = nullptr, *stream_ = nullptr;
  std::vector<uint64_t> held_;
};

// Each piece is an allocation node of a graph of its own, launched once and left allocated.
class GraphNodes : public Path {
 public:
  GraphNodes() {
    need(attribute(kMemoryPools) != 0, "stream-ordered memory");
    must<void**, unsigned>("cuStreamCreate", &stream_, 1);
  }
  int take(uint64_t bytes) override {
    struct {
      int type = kPinned, handle_types = 0, location = kOnDevice, device = 0;
      uint64_t rest[9] = {};
      const void* access = nullptr;
      size_t access_count = 0, bytes = 0;
      uint64_t address = 0;
    } node_of;
    static_assert(sizeof(node_of) == 120, "CUDA_MEM_ALLOC_NODE_PARAMS");
    node_of.bytes = bytes;
    Held made;
    void* node = nullptr;
    must<void**, unsigned>("cuGraphCreate", &made.graph, 0);
    int code = call<void**, void*, const void*, size_t, void*>("cuGraphAddMemAllocNode", &node, made.graph,
                                                               nullptr, 0, &node_of);
    if (code == kSuccess)
      code =
          call<void**, void*, unsigned long long>("cuGraphInstantiateWithFlags", &made.exec, made.graph, 0);
    if (code == kSuccess) code = call<void*, void*>("cuGraphLaunch", made.exec, stream_);
    if (code == kSuccess) code = call<void*>("cuStreamSynchronize", stream_);
    made.address = node_of.address;
    if (code == kSuccess)
      held_.push_back(made);
    else
      drop(made);
    return code;
  }
  void release_all() override {
    for (const Held& held : held_) must<uint64_t, void*>("cuMemFreeAsync", held.address, stream_);
    must<void*>("cuStreamSynchronize", stream_);
    for (const Held& held : held_) drop(held);
    held_.clear();
    must<int>("cuDeviceGraphMemTrim", 0);
  }
  uint64_t finest() const override { return kPoolPiece; }

 private:
  struct Held {
    void *graph = nullptr, *exec = nullptr;
    uint64_t address = 0;
  };
  static void drop(const Held& held) {
    if (held.exec != nullptr) must<void*>("cuGraphExecDestroy", held.exec);
    must<void*>("cuGraphDestroy", held.graph);
  }
  void* stream_ = nullptr;
  std::vector<Held> held_;
};

}  // namespace

std::unique_ptr<Path> make_path(const std::string& name) {
  if (name == "linear" || name == "pitch" || name == "managed") return std::make_unique<Linear>(name);
  if (name == "array" || name == "mipmap") return std::make_unique<Array>(name == "mipmap");
  if (name == "virtual") return std::make_unique<Virtual>();
  if (name == "async" || name == "pool") return std::make_unique<Ordered>(name == "pool");
  if (name == "graph") return std::make_unique<GraphNodes>();
  stop(kUsage, "no such path: ", name.c_str());
}

}  // namespace probe
