// KvIndex: which endpoints hold which blocks of KV cache, exactly as their engines' events say.
//
// One writer applies events; readers on any thread ask, for a request's chain of fingerprints, how many leading
// blocks each endpoint holds. Reads are wait-free. What the index says was true at the last event: it never
// claims a block that the events took away (no phantom hits); it may know less than is there (an event whose
// parent is unknown, a spent budget).
//
// How it is kept. A holder, or lane, is an endpoint's group of layers in one tier. KeyTable: per lane, engine's
// hash -> fingerprint. PrefixTable: fingerprint -> set of lanes. An endpoint that is cleared or restarts gets
// new lanes: what the old ones held is out of sight at once and taken apart step by step. Stored and removed
// count copies, as vLLM's block pool does: a block that was stored twice is held until it was removed twice.
//
// Memory: all of it comes out of `max_bytes`, which is never passed. When it is spent, new blocks are refused
// (and counted); what is known stays right.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "routing/kv/budget.h"
#include "routing/kv/events.h"
#include "routing/kv/fingerprint.h"
#include "routing/kv/holder_sets.h"
#include "routing/kv/key_table.h"
#include "routing/kv/prefix_table.h"
#include "routing/kv/readers.h"

namespace tweendeck::routing::kv {

using EndpointNumber = uint32_t;

inline constexpr size_t kMinIndexBytes = size_t{1} << 20;
inline constexpr uint32_t kMaxEndpoints = 4096;
inline constexpr size_t kMaxGroups = 8;  // of full attention; an endpoint with more holds nothing for certain

struct KvIndexConfig {
  size_t max_bytes = size_t{256} << 20;  // at least kMinIndexBytes
  uint32_t max_endpoints = kMaxEndpoints;
  uint32_t max_endpoint_percent = 50;  // no endpoint's blocks take more of the budget
  uint64_t seed = 0;                   // of the hash tables; random where engines are not trusted
};

struct KvIndexStats {
  uint64_t stored = 0;  // blocks, as events named them
  uint64_t removed = 0;
  uint64_t cleared = 0;       // endpoints, by events, restarts or losses
  uint64_t orphans = 0;       // not placed: their parent is not known
  uint64_t unknown = 0;       // removed, or brought to another tier, without being known
  uint64_t other_groups = 0;  // of groups that say nothing about prefixes
  uint64_t refused = 0;       // for want of budget
  uint64_t forgotten = 0;     // given up for want of budget, of all holders
  uint64_t holdings = 0;      // blocks times holders now
  uint64_t fingerprints = 0;  // different blocks now
  uint64_t holder_sets = 0;
  size_t bytes = 0;
};

class KvIndex {
 public:
  struct Match {
    EndpointNumber endpoint;
    uint32_t blocks;         // leading blocks that it holds, > 0
    uint32_t device_blocks;  // of those, leading ones in the device's memory
    bool operator==(const Match&) const = default;
  };

  // A place among the readers, for one thread at a time. The index must outlive it.
  class Reader {
   public:
    static std::optional<Reader> join(KvIndex& index);  // nullopt: kMaxReaders have joined
    ~Reader();
    Reader(Reader&& other) noexcept;
    Reader& operator=(Reader&&) = delete;

    // Every endpoint that holds at least the first block, in no particular order. Reuses `out`.
    void match(std::span<const Fingerprint> chain, std::vector<Match>& out);

   private:
    struct Seen {  // of an endpoint, in the set that is looked at
      uint32_t round = 0;
      uint32_t groups = 0;
      uint32_t device_groups = 0;
    };
    Reader(KvIndex& index, size_t place);
    void look_at(SetId set);
    void walk(std::span<const Fingerprint> chain, std::vector<Match>& out);
    void begin(std::vector<Match>& out);
    void drop_missing(uint32_t blocks, std::vector<Match>& out);

    KvIndex* index_;
    size_t place_;
    uint32_t round_ = 0;
    std::vector<Seen> seen_;
    std::vector<EndpointNumber> members_;  // of the set that is looked at
    size_t holding_ = 0;                   // matches that still go on; they are the first ones
  };

  explicit KvIndex(const KvIndexConfig& config);
  ~KvIndex();

  // ---- the writer; one thread at a time
  std::optional<EndpointNumber> add_endpoint();  // nullopt: max_endpoints are known
  void remove_endpoint(EndpointNumber endpoint);
  void apply(EndpointNumber endpoint, const Event& event);
  void clear(EndpointNumber endpoint);                      // O(1): it holds nothing
  void set_visible(EndpointNumber endpoint, bool visible);  // hidden: what it holds is in doubt
  void tidy(size_t steps);  // frees what nobody sees; apply() does some of it itself
  KvIndexStats stats() const;

  // ---- any thread
  bool visible(EndpointNumber endpoint) const {
    return shared_[endpoint].visible.load(std::memory_order_acquire);
  }
  // Of its last events; 0 = none yet.
  uint32_t block_tokens(EndpointNumber endpoint) const {
    return shared_[endpoint].block_tokens.load(std::memory_order_relaxed);
  }
  uint64_t blocks(EndpointNumber endpoint) const {
    return shared_[endpoint].blocks.load(std::memory_order_relaxed);
  }

 private:
  struct Shared {                     // what readers see of an endpoint
    std::atomic<uint32_t> groups{0};  // a bit for each; all must hold a block
    std::atomic<uint32_t> block_tokens{0};
    std::atomic<bool> visible{true};
    std::atomic<uint64_t> blocks{0};
  };
  struct LaneState {
    KeyTable keys;
    std::unordered_map<Fingerprint, uint32_t> copies;  // beyond the first
    Lane lane = 0;
    uint32_t group = 0;
    Tier tier = Tier::Device;
  };
  struct Endpoint {
    bool used = false;
    std::vector<std::unique_ptr<LaneState>> lanes;
    std::vector<uint32_t> groups;  // place = bit
    uint64_t other_groups = 0;     // a bit for each that cannot be indexed, below 64
  };
  // Who a lane is: endpoint << 8 | group bit << 2 | tier << 1 | 1; 0 = nobody any more.
  static constexpr uint32_t kAlive = 1;

  LaneState* find_lane(Endpoint& endpoint, uint32_t group, Tier tier);
  LaneState* make_lane(EndpointNumber number, uint32_t group, Tier tier);
  std::optional<Lane> new_lane();
  Fingerprint find_key(Endpoint& endpoint, uint32_t group, uint64_t key);
  void stored(EndpointNumber number, const Event& event);
  void removed(EndpointNumber number, const Event& event);
  bool add(EndpointNumber number, LaneState& lane, uint64_t key, Fingerprint fingerprint);
  bool try_add(LaneState& lane, uint64_t key, Fingerprint fingerprint);
  void drop(Lane lane, Fingerprint fingerprint);
  void dismantle(size_t steps);

  const KvIndexConfig config_;
  const uint64_t max_endpoint_blocks_;
  Budget budget_;
  Readers readers_;
  HolderSets sets_;
  PrefixTable table_;
  std::unique_ptr<Shared[]> shared_;
  std::unique_ptr<std::atomic<uint32_t>[]> owners_;  // of lanes
  std::vector<Endpoint> endpoints_;
  std::vector<EndpointNumber> free_endpoints_;
  std::vector<Lane> free_lanes_;
  Lane next_lane_ = 1;
  std::deque<std::unique_ptr<LaneState>> dead_;
  Fingerprinter fingerprinter_;
  std::vector<Fingerprint> chain_;  // scratch
  KvIndexStats stats_;
};

}  // namespace tweendeck::routing::kv
