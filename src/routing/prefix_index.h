// PrefixIndex: which endpoints hold which prefixes, as far as the requests sent to them tell.
//
// An entry is (link of a hash chain, endpoint). All endpoints share one budget of entries; the least recently
// used one makes room. A chain is touched from its end to its beginning, so a link is always more recent than
// what follows it: eviction takes ends of chains first and what an endpoint holds of a chain is always its
// head. That makes the search for the longest common prefix exact without reading every link.
//
// Single-threaded. Memory: kEntryBytes per entry plus a hash table that is at most 3/4 and, once grown, at
// least 3/8 full. forget_endpoint() reads every entry; everything else costs O(links of the request) or less.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tweendeck::routing {

using EndpointSlot = uint32_t;

class PrefixIndex {
 public:
  struct Match {
    EndpointSlot endpoint;
    uint32_t links;  // length of the head of the chain that the endpoint holds, > 0
    uint32_t
        followers;  // how often the endpoint was given something new behind that head; a conversation's own
                    // end has none, a first part that several conversations share has many; stops at 65535
    bool operator==(const Match&) const = default;
  };

  explicit PrefixIndex(size_t max_entries);

  // Every endpoint that holds at least the first link, in no particular order. Reuses `out`.
  void match(std::span<const uint64_t> chain, std::vector<Match>& out);

  // The endpoint gets the chain (its head, where the budget is smaller), marked with `stamp`.
  void record(EndpointSlot endpoint, std::span<const uint64_t> chain, uint64_t stamp);

  // Takes back what record() with this stamp added behind the first `keep` links, unless it was recorded
  // again since.
  void take_back(EndpointSlot endpoint, std::span<const uint64_t> chain, size_t keep, uint64_t stamp);

  void forget_endpoint(EndpointSlot endpoint);

  size_t size() const { return size_; }
  size_t size_of(EndpointSlot endpoint) const { return endpoint < counts_.size() ? counts_[endpoint] : 0; }

  static constexpr size_t kEntryBytes = 40;  // asserted in prefix_index.cc

 private:
  using Index = uint32_t;
  static constexpr Index kNone = UINT32_MAX;

  struct Entry {
    uint64_t link;
    uint64_t stamp;
    EndpointSlot endpoint;
    Index newer;  // LRU list
    Index older;
    Index next_holder;  // same link, another endpoint
    uint16_t followers;
    bool used;
  };
  struct Cell {  // of the hash table; empty when first == kNone
    uint64_t link = 0;
    Index first = kNone;
    uint32_t holders = 0;
  };

  size_t home(uint64_t link) const { return static_cast<size_t>(link) & (cells_.size() - 1); }
  size_t find_cell(uint64_t link) const;  // the link's cell, or the empty one where it belongs
  void grow_cells();
  void erase_cell(size_t cell);
  Index find(uint64_t link, EndpointSlot endpoint) const;
  Index insert(uint64_t link, EndpointSlot endpoint, uint64_t stamp);
  void erase(Index entry);
  void lru_unlink(Index entry);
  void lru_push(Index entry);
  uint32_t holders(uint64_t link) const;
  void match_between(std::span<const uint64_t> chain, size_t low, uint32_t low_holders, size_t high,
                     uint32_t high_holders, std::vector<Match>& out);

  size_t max_entries_;
  size_t size_ = 0;
  size_t used_cells_ = 0;
  std::vector<Cell> cells_;
  std::vector<Entry> entries_;
  std::vector<size_t> counts_;    // entries by endpoint
  std::vector<uint8_t> goes_on_;  // by endpoint, only inside match_between: it holds the next link too
  Index free_ = kNone;            // chained through next_holder
  Index newest_ = kNone;
  Index oldest_ = kNone;
};

}  // namespace tweendeck::routing
