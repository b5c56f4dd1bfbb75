// The stand-in driver inside one process: what the ABI's opaque handles point at, and what they share.
//
// One Driver per process, made by cuInit and never destroyed (threads may still be in a call at exit); its
// client of the device model is given back when the library is finalised. Calls resolve each other inside the
// library and never through exported symbols, so an interposer in front of it is not entered again. Threads:
// Driver, Context, Stream, Event and DeviceMemory are safe from any thread.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "softgpu/cuda/abi.h"
#include "softgpu/cuda/device_memory.h"
#include "softgpu/model/model.h"

namespace tweendeck::softgpu {

inline constexpr int kDriverVersion = 13000;             // CUDA 13.0
inline constexpr uint64_t kContextBytes = 256ull << 20;  // device memory that a context takes
inline constexpr uint64_t kModuleBytes = 2ull << 20;     // ... and a loaded module
inline constexpr int kLowestStreamPriority = 0;
inline constexpr int kHighestStreamPriority = -5;
inline constexpr unsigned kMaxThreadsPerBlock = 1024;
inline constexpr char kStatePathVariable[] = "TWEENDECK_SOFTGPU_STATE";
inline constexpr char kRankVariable[] =
    "TWEENDECK_SOFTGPU_RANK";  // order among clients at equal virtual time

struct Capture;
struct Context;
struct Node;

// Ordered work of one context: the ticket of its last work. On an overlapping card what belongs behind work of
// another stream is kept there by a marker that waits for that work's ticket; other cards execute the work of a
// process in order of submission anyway.
struct Stream {
  Context* context = nullptr;
  uint64_t id = 0;
  unsigned flags = 0;
  int priority = 0;
  bool blocking = true;  // synchronises with the legacy default stream
  std::atomic<bool> alive{true};
  std::atomic<uint64_t> last_ticket{0};
  std::atomic<uint64_t> joined_legacy{
      0};            // overlapping card: work of the legacy stream that this one is behind
  unsigned sms = 0;  // of a green context: what its kernels may use; 0 = all
  std::atomic<uint64_t> not_before_ns{0};  // dependency on another card's event
  std::atomic<uint64_t> last_host_call{0};
  std::atomic<Capture*> capture{nullptr};
  std::vector<Node*> capture_tail;  // the nodes that the next one depends on; guarded by Graphs::mutex
};

struct Event {
  Context* context = nullptr;
  unsigned flags = 0;
  std::atomic<bool> alive{true};
  std::mutex mutex;
  bool recorded = false;
  uint64_t ticket = 0;  // the work it waits for; 0 = none
  uint64_t recorded_ns = 0;
  uint64_t expected_end_ns = 0;
  uint64_t not_before_ns = 0;
  uint64_t host_call = 0;
  std::atomic<uint64_t> capture_id{0};  // not 0: its last record was captured
  std::vector<Node*> capture_tail;      // guarded by Graphs::mutex
};

struct Function {
  std::string name;
  bool is_spin = false;  // tw_spin(uint64_t duration_ns)
  struct Module* module = nullptr;
  // What old_launch.cc has been told about the next launch.
  std::array<unsigned, 3> block{};
  unsigned shared_bytes = 0;
  std::vector<unsigned char> parameters;
};

// A CUmodule (belongs to a context) or a CUlibrary (context == nullptr).
struct Module {
  Context* context = nullptr;
  std::mutex mutex;
  std::map<std::string, std::unique_ptr<Function>, std::less<>> functions;
};

enum class ContextKind { Created, Primary, Green };

struct Context {
  int device = 0;
  uint64_t charged = 0;
  unsigned sms = 0;  // of a green context; 0 = all
  bool primary = false;
  unsigned flags = 0;
  uint64_t id = 0;
  std::atomic<bool> alive{true};
  // The last tickets by hardware queue (cards that do not overlap have one): of all streams, of those that the
  // legacy default stream waits for, and of those that it is behind already.
  std::atomic<uint64_t> lanes[kConnections] = {};
  std::atomic<uint64_t> blocking_lanes[kConnections] = {};
  std::atomic<uint64_t> joined_lanes[kConnections] = {};
  std::atomic<uint64_t> last_host_call{0};
  std::atomic<uint64_t> last_blocking_host_call{0};
  Stream legacy;
  std::set<Module*> modules;
  std::set<Stream*> streams;
  std::set<Context*> peers;
  size_t limits[8] = {};  // by CUlimit; 0 = the default
};

struct Device {
  uint32_t card = 0;
  std::unique_ptr<DeviceMemory> memory;  // made when it is first needed
  std::atomic<DeviceMemory*> known{nullptr};
  Context* primary = nullptr;
  unsigned primary_references = 0;
  unsigned primary_flags = 0;
};

class Driver {
 public:
  static CUresult init();  // cuInit
  static Driver* get();    // nullptr before init, in a forked child and after the library was finalised

