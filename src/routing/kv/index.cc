#include "routing/kv/index.h"

#include <algorithm>
#include <utility>

namespace tweendeck::routing::kv {
namespace {

constexpr size_t kBytesPerHolding = 40;  // what an endpoint's share of the budget is counted in
constexpr size_t kCopyBytes = 64;        // of an entry of LaneState::copies, with its allocation
constexpr size_t kLaneBytes = 512;       // of a LaneState without its table
constexpr size_t kStepsPerBlock = 2;     // of dismantling, for each block that is added
constexpr size_t kStepsWhenFull = 4096;
constexpr size_t kReclaimAt = 64;                      // retired objects
constexpr uint32_t kTooManyGroups = 1u << kMaxGroups;  // a bit that no lane has

}  // namespace

KvIndex::KvIndex(const KvIndexConfig& config)
    : config_(config),
      max_endpoint_blocks_(config.max_bytes / 100 * config.max_endpoint_percent / kBytesPerHolding),
      budget_(std::max(config.max_bytes, kMinIndexBytes)),
      sets_(budget_, readers_),
      table_(budget_, readers_),
      shared_(std::make_unique<Shared[]>(std::min(config.max_endpoints, kMaxEndpoints))),
      owners_(std::make_unique<std::atomic<uint32_t>[]>(kMaxLanes)) {
  budget_.take(sizeof *this + std::min(config.max_endpoints, kMaxEndpoints) * sizeof(Shared) +
               kMaxLanes * sizeof(owners_[0]));
}

KvIndex::~KvIndex() {
  readers_.finish();
}

// ---------------------------------------------------------------- endpoints

std::optional<EndpointNumber> KvIndex::add_endpoint() {
  EndpointNumber number = 0;
  if (!free_endpoints_.empty()) {
    number = free_endpoints_.back();
    free_endpoints_.pop_back();
  } else {
    if (endpoints_.size() == std::min(config_.max_endpoints, kMaxEndpoints)) return std::nullopt;
    number = static_cast<EndpointNumber>(endpoints_.size());
    endpoints_.emplace_back();
  }
  endpoints_[number].used = true;
  shared_[number].visible.store(true, std::memory_order_release);
  return number;
}

void KvIndex::remove_endpoint(EndpointNumber endpoint) {
  clear(endpoint);
  endpoints_[endpoint] = {};
  readers_.retire([this, endpoint] { free_endpoints_.push_back(endpoint); });
}

void KvIndex::set_visible(EndpointNumber endpoint, bool visible) {
  shared_[endpoint].visible.store(visible, std::memory_order_release);
}

void KvIndex::clear(EndpointNumber number) {
  Endpoint& endpoint = endpoints_[number];
  for (std::unique_ptr<LaneState>& lane : endpoint.lanes) {
    owners_[lane->lane].store(0, std::memory_order_release);
    dead_.push_back(std::move(lane));
  }
  endpoint.lanes.clear();
  endpoint.groups.clear();
  Shared& shared = shared_[number];
  shared.groups.store(0, std::memory_order_release);
  shared.block_tokens.store(0, std::memory_order_relaxed);
  stats_.holdings -= shared.blocks.load(std::memory_order_relaxed);
  shared.blocks.store(0, std::memory_order_relaxed);
  ++stats_.cleared;
}

// ---------------------------------------------------------------- lanes

KvIndex::LaneState* KvIndex::find_lane(Endpoint& endpoint, uint32_t group, Tier tier) {
  for (const std::unique_ptr<LaneState>& lane : endpoint.lanes) {
    if (lane->group == group && lane->tier == tier) return lane.get();
  }
  return nullptr;
}

std::optional<Lane> KvIndex::new_lane() {
  if (free_lanes_.empty() && next_lane_ == kMaxLanes) {
    dismantle(kStepsWhenFull);
    readers_.reclaim();
  }
  if (free_lanes_.empty()) {
    if (next_lane_ == kMaxLanes) return std::nullopt;
    return next_lane_++;
  }
  const Lane lane = free_lanes_.back();
  free_lanes_.pop_back();
  return lane;
}

KvIndex::LaneState* KvIndex::make_lane(EndpointNumber number, uint32_t group, Tier tier) {
  Endpoint& endpoint = endpoints_[number];
  Shared& shared = shared_[number];
  size_t bit = static_cast<size_t>(std::ranges::find(endpoint.groups, group) - endpoint.groups.begin());
  if (bit == endpoint.groups.size()) {
    if (bit == kMaxGroups) {
      shared.groups.fetch_or(kTooManyGroups, std::memory_order_release);
      return nullptr;
    }
    endpoint.groups.push_back(group);
  }
  if (!budget_.take(kLaneBytes)) return nullptr;
  const std::optional<Lane> lane = new_lane();
  if (!lane) {
    budget_.give(kLaneBytes);
    return nullptr;
  }
  endpoint.lanes.push_back(
      std::make_unique<LaneState>(LaneState{KeyTable(budget_, config_.seed), {}, *lane, group, tier}));
  shared.groups.fetch_or(1u << bit, std::memory_order_release);
  const auto tier_bit = static_cast<uint32_t>(tier) << 1;
  owners_[*lane].store(number << 8 | static_cast<uint32_t>(bit) << 2 | tier_bit | kAlive,
                       std::memory_order_release);
  return endpoint.lanes.back().get();
}

Fingerprint KvIndex::find_key(Endpoint& endpoint, uint32_t group, uint64_t key) {
  for (const std::unique_ptr<LaneState>& lane : endpoint.lanes) {
    if (lane->group != group) continue;
    if (const Fingerprint found = lane->keys.find(key)) return found;
  }
  return 0;
}

// ---------------------------------------------------------------- events

void KvIndex::apply(EndpointNumber endpoint, const Event& event) {
  switch (event.type) {
    case Event::Type::Stored:
      stored(endpoint, event);
      break;
    case Event::Type::Removed:
      removed(endpoint, event);
      break;
    case Event::Type::Cleared:
      clear(endpoint);
      break;
    case Event::Type::Unknown:
      break;
  }
  if (readers_.waiting() >= kReclaimAt) readers_.reclaim();
}

void KvIndex::stored(EndpointNumber number, const Event& event) {
  Endpoint& endpoint = endpoints_[number];
  stats_.stored += event.hashes.size();
  const uint64_t group_bit = event.group < 64 ? uint64_t{1} << event.group : 0;
  if (event.group_kind == GroupKind::Other) endpoint.other_groups |= group_bit;
  if (event.group_kind == GroupKind::Other || (endpoint.other_groups & group_bit) != 0) {
    stats_.other_groups += event.hashes.size();
    return;
  }
  const size_t blocks = event.hashes.size();
  if (blocks == 0) return;
  chain_.clear();
  if (event.tokens.empty()) {
    for (const uint64_t key : event.hashes) chain_.push_back(find_key(endpoint, event.group, key));
  } else {
    Fingerprint parent = event.has_parent ? find_key(endpoint, event.group, event.parent) : root_of(event);
    if (parent == 0) {
      stats_.orphans += blocks;
      return;
    }
    const std::span<const uint32_t> tokens(event.tokens);
    LaneState* known = find_lane(endpoint, event.group, event.tier);
    for (size_t i = 0; i < blocks; ++i) {
      if (known != nullptr) known->keys.prefetch(event.hashes[i]);
      const auto block = tokens.subspan(i * event.block_tokens, event.block_tokens);
      parent = fingerprinter_.next(parent, block, event.extras_of(i));
      table_.prefetch(parent);
      chain_.push_back(parent);
    }
    shared_[number].block_tokens.store(event.block_tokens, std::memory_order_relaxed);
  }
  LaneState* lane = find_lane(endpoint, event.group, event.tier);
  if (lane == nullptr) lane = make_lane(number, event.group, event.tier);
  if (lane == nullptr) {
    stats_.refused += blocks;
    return;
  }
  for (size_t i = 0; i < blocks; ++i) {
    if (chain_[i] == 0) {
      ++stats_.unknown;
    } else if (!add(number, *lane, event.hashes[i], chain_[i])) {
      stats_.refused += blocks - i;
      return;
    }
  }
}

bool KvIndex::add(EndpointNumber number, LaneState& lane, uint64_t key, Fingerprint fingerprint) {
  dismantle(kStepsPerBlock);
  std::atomic<uint64_t>& blocks = shared_[number].blocks;
  const uint64_t held = blocks.load(std::memory_order_relaxed);
  if (held >= max_endpoint_blocks_) return false;
  if (!try_add(lane, key, fingerprint)) {
    if (dead_.empty() && readers_.waiting() == 0) return false;
    dismantle(kStepsWhenFull);
    readers_.reclaim();
    if (!try_add(lane, key, fingerprint)) return false;
  }
  blocks.store(held + 1, std::memory_order_relaxed);
  ++stats_.holdings;
  return true;
}

bool KvIndex::try_add(LaneState& lane, uint64_t key, Fingerprint fingerprint) {
  if (!lane.keys.reserve_one()) return false;
  PrefixTable::Cell* cell = table_.cell(fingerprint);
  const SetId before = cell == nullptr ? 0 : cell->load(std::memory_order_relaxed);
  if (sets_.holds(before, lane.lane)) {
    if (!budget_.take(kCopyBytes)) return false;
    ++lane.copies[fingerprint];
  } else {
    const std::optional<SetId> after = sets_.with(before, lane.lane);
    if (!after) return false;
    if (cell == nullptr) {
      if (!table_.put(fingerprint, *after)) return false;
    } else {
      sets_.ref(*after);
      cell->store(*after, std::memory_order_release);
      sets_.unref(before);
    }
  }
  lane.keys.insert(key, fingerprint);
  return true;
}

void KvIndex::removed(EndpointNumber number, const Event& event) {
  Endpoint& endpoint = endpoints_[number];
  stats_.removed += event.hashes.size();
  LaneState* lane = find_lane(endpoint, event.group, event.tier);
  for (const uint64_t key : event.hashes) {
    const Fingerprint fingerprint = lane == nullptr ? 0 : lane->keys.erase(key);
    if (fingerprint == 0) {
      ++stats_.unknown;
      continue;
    }
    --stats_.holdings;
    shared_[number].blocks.fetch_sub(1, std::memory_order_relaxed);
    const auto copy = lane->copies.empty() ? lane->copies.end() : lane->copies.find(fingerprint);
    if (copy == lane->copies.end()) {
      drop(lane->lane, fingerprint);
      continue;
    }
    budget_.give(kCopyBytes);
    if (--copy->second == 0) lane->copies.erase(copy);
  }
}

void KvIndex::drop(Lane lane, Fingerprint fingerprint) {
  PrefixTable::Cell* cell = table_.cell(fingerprint);
  if (cell == nullptr) return;
  const SetId before = cell->load(std::memory_order_relaxed);
  const std::optional<SetId> after = sets_.without(before, lane);
  if (after == before) return;
  if (after && *after != 0) {
    sets_.ref(*after);
    cell->store(*after, std::memory_order_release);
  } else {
    if (!after) ++stats_.forgotten;
    table_.erase(fingerprint, cell);
  }
  sets_.unref(before);
}

// ---------------------------------------------------------------- tidying

void KvIndex::dismantle(size_t steps) {
  while (steps > 0 && !dead_.empty()) {
    LaneState& lane = *dead_.front();
    Fingerprint fingerprint = 0;
    for (; steps > 0 && (fingerprint = lane.keys.pop()) != 0; --steps) drop(lane.lane, fingerprint);
    if (lane.keys.size() > 0) return;
    for (const auto& [_, count] : lane.copies) budget_.give(count * kCopyBytes);
    budget_.give(kLaneBytes);
    readers_.retire([this, id = lane.lane] { free_lanes_.push_back(id); });
    dead_.pop_front();
  }
}

void KvIndex::tidy(size_t steps) {
  dismantle(steps);
  readers_.reclaim();
}

KvIndexStats KvIndex::stats() const {
  KvIndexStats stats = stats_;
  stats.fingerprints = table_.size();
  stats.holder_sets = sets_.sets();
  stats.bytes = budget_.used();
  return stats;
}

}  // namespace tweendeck::routing::kv
