#include "routing/prefix_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>

#include "base/clock.h"

namespace tweendeck::routing {
namespace {

using Chain = std::vector<uint64_t>;
using Found = std::map<EndpointSlot, std::pair<uint32_t, uint32_t>>;  // links, followers

// The same, kept as one list from the most to the least recently used entry.
class SlowIndex {
 public:
  explicit SlowIndex(size_t max_entries) : max_entries_(max_entries) {}

  Found match(const Chain& chain) const {
    Found found;
    for (EndpointSlot endpoint = 0; endpoint < 16; ++endpoint) {
      uint32_t links = 0;
      while (links < chain.size() && find(endpoint, chain[links]) != nullptr) ++links;
      if (links > 0) found[endpoint] = {links, find(endpoint, chain[links - 1])->followers};
    }
    return found;
  }
  void record(EndpointSlot endpoint, const Chain& chain, uint64_t stamp) {
    const size_t length = std::min(chain.size(), max_entries_);
    bool new_follows = false;
    for (size_t i = length; i-- > 0;) {
      const Entry* known = find(endpoint, chain[i]);
      const bool is_new = known == nullptr;
      const uint32_t followers = (is_new ? 0 : known->followers) + (new_follows ? 1 : 0);
      entries_.remove_if([&](const Entry& e) { return e.endpoint == endpoint && e.link == chain[i]; });
      if (entries_.size() == max_entries_) entries_.pop_back();
      entries_.push_front({endpoint, chain[i], stamp, followers});
      new_follows = is_new;
    }
  }
  void take_back(EndpointSlot endpoint, const Chain& chain, size_t keep, uint64_t stamp) {
    for (size_t i = keep; i < chain.size(); ++i) {
      entries_.remove_if(
          [&](const Entry& e) { return e.endpoint == endpoint && e.link == chain[i] && e.stamp == stamp; });
    }
  }
  void forget_endpoint(EndpointSlot endpoint) {
    entries_.remove_if([&](const Entry& e) { return e.endpoint == endpoint; });
  }
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    EndpointSlot endpoint;
    uint64_t link;
    uint64_t stamp;
    uint32_t followers;
  };
  const Entry* find(EndpointSlot endpoint, uint64_t link) const {
    for (const Entry& e : entries_) {
      if (e.endpoint == endpoint && e.link == link) return &e;
    }
    return nullptr;
  }
  size_t max_entries_;
  std::list<Entry> entries_;
};

// A chain in a small tree: a link names its whole past, as a hash chain does. Low bits collide on purpose.
Chain random_chain(Random& random) {
  Chain chain;
  uint64_t past = 1;
  const uint64_t length = random.below(12);
  for (uint64_t i = 0; i < length; ++i) {
    past = past * 3 + random.below(2);
    chain.push_back(past << 5);
  }
  return chain;
}

Found as_map(const std::vector<PrefixIndex::Match>& matches) {
  Found map;
  for (const auto& m : matches) EXPECT_TRUE(map.emplace(m.endpoint, std::pair(m.links, m.followers)).second);
  return map;
}

TEST(PrefixIndex, AgreesWithASlowOne) {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const size_t cap = random.below(120);
    PrefixIndex index(cap);
    SlowIndex slow(cap);
    std::vector<PrefixIndex::Match> matches;
    for (uint64_t stamp = 1; stamp <= 300; ++stamp) {
      const auto endpoint = static_cast<EndpointSlot>(random.below(6));
      const Chain chain = random_chain(random);
      index.match(chain, matches);
      const auto before = as_map(matches);
      ASSERT_EQ(before, slow.match(chain));
      index.record(endpoint, chain, stamp);
      slow.record(endpoint, chain, stamp);
      if (random.below(5) == 0) {
        const size_t keep = before.contains(endpoint) ? before.at(endpoint).first : 0;
        index.take_back(endpoint, chain, keep, stamp);
        slow.take_back(endpoint, chain, keep, stamp);
      }
      if (random.below(60) == 0) {
        index.forget_endpoint(endpoint);
        slow.forget_endpoint(endpoint);
      }
      ASSERT_EQ(index.size(), slow.size());
      ASSERT_LE(index.size(), cap);
    }
  }
}

TEST(PrefixIndex, NeverPassesItsBudgetAndKeepsTheHeads) {
  constexpr size_t kCap = 1000;
  PrefixIndex index(kCap);
  Chain longest;
  for (uint64_t i = 0; i < 3 * kCap; ++i) longest.push_back(i * 0x9e3779b97f4a7c15 + 7);
  index.record(0, longest, 1);
  EXPECT_EQ(index.size(), kCap);
  std::vector<PrefixIndex::Match> matches;
  index.match(longest, matches);
  ASSERT_EQ(matches.size(), 1u);
  EXPECT_EQ(matches[0].links, kCap);
  // Another endpoint's chain takes the first one's end, not its beginning.
  index.record(1, {longest.begin(), longest.begin() + 400}, 2);
  EXPECT_EQ(index.size(), kCap);
  index.match(longest, matches);
  ASSERT_EQ(matches.size(), 2u);
  for (const auto& match : matches) EXPECT_EQ(match.links, match.endpoint == 0 ? 600u : 400u);
  EXPECT_EQ(index.size_of(0), 600u);
  EXPECT_EQ(index.size_of(1), 400u);
}

TEST(PrefixIndex, AnIndexOfSizeZeroRemembersNothing) {
  PrefixIndex index(0);
  index.record(0, Chain{1, 2, 3}, 1);
  std::vector<PrefixIndex::Match> matches;
  index.match(Chain{1, 2, 3}, matches);
  EXPECT_TRUE(matches.empty());
}

}  // namespace
}  // namespace tweendeck::routing
