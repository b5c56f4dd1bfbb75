#include "routing/prefix_index.h"

#include <algorithm>
#include <ranges>

namespace tweendeck::routing {
namespace {

constexpr size_t kFirstCells = 64;  // a power of two

}  // namespace

PrefixIndex::PrefixIndex(size_t max_entries)
    : max_entries_(std::min<size_t>(max_entries, kNone)), cells_(kFirstCells) {
  static_assert(sizeof(Entry) == kEntryBytes);
}

size_t PrefixIndex::find_cell(uint64_t link) const {
  size_t cell = home(link);
  while (cells_[cell].first != kNone && cells_[cell].link != link) cell = (cell + 1) & (cells_.size() - 1);
  return cell;
}

void PrefixIndex::grow_cells() {
  std::vector<Cell> old(cells_.size() * 2);
  old.swap(cells_);
  for (const Cell& cell : old) {
    if (cell.first != kNone) cells_[find_cell(cell.link)] = cell;
  }
}

// Linear probing without tombstones: later cells of the run move up if that brings them nearer to their home.
void PrefixIndex::erase_cell(size_t hole) {
  const size_t mask = cells_.size() - 1;
  for (size_t next = (hole + 1) & mask; cells_[next].first != kNone; next = (next + 1) & mask) {
    const size_t distance = (next - home(cells_[next].link)) & mask;
    if (distance < ((next - hole) & mask)) continue;
    cells_[hole] = cells_[next];
    hole = next;
  }
  cells_[hole] = Cell{};
  --used_cells_;
}

PrefixIndex::Index PrefixIndex::find(uint64_t link, EndpointSlot endpoint) const {
  Index entry = cells_[find_cell(link)].first;
  while (entry != kNone && entries_[entry].endpoint != endpoint) entry = entries_[entry].next_holder;
  return entry;
}

uint32_t PrefixIndex::holders(uint64_t link) const {
  return cells_[find_cell(link)].holders;
}

void PrefixIndex::lru_unlink(Index entry) {
  const Entry& e = entries_[entry];
  (e.newer == kNone ? newest_ : entries_[e.newer].older) = e.older;
  (e.older == kNone ? oldest_ : entries_[e.older].newer) = e.newer;
}

void PrefixIndex::lru_push(Index entry) {
  entries_[entry].newer = kNone;
  entries_[entry].older = newest_;
  (newest_ == kNone ? oldest_ : entries_[newest_].newer) = entry;
  newest_ = entry;
}

PrefixIndex::Index PrefixIndex::insert(uint64_t link, EndpointSlot endpoint, uint64_t stamp) {
  if ((used_cells_ + 1) * 4 > cells_.size() * 3) grow_cells();
  Index entry = free_;
  if (entry == kNone) {
    entry = static_cast<Index>(entries_.size());
    entries_.emplace_back();
  } else {
    free_ = entries_[entry].next_holder;
  }
  Cell& cell = cells_[find_cell(link)];
  if (cell.first == kNone) {
    cell.link = link;
    cell.holders = 0;
    ++used_cells_;
  }
  entries_[entry] = {link, stamp, endpoint, kNone, kNone, cell.first, 0, true};
  cell.first = entry;
  ++cell.holders;
  if (endpoint >= counts_.size()) {
    counts_.resize(endpoint + 1);
    goes_on_.resize(endpoint + 1);
  }
  ++counts_[endpoint];
  ++size_;
  lru_push(entry);
  return entry;
}

void PrefixIndex::erase(Index entry) {
  Entry& e = entries_[entry];
  lru_unlink(entry);
  const size_t cell = find_cell(e.link);
  Index* from = &cells_[cell].first;
  while (*from != entry) from = &entries_[*from].next_holder;
  *from = e.next_holder;
  if (--cells_[cell].holders == 0) erase_cell(cell);
  --counts_[e.endpoint];
  --size_;
  e.used = false;
  e.next_holder = free_;
  free_ = entry;
}

void PrefixIndex::record(EndpointSlot endpoint, std::span<const uint64_t> chain, uint64_t stamp) {
  chain = chain.first(std::min(chain.size(), max_entries_));
  bool new_follows = false;
  for (uint64_t link : chain | std::views::reverse) {
    Index entry = find(link, endpoint);
    const bool is_new = entry == kNone;
    if (is_new) {
      if (size_ == max_entries_) erase(oldest_);
      entry = insert(link, endpoint, stamp);
    } else {
      lru_unlink(entry);
      lru_push(entry);
    }
    Entry& e = entries_[entry];
    e.stamp = stamp;
    if (new_follows && e.followers < UINT16_MAX) ++e.followers;
    new_follows = is_new;
  }
}

void PrefixIndex::take_back(EndpointSlot endpoint, std::span<const uint64_t> chain, size_t keep,
                            uint64_t stamp) {
  // A link that a later chain passes through has that chain's stamp, so nothing that follows a removed link
  // stays.
  for (size_t i = keep; i < chain.size(); ++i) {
    const Index entry = find(chain[i], endpoint);
    if (entry != kNone && entries_[entry].stamp == stamp) erase(entry);
  }
}

void PrefixIndex::forget_endpoint(EndpointSlot endpoint) {
  for (Index entry = 0; entry < entries_.size() && size_of(endpoint) > 0; ++entry) {
    if (entries_[entry].used && entries_[entry].endpoint == endpoint) erase(entry);
  }
}

void PrefixIndex::match(std::span<const uint64_t> chain, std::vector<Match>& out) {
  out.clear();
  if (chain.empty()) return;
  match_between(chain, 0, holders(chain[0]), chain.size(), 0, out);
}

// The holders of link `high` are among those of link `low`, so where the counts are equal nobody's prefix
// ends between. `high` == chain.size() stands for a link that nobody holds.
void PrefixIndex::match_between(std::span<const uint64_t> chain, size_t low, uint32_t low_holders,
                                size_t high, uint32_t high_holders, std::vector<Match>& out) {
  if (low_holders == high_holders) return;
  if (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    const uint32_t middle_holders = holders(chain[middle]);
    match_between(chain, low, low_holders, middle, middle_holders, out);
    match_between(chain, middle, middle_holders, high, high_holders, out);
    return;
  }
  auto for_holders = [this](uint64_t link, auto&& visit) {
    for (Index e = cells_[find_cell(link)].first; e != kNone; e = entries_[e].next_holder) visit(entries_[e]);
  };
  if (high_holders > 0) for_holders(chain[high], [this](const Entry& e) { goes_on_[e.endpoint] = 1; });
  for_holders(chain[low], [&](const Entry& e) {
    if (!goes_on_[e.endpoint]) out.push_back({e.endpoint, static_cast<uint32_t>(low + 1), e.followers});
  });
  if (high_holders > 0) for_holders(chain[high], [this](const Entry& e) { goes_on_[e.endpoint] = 0; });
}

}  // namespace tweendeck::routing