  Model& model() { return *model_; }
  Client& client() { return *client_; }
  int device_count() const { return static_cast<int>(devices_.size()); }
  Device* device(int ordinal);
  const CardInfo& info(int ordinal) { return model_->info(devices_[static_cast<size_t>(ordinal)].card); }

  // Contexts. `create` charges kContextBytes, but nothing for a green one; nullptr = out of memory.
  Context* create_context(int device, unsigned flags, ContextKind kind, unsigned sms = 0);
  DeviceMemory* memory_of(int device);  // nullptr: no address space is left
  void destroy_context(Context* context);
  bool is_context(const Context* context);

  Stream* create_stream(Context* context, unsigned flags, int priority);
  void destroy_stream(Stream* stream);
  Event* create_event(Context* context, unsigned flags);
  void destroy_event(Event* event);
  Module* load_module(Context* context, CUresult& error);
  bool unload_module(Module* module);
  Function* function(Module* module, const char* name);

  // nullptr when `address` is in no live allocation of any card, or [address, address + bytes) leaves it.
  DeviceMemory* find_memory(CUdeviceptr address);
  char* translate(CUdeviceptr address, size_t bytes);
  // An address of either kind as bytes of this process; nullptr for a device address outside any allocation.
  char* any_bytes(uint64_t address, size_t bytes);

  struct Managed {
    size_t bytes = 0;
    uint64_t charged = 0;
    Context* context = nullptr;
  };
  using ManagedMap = std::map<CUdeviceptr, Managed>;
  ManagedMap::iterator find_managed(CUdeviceptr address);  // `mutex` is held
  bool free_managed(CUdeviceptr address);

  std::mutex mutex;  // guards contexts, devices' primary contexts, modules, host and managed memory
  ManagedMap managed;
  std::unordered_map<const void*, size_t> host_allocations;
  std::unordered_map<const void*, size_t> host_registrations;

 private:
  Driver() = default;
  CUresult start();
  void select_devices();

  std::unique_ptr<Model> model_;
  std::unique_ptr<Client> client_;
  std::deque<Device> devices_;
  std::set<Context*> contexts_;
  std::set<Module*> modules_;
  std::deque<Context>
      context_storage_;  // handles stay readable after destroy, so that misuse is an error code
  std::deque<Stream> stream_storage_;
  std::deque<Event> event_storage_;
  std::vector<Stream*> free_streams_;
  std::vector<Event*> free_events_;
  uint64_t next_id_ = 1;
};

void close_imports(const Context& context);  // ipc.cc
// vmm.cc; false: nothing is mapped there.
bool describe_mapping(CUdeviceptr address, int& device, uint64_t& start, uint64_t& bytes, int& handle_types);

// The calling thread's context stack.
std::vector<Context*>& context_stack();
Context* current_context();  // nullptr when none

// This thread takes part in virtual time from now on.
void join_virtual_time();

// Resolves a stream argument: 0 (default: legacy or per-thread by `per_thread_default`), 1, 2 or a handle.
// The legacy stream is refused while a blocking stream of its context is being captured.
CUresult resolve_stream(CUstream handle, bool per_thread_default, Stream*& stream);

// `sms`: what the work holds while it runs, on cards where that matters.
CUresult enqueue(Stream& stream, uint64_t duration_ns, uint32_t sms);
void order_after(Stream& stream, uint64_t ticket);  // later work of `stream` starts when that is done
void synchronize(Stream& stream);
bool is_idle(Stream& stream);
// The ticket that everything so far in `stream` ends with; the legacy stream includes all blocking streams.
uint64_t tail_ticket(Stream& stream);
uint64_t tail_host_call(Stream& stream);
void synchronize(Context& context);

inline void raise(std::atomic<uint64_t>& value, uint64_t candidate) {
  uint64_t seen = value.load(std::memory_order_relaxed);
  while (seen < candidate && !value.compare_exchange_weak(seen, candidate, std::memory_order_relaxed)) {
  }
}

}  // namespace tweendeck::softgpu

// NOLINTBEGIN(bugprone-macro-parentheses): the arguments are names to declare
// Every call begins like this: it needs cuInit, and most need a current context.
#define TW_DRIVER(name)                                                     \
  ::tweendeck::softgpu::Driver* name = ::tweendeck::softgpu::Driver::get(); \
  if (name == nullptr) return CUDA_ERROR_NOT_INITIALIZED
#define TW_CONTEXT(name)                                                         \
  ::tweendeck::softgpu::Context* name = ::tweendeck::softgpu::current_context(); \
  if (name == nullptr) return CUDA_ERROR_INVALID_CONTEXT;                        \
  if (!name->alive) return CUDA_ERROR_CONTEXT_IS_DESTROYED
// NOLINTEND(bugprone-macro-parentheses)
