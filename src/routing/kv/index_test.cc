#include "routing/kv/index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace tweendeck::routing::kv {
namespace {

constexpr uint32_t kBlock = 4;

using Found = std::vector<KvIndex::Match>;

// An event that stores `blocks` blocks with the keys first_key, first_key + 1, ...; their tokens are made from
// `text`, so that equal texts are equal prompts.
Event stored(uint64_t first_key, size_t blocks, uint32_t text, std::optional<uint64_t> parent = {}) {
  Event event;
  event.type = Event::Type::Stored;
  event.block_tokens = kBlock;
  for (size_t i = 0; i < blocks; ++i) event.hashes.push_back(first_key + i);
  for (size_t i = 0; i < blocks * kBlock; ++i) event.tokens.push_back(text + static_cast<uint32_t>(i));
  event.has_parent = parent.has_value();
  event.parent = parent.value_or(0);
  return event;
}

Event removed(std::vector<uint64_t> keys) {
  Event event;
  event.type = Event::Type::Removed;
  event.hashes = std::move(keys);
  return event;
}

std::vector<Fingerprint> chain(uint32_t text, size_t blocks, std::string_view lora = {},
                               std::string_view salt = {}) {
  std::vector<uint32_t> tokens(blocks * kBlock);
  std::iota(tokens.begin(), tokens.end(), text);
  std::vector<Fingerprint> out;
  Fingerprinter().chain(Fingerprinter::root(lora), tokens, kBlock, salt, out);
  return out;
}

class KvIndexTest : public testing::Test {
 protected:
  Found match(const std::vector<Fingerprint>& wanted) {
    Found found;
    reader_.match(wanted, found);
    std::ranges::sort(found, {}, &KvIndex::Match::endpoint);
    return found;
  }

