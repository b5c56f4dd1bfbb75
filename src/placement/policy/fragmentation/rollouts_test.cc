#include "placement/policy/fragmentation/rollouts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

#include "placement/policy/fragmentation/test_cluster.h"

namespace tweendeck::placement::fragmentation {
namespace {

class RolloutsTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(cluster_.put_node(machine("a", 8, 96'000))); }

  void add(const Request& request, uint64_t count) {
    ASSERT_TRUE(cluster_.shape_id(request));
    catalog_.update(cluster_);
    mix_.push_back({static_cast<KindId>(catalog_.kinds().size() - 1), count});
    requests_.push_back(request);
  }

  // As rollouts.h says it, without masks or order.
  int32_t slowly(const State& state, const std::vector<uint16_t>& deck) const {
    int32_t value = 0;
    for (uint32_t sequence = 0; sequence < kSequences; ++sequence) {
      std::vector<uint32_t> rests;
      for (uint32_t i = 0; i < state.devices; ++i) rests.push_back(rest_permille(state.rests[i]));
      uint32_t cpu = state.cpu_milli();
      for (uint32_t i = 0; i < kSequenceLength; ++i) {
        const Request& request = requests_[deck[sequence * kSequenceLength + i]];
        if (request.cpu_milli > cpu) continue;
        std::ranges::sort(rests);
        std::vector<size_t> fitting;
        for (size_t device = 0; device < rests.size() && fitting.size() < request.devices; ++device) {
          if (rests[device] >= request.compute_permille) fitting.push_back(device);
        }
        if (fitting.size() < request.devices) continue;
        cpu -= request.cpu_milli;
        for (const size_t device : fitting) rests[device] -= request.compute_permille;
        value += static_cast<int32_t>(request.devices * request.compute_permille);
      }
    }
    return value;
  }

  Cluster cluster_;
  Catalog catalog_;
  std::vector<KindCount> mix_;
  std::vector<Request> requests_;
};

TEST_F(RolloutsTest, DeckHoldsTheMixInExactProportion) {
  add(ask(1000, 1, 500), 3);
  add(ask(1000, 1, 1000), 1);
  const std::vector<uint16_t> deck = shuffled_deck(mix_);
  ASSERT_EQ(deck.size(), kSequences * kSequenceLength);
  EXPECT_EQ(std::ranges::count(deck, 0), kSequences * kSequenceLength * 3 / 4);
  EXPECT_FALSE(std::ranges::is_sorted(deck));
}

TEST_F(RolloutsTest, EqualsOfferingEachRequestInTurn) {
  add(ask(3152, 1, 810), 1047);
  add(ask(11'300, 1, 1000), 1682);
  add(ask(11'908, 1, 470), 388);
  add(ask(12'500, 0, 0), 370);
  add(ask(1000, 1, 320), 300);
  add(ask(8000, 1, 220), 85);
  add(ask(88'000, 8, 1000), 40);
  add(ask(16'200, 2, 1000), 20);
  add(ask(126'500, 1, 1000), 10);
  const std::vector<uint16_t> deck = shuffled_deck(mix_);
  Rollouts rollouts(catalog_, 0, mix_);
  rollouts.deal(deck);
  Dice dice(7);
  for (int round = 0; round < 300; ++round) {
    State state;
    state.cpu = static_cast<uint16_t>(dice.below(66));
    state.devices = 8;
    for (uint32_t i = 0; i < 8; ++i) {
      const uint32_t kind = dice.below(3);
      state.rests[i] = make_rest(kind == 0 ? 1000 : kind == 1 ? 0 : dice.below(1000), kMemorySteps);
    }
    std::sort(state.rests.begin(), state.rests.begin() + 8, std::greater<>());
    ASSERT_EQ(rollouts.value(state), slowly(state, deck)) << round;
  }
}

TEST_F(RolloutsTest, MemoryOfADeviceBoundsWhatIsStillUsed) {
  ASSERT_TRUE(cluster_.put_node(machine("m", 1, 96'000, "M", 100ull << 30)));
  Request request = ask(1000, 1, 100);
  request.memory_bytes = 50ull << 30;
  add(request, 1);
  const std::vector<uint16_t> deck = shuffled_deck(mix_);
  Rollouts rollouts(catalog_, 1, mix_);
  rollouts.deal(deck);
  State state;
  state.type = 1;
  state.cpu = 40;
  state.devices = 1;
  state.rests[0] = make_rest(1000, 16);
  EXPECT_EQ(rollouts.value(state), static_cast<int32_t>(kSequences) * 2 * 500);
  state.rests[0] = make_rest(1000, 8);
  EXPECT_EQ(rollouts.value(state), static_cast<int32_t>(kSequences) * 500);
  state.rests[0] = make_rest(1000, 7);
  EXPECT_EQ(rollouts.value(state), 0);
}

}  // namespace
}  // namespace tweendeck::placement::fragmentation
