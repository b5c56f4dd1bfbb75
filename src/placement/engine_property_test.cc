// Random events, with duplicates, losses, slow and wrong binds, lost nodes and restarts between reserve and bind,
// against what must always hold (engine_invariants.h): nothing is booked twice or leaks, gangs are whole, quotas and
// budgets are kept, every claim that waits has a reason that is so. A restart is a new engine that reads the log as text.
// 10^5 events, 10^7 with TWEENDECK_SOAK; other compilers and optimisations have to reach the same digest.
#include <gtest/gtest.h>

#include <cstdlib>

#include "placement/engine_invariants.h"
#include "placement/engine_world.h"

namespace tweendeck::placement {
namespace {

using testing::Invariants;
using testing::World;

constexpr uint64_t kEventsPerEpisode = 1000;
constexpr uint64_t kChecked = 20;  // events between full checks
// Of the first kDigestEpisodes episodes. The same with clang and gcc, at every optimisation; changes only when
// decisions are meant to change.
constexpr uint64_t kDigestEpisodes = 20;
constexpr uint64_t kDigest = 17963097628313487227ull;

uint64_t episodes() {
  if (std::getenv("TWEENDECK_SOAK") != nullptr) return 10'000;
#ifdef NDEBUG
  return 100;
#else
  return kDigestEpisodes;
#endif
}

struct Seen {  // so that a test that meets nothing does not pass
  uint64_t placed = 0, stopped = 0, broken = 0, gangs = 0, adopted = 0;
};

void run_episode(uint64_t seed, uint64_t& digest, Seen& seen) {
  World world(seed);
  Invariants invariants(world);
  Random& random = world.random;
  const auto send = [&](const Event& event) {
    ASSERT_NO_FATAL_FAILURE(world.send(event));
    ASSERT_NO_FATAL_FAILURE(invariants.after_event()) << world.log.back();
    for (const ClaimDecision& d : world.decisions) {
      seen.placed += d.verdict == Verdict::Placed ? 1 : 0;
      seen.stopped += d.verdict == Verdict::Stop ? 1 : 0;
      seen.broken += d.verdict == Verdict::Released && d.reason == Reason::GangBroken ? 1 : 0;
    }
  };
  for (uint32_t shape = 0; shape < testing::kWorldShapes; ++shape) {
    send(ShapeDefined{shape, testing::world_request(shape)});
  }
  send(QueuePut{0, {"team", "", 1, {{"devices", 2, 6}}}});
  send(QueuePut{1, {"other", "", 2, {{"compute", 0, 3000}}}});
  send(NamespacePut{0, "red", {{"limits.nvidia.com/gpu", "4"}}});
  send(NamespacePut{1, "blue", {}});
  for (uint32_t node = 0; node < 5; ++node) send(NodePut{testing::world_node(random, node)});
  const uint64_t restart_at = random.below(kEventsPerEpisode);
  for (uint64_t i = 0; i < kEventsPerEpisode; ++i) {
    const uint64_t fate = random.below(30);
    if (fate == 0) {  // again, late
      const Event late = *parse_event(world.log[random.below(world.log.size())]);
      if (world.may_be_late(late)) {
        ASSERT_NO_FATAL_FAILURE(send(late));
      }
    } else {
      const Event event = world.random_event();
      if (fate == 1) continue;  // lost
      ASSERT_NO_FATAL_FAILURE(send(event));
      if (fate == 2) {  // twice
        ASSERT_NO_FATAL_FAILURE(send(event));
      }
    }
    if (i % kChecked == 0) {
      ASSERT_NO_FATAL_FAILURE(invariants.all()) << world.log.back();
      if (::testing::Test::HasFailure()) FAIL() << world.log.back();
    }
    if (i == restart_at) {
      ASSERT_NO_FATAL_FAILURE(world.restart());
    }
  }
  ASSERT_NO_FATAL_FAILURE(invariants.all());
  ASSERT_NO_FATAL_FAILURE(world.restart());
  for (Groups::Index index = 0; index < world.engine->groups().slots(); ++index) {
    seen.gangs += world.engine->groups()[index].started ? 1 : 0;
  }
  seen.adopted += world.adopted;
  digest = (digest ^ world.engine->hash()) * 0x9e3779b97f4a7c15ull;
}

TEST(EngineProperty, HoldsWhateverHappens) {
  uint64_t digest = 0;
  Seen seen;
  for (uint64_t seed = 0; seed < episodes(); ++seed) {
    run_episode(seed, digest, seen);
    if (::testing::Test::HasFailure()) FAIL() << "seed " << seed;
    if (seed + 1 == kDigestEpisodes) {
      EXPECT_EQ(digest, kDigest);
    }
  }
  EXPECT_GT(seen.placed, 100 * episodes());
  EXPECT_GT(seen.stopped, 5 * episodes());
  EXPECT_GT(seen.broken, episodes() / 4);
  EXPECT_GT(seen.gangs, episodes() / 4);
  EXPECT_GT(seen.adopted, 2 * episodes());
}

}  // namespace
}  // namespace tweendeck::placement