  KvIndex index_{{.max_bytes = 8 << 20, .max_endpoints = 16}};
  KvIndex::Reader reader_ = *KvIndex::Reader::join(index_);
  EndpointNumber a_ = *index_.add_endpoint();
  EndpointNumber b_ = *index_.add_endpoint();
};

TEST_F(KvIndexTest, TellsHowManyLeadingBlocksEachEndpointHolds) {
  index_.apply(a_, stored(1, 5, 100));
  index_.apply(b_, stored(900, 3, 100));
  EXPECT_EQ(match(chain(100, 5)), (Found{{a_, 5, 5}, {b_, 3, 3}}));
  EXPECT_EQ(match(chain(100, 2)), (Found{{a_, 2, 2}, {b_, 2, 2}}));
  EXPECT_EQ(match(chain(101, 5)), Found{});
  EXPECT_EQ(match({}), Found{});
}

TEST_F(KvIndexTest, AChildIsPlacedBehindItsParent) {
  index_.apply(a_, stored(1, 2, 100));
  Event child = stored(3, 1, 108, 2);
  index_.apply(a_, child);
  EXPECT_EQ(match(chain(100, 3)), (Found{{a_, 3, 3}}));
  index_.apply(b_, child);  // whose parent b never stored
  EXPECT_EQ(match(chain(100, 3)), (Found{{a_, 3, 3}}));
  EXPECT_EQ(index_.stats().orphans, 1);
}

TEST_F(KvIndexTest, AHoleEndsThePrefix) {
  index_.apply(a_, stored(1, 5, 100));
  index_.apply(a_, removed({3}));
  EXPECT_EQ(match(chain(100, 5)), (Found{{a_, 2, 2}}));
  index_.apply(a_, removed({1}));
  EXPECT_EQ(match(chain(100, 5)), Found{});
}

TEST_F(KvIndexTest, CopiesAreCounted) {
  index_.apply(a_, stored(1, 2, 100));
  index_.apply(a_, stored(1, 2, 100));
  index_.apply(a_, removed({2, 1}));
  EXPECT_EQ(match(chain(100, 2)), (Found{{a_, 2, 2}}));
  index_.apply(a_, removed({2}));
  EXPECT_EQ(match(chain(100, 2)), (Found{{a_, 1, 1}}));
  index_.apply(a_, removed({1, 1}));
  EXPECT_EQ(match(chain(100, 2)), Found{});
  EXPECT_EQ(index_.stats().unknown, 1);
  EXPECT_EQ(index_.stats().fingerprints, 0);
  EXPECT_EQ(index_.blocks(a_), 0);
}

TEST_F(KvIndexTest, ClearedHoldsNothingAtOnceAndIsForgottenInSteps) {
  index_.apply(a_, stored(1, 500, 100));
  index_.apply(b_, stored(1, 500, 100));
  Event cleared;
  cleared.type = Event::Type::Cleared;
  index_.apply(a_, cleared);
  EXPECT_EQ(match(chain(100, 500)), (Found{{b_, 500, 500}}));
  index_.apply(a_, stored(7, 1, 100));  // another cache: the old one's keys mean nothing
  EXPECT_EQ(match(chain(100, 500)), (Found{{a_, 1, 1}, {b_, 500, 500}}));
  index_.apply(a_, removed({2}));
  EXPECT_EQ(index_.stats().unknown, 1);
  index_.clear(b_);
  index_.tidy(2000);
  EXPECT_EQ(index_.stats().fingerprints, 1);
  EXPECT_EQ(match(chain(100, 500)), (Found{{a_, 1, 1}}));
}

TEST_F(KvIndexTest, ManyClearsDoNotUseUpTheLanes) {
  for (int i = 0; i < 50'000; ++i) {
    index_.apply(a_, stored(1, 2, 100));
    index_.clear(a_);
  }
  index_.apply(a_, stored(1, 2, 100));
  EXPECT_EQ(match(chain(100, 2)), (Found{{a_, 2, 2}}));
  index_.tidy(10);
  EXPECT_EQ(index_.stats().fingerprints, 2);
}

TEST_F(KvIndexTest, HiddenEndpointsAreNotFound) {
  index_.apply(a_, stored(1, 2, 100));
  index_.set_visible(a_, false);
  EXPECT_EQ(match(chain(100, 2)), Found{});
  index_.set_visible(a_, true);
  EXPECT_EQ(match(chain(100, 2)), (Found{{a_, 2, 2}}));
}

TEST_F(KvIndexTest, ARemovedEndpointLeavesNothingToItsSuccessor) {
  index_.apply(b_, stored(1, 2, 100));
  index_.remove_endpoint(b_);
  EXPECT_EQ(match(chain(100, 2)), Found{});
  index_.tidy(100);
  const EndpointNumber again = *index_.add_endpoint();
  EXPECT_EQ(again, b_);
  EXPECT_EQ(match(chain(100, 2)), Found{});
  EXPECT_EQ(index_.blocks(again), 0);
}

TEST_F(KvIndexTest, TheHostsTierCountsButIsTold) {
  index_.apply(a_, stored(1, 4, 100));
  Event offloaded;  // without tokens: the engine's keys say which blocks
  offloaded.type = Event::Type::Stored;
  offloaded.hashes = {2, 3, 99};
  offloaded.tier = Tier::Host;
  index_.apply(a_, offloaded);
  EXPECT_EQ(index_.stats().unknown, 1);
  index_.apply(a_, removed({2}));
  EXPECT_EQ(match(chain(100, 4)), (Found{{a_, 4, 1}}));
  Event gone = removed({2});
  gone.tier = Tier::Host;
  index_.apply(a_, gone);
  EXPECT_EQ(match(chain(100, 4)), (Found{{a_, 1, 1}}));
}

TEST_F(KvIndexTest, AdaptersAndSaltsAreApart) {
  Event adapted = stored(1, 2, 100);
  adapted.has_lora = true;
  adapted.lora_name = "ad1";
  index_.apply(a_, adapted);
  Event salted = stored(11, 2, 100);
  salted.extras = {"pepper"};
  salted.extra_ends = {1, 1};
  index_.apply(b_, salted);
  EXPECT_EQ(match(chain(100, 2)), Found{});
  EXPECT_EQ(match(chain(100, 2, "ad1")), (Found{{a_, 2, 2}}));
  EXPECT_EQ(match(chain(100, 2, "", "pepper")), (Found{{b_, 2, 2}}));
  EXPECT_EQ(match(chain(100, 2, "", "salt")), Found{});
  adapted.lora_name = {};  // an older engine's: known by number only
  index_.apply(b_, adapted);
  EXPECT_EQ(match(chain(100, 2)), Found{});
}

TEST_F(KvIndexTest, EveryGroupOfFullAttentionMustHoldABlock) {
  Event first = stored(1, 3, 100);
  first.group_kind = GroupKind::FullAttention;
  Event second = first;
  second.group = 1;
  Event window = first;
  window.group = 2;
  window.group_kind = GroupKind::Other;
  window.hashes.pop_back();
  index_.apply(a_, first);
  index_.apply(a_, window);
  EXPECT_EQ(match(chain(100, 3)), (Found{{a_, 3, 3}}));
  index_.apply(a_, second);
  Event gone = removed({2});
  gone.group = 1;
  index_.apply(a_, gone);
  EXPECT_EQ(match(chain(100, 3)), (Found{{a_, 1, 1}}));
  gone.group = 2;
  index_.apply(a_, gone);
  EXPECT_EQ(match(chain(100, 3)), (Found{{a_, 1, 1}}));
  for (uint32_t group = 3; group < 3 + kMaxGroups; ++group) {
    first.group = group;
    index_.apply(a_, first);
  }
  EXPECT_EQ(match(chain(100, 3)), Found{});
}

TEST_F(KvIndexTest, TwoKeysOfOneBlockAreTwoCopies) {
  index_.apply(a_, stored(1, 1, 100));
  index_.apply(a_, stored(2, 1, 100));
  index_.apply(a_, removed({1}));
  EXPECT_EQ(match(chain(100, 1)), (Found{{a_, 1, 1}}));
  index_.apply(a_, removed({2}));
  EXPECT_EQ(match(chain(100, 1)), Found{});
}

TEST(KvIndexBudget, IsNeverPassedAndEndpointsKeepToTheirShare) {
  const KvIndexConfig config{.max_bytes = 4 << 20, .max_endpoints = 4, .max_endpoint_percent = 50};
  KvIndex index(config);
  auto reader = *KvIndex::Reader::join(index);
  for (uint32_t e = 0; e < 4; ++e) index.add_endpoint();
  for (uint32_t round = 0; round < 300; ++round) {
    for (uint32_t e = 0; e < 4; ++e) {
      index.apply(e, stored(round * 1000, 1000, e * 50'000'000 + round * 50'000));
      ASSERT_LE(index.stats().bytes, config.max_bytes);
    }
  }
  const KvIndexStats full = index.stats();
  EXPECT_GT(full.refused, 0);
  EXPECT_GT(full.bytes, config.max_bytes * 9 / 10);
  EXPECT_GT(full.holdings, config.max_bytes / 2 / 40);
  EXPECT_LE(index.blocks(0), config.max_bytes / 2 / 40);
  Found found;
  reader.match(chain(0, 1000), found);  // what came first is still there
  EXPECT_EQ(found, (Found{{0, 1000, 1000}}));
  index.clear(0);
  index.apply(1, stored(7'000'000, 1000, 900'000'000));  // makes room of what is out of sight
  reader.match(chain(900'000'000, 1000), found);
  EXPECT_EQ(found, (Found{{1, 1000, 1000}}));
  EXPECT_LE(index.stats().bytes, config.max_bytes);
}

}  // namespace
}  // namespace tweendeck::routing::kv
