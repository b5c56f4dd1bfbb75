#include "routing/kv/holder_sets.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdlib>

namespace tweendeck::routing::kv {
namespace {

constexpr size_t kSteps = 1024;  // a power of two
constexpr size_t kFirstTable = 64;

uint64_t hash_of(std::span<const Lane> lanes) {
  return XXH3_64bits(lanes.data(), lanes.size_bytes());
}

}  // namespace

HolderSets::HolderSets(Budget& budget, Readers& readers)
    : budget_(&budget), readers_(&readers), table_(kFirstTable), steps_(kSteps) {}

HolderSets::~HolderSets() {
  for (uint32_t i = 0; i < ids_; ++i) free(get(i + kMaxLanes));
  for (std::atomic<Chunk*>& chunk : chunks_) delete chunk.load();
}

std::atomic<HolderSets::Set*>& HolderSets::slot(SetId set) const {
  const uint32_t index = set - kMaxLanes;
  return chunks_[index / kChunkSets].load(std::memory_order_acquire)->sets[index % kChunkSets];
}

std::span<const Lane> HolderSets::view(SetId set, Lane& one) const {
  if (set == 0) return {};
  if (set < kMaxLanes) {
    one = static_cast<Lane>(set);
    return {&one, 1};
  }
  return get(set)->view();
}

bool HolderSets::holds(SetId set, Lane lane) const {
  if (set < kMaxLanes) return set == lane;
  return std::ranges::binary_search(get(set)->view(), lane);
}

void HolderSets::ref(SetId set) {
  if (set >= kMaxLanes) ++get(set)->refs;
}

void HolderSets::unref(SetId set) {
  if (set >= kMaxLanes && --get(set)->refs == 0) forget(set);
}

std::optional<SetId> HolderSets::with(SetId set, Lane lane) {
  if (set == 0) return lane;
  if (holds(set, lane)) return set;
  return change(set, lane, true);
}

std::optional<SetId> HolderSets::without(SetId set, Lane lane) {
  if (!holds(set, lane)) return set;
  if (set < kMaxLanes) return 0;
  return change(set, lane, false);
}

std::optional<SetId> HolderSets::change(SetId set, Lane lane, bool add) {
  Step& step = steps_[(set * 31 + lane * 2 + (add ? 1 : 0)) & (kSteps - 1)];
  const bool known =
      step.from == set && step.lane == lane && step.add == add && step.from_serial == serial(set) &&
      (step.to < kMaxLanes || (get(step.to) != nullptr && get(step.to)->serial == step.to_serial));
  if (known) return step.to;
  Lane one = 0;
  const std::span<const Lane> members = view(set, one);
  scratch_.assign(members.begin(), members.end());
  const auto place = std::ranges::lower_bound(scratch_, lane);
  if (add) {
    scratch_.insert(place, lane);
  } else {
    scratch_.erase(place);
  }
  const std::optional<SetId> to = scratch_.size() == 1 ? scratch_[0] : intern(scratch_);
  if (to) step = {serial(set), serial(*to), set, *to, lane, add};
  return to;
}

std::optional<SetId> HolderSets::intern(std::span<const Lane> lanes) {
  if (unreferenced_ != 0 && get(unreferenced_)->refs == 0) forget(unreferenced_);
  unreferenced_ = 0;
  const uint64_t hash = hash_of(lanes);
  size_t place = hash & (table_.size() - 1);
  for (; table_[place] != 0; place = (place + 1) & (table_.size() - 1)) {
    const Set& known = *get(table_[place]);
    if (known.hash == hash && std::ranges::equal(known.view(), lanes)) return table_[place];
  }
  if ((live_ + 1) * 4 > table_.size() * 3) {
    if (!grow_table()) return std::nullopt;
    place = hash & (table_.size() - 1);
    while (table_[place] != 0) place = (place + 1) & (table_.size() - 1);
  }
  const std::optional<SetId> id = new_id();
  if (!id) return std::nullopt;
  const size_t bytes = Set::bytes(lanes.size());
  auto* set = budget_->take(bytes) ? static_cast<Set*>(malloc(bytes)) : nullptr;
  if (set == nullptr) {
    free_ids_.push_back(*id);
    return std::nullopt;
  }
  *set = {++last_serial_, hash, 0, static_cast<uint32_t>(lanes.size())};
  std::ranges::copy(lanes, set->lanes());
  slot(*id).store(set, std::memory_order_release);
  table_[place] = *id;
  ++live_;
  unreferenced_ = *id;
  return id;
}

std::optional<SetId> HolderSets::new_id() {
  if (!free_ids_.empty()) {
    const SetId id = free_ids_.back();
    free_ids_.pop_back();
    return id;
  }
  if (ids_ == kChunkSets * kMaxChunks) return std::nullopt;
  if (ids_ % kChunkSets == 0) {
    if (!budget_->take(sizeof(Chunk))) return std::nullopt;
    chunks_[ids_ / kChunkSets].store(new Chunk, std::memory_order_release);
  }
  return kMaxLanes + ids_++;
}

bool HolderSets::grow_table() {
  if (!budget_->take(table_.size() * sizeof(SetId))) return false;
  std::vector<SetId> old(table_.size() * 2);
  old.swap(table_);
  for (const SetId id : old) {
    if (id == 0) continue;
    size_t place = get(id)->hash & (table_.size() - 1);
    while (table_[place] != 0) place = (place + 1) & (table_.size() - 1);
    table_[place] = id;
  }
  return true;
}

// Readers may still look at it; its name is used again only when they are gone.
void HolderSets::forget(SetId id) {
  if (id == unreferenced_) unreferenced_ = 0;
  const size_t mask = table_.size() - 1;
  size_t hole = get(id)->hash & mask;
  while (table_[hole] != id) hole = (hole + 1) & mask;
  for (size_t next = (hole + 1) & mask; table_[next] != 0; next = (next + 1) & mask) {
    const size_t distance = (next - get(table_[next])->hash) & mask;
    if (distance < ((next - hole) & mask)) continue;
    table_[hole] = table_[next];
    hole = next;
  }
  table_[hole] = 0;
  --live_;
  get(id)->serial = 0;  // no remembered step leads here any more
  readers_->retire([this, id] {
    Set* set = slot(id).exchange(nullptr);
    budget_->give(Set::bytes(set->count));
    free(set);
    free_ids_.push_back(id);
  });
}

}  // namespace tweendeck::routing::kv
