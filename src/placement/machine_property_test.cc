// Seeded random claims against a slow reference that tries everything.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <set>

#include "base/clock.h"
#include "placement/machine_testing.h"

namespace tweendeck::placement {
namespace {

constexpr uint64_t kCases = 20'000;
// Of all decisions of kCases seeds. The same with clang and gcc; changes only when decisions are meant to
// change.
constexpr uint64_t kDecisionDigest = 715583495085164469ull;

struct Case {
  Snapshot snapshot;
  MachineClaim claim;
};

std::string pick(Random& random, std::initializer_list<const char*> names) {
  return *(names.begin() + random.below(names.size()));
}

Case random_case(uint64_t seed) {
  Random random(seed);
  Case c;
  const uint64_t devices = random.below(5);
  for (uint64_t i = 0; i < devices; ++i) {
    Device d;
    d.id = "dev" + std::to_string(i);
    d.provider = pick(random, {"cpu", "soft"});
    d.vendor = pick(random, {"AMD", "NVIDIA"});
    d.model = pick(random, {"AMD EPYC", "Soft H100-80G", "A10"});
    d.memory_bytes = random.below(12);
    d.isolation = static_cast<Isolation>(1 + random.below(4));
    d.healthy = random.below(8) != 0;
    d.health_reason = d.healthy ? Reason::None : Reason::DriverError;
    c.snapshot.devices.push_back(d);
  }
  const uint64_t slices = random.below(13);
  for (uint64_t i = 0; i < slices; ++i) {
    Slice s;
    s.deployment = pick(random, {"chat", "code", "new"});
    s.owner = random.below(8) == 0 ? "" : s.deployment + "-" + std::to_string(random.below(3));
    s.device_id = "dev" + std::to_string(random.below(10) == 0 ? devices : random.below(devices + 1));
    uint32_t compute_held = 0;
    for (const Slice& other : c.snapshot.slices) {
      if (other.device_id == s.device_id) compute_held += other.share.compute_percent;
    }
    // Memory of a device may have shrunk below what it holds; compute is always 100 %.
    const auto compute = std::min(static_cast<uint32_t>(random.below(7) * 10), 100 - compute_held);
    s.share = {random.below(5), compute, static_cast<int32_t>(random.below(2))};
    c.snapshot.slices.push_back(s);
  }
  c.claim.name = "new";
  c.claim.count = static_cast<uint32_t>(random.below(5));
  c.claim.share = {random.below(6), static_cast<uint32_t>(random.below(22) * 5), 0};
  if (c.claim.share.memory_bytes == 0) c.claim.share.compute_percent += 5;  // it asks for something
  if (random.below(8) == 0) c.claim.device_ids = {pick(random, {"dev0", "dev1", "soft", "cpu"})};
  if (random.below(10) == 0) c.claim.vendor = pick(random, {"amd", "nvidia"});
  if (random.below(10) == 0) c.claim.model = pick(random, {"h100", "epyc"});
  if (random.below(5) == 0) c.claim.min_isolation = static_cast<Isolation>(random.below(4));
  c.claim.spread = random.below(2) == 0 ? Spread::Pack : Spread::Spread;
  c.claim.distinct_devices = random.below(4) == 0;
  return c;
}

// ---------------------------------------------------------------- the reference: says what the words mean,
// slowly

bool allowed(const Device& d, const MachineClaim& c) {
  auto lower = [](std::string s) {
    std::ranges::transform(s, s.begin(), [](char x) { return static_cast<char>(std::tolower(x)); });
    return s;
  };
  const bool selected = c.device_ids.empty() || std::ranges::find(c.device_ids, d.id) != c.device_ids.end() ||
                        std::ranges::find(c.device_ids, d.provider) != c.device_ids.end();
  return selected && d.healthy && d.isolation >= c.min_isolation &&
         (c.vendor.empty() || lower(c.vendor) == lower(d.vendor)) &&
         lower(d.model).find(lower(c.model)) != std::string::npos;
}

bool may_add(const Snapshot& s, const Device& d, const MachineClaim& c) {
  uint64_t memory = 0, compute = 0;
  bool own = false;
  for (const Slice& slice : s.slices) {
    if (slice.device_id != d.id) continue;
    memory += slice.share.memory_bytes;
    compute += slice.share.compute_percent;
    own |= slice.deployment == c.name;
  }
  if (!allowed(d, c) || (c.distinct_devices && own)) return false;
  // A device that shrank below what it holds takes nothing.
  return memory + c.share.memory_bytes <= d.memory_bytes && compute + c.share.compute_percent <= 100;
}

void add(Snapshot& s, const std::string& device, const MachineClaim& c) {
  Slice slice;
  slice.device_id = device;
  slice.deployment = c.name;
  slice.owner = "placed";
  slice.share = c.share;
  s.slices.push_back(slice);
}

// The most slices that any assignment places, up to `count`.
uint32_t most(const Snapshot& s, const MachineClaim& c, uint32_t count, size_t first = 0) {
  uint32_t best = 0;
  for (size_t i = first; i < s.devices.size() && best < count; ++i) {
    if (!may_add(s, s.devices[i], c)) continue;
    Snapshot next = s;
    add(next, s.devices[i].id, c);
    best = std::max(best, 1 + most(next, c, count - 1, i));
  }
  return std::min(best, count);
}

Snapshot without(const Snapshot& s, const std::set<std::string>& owners) {
  Snapshot rest = s;
  std::erase_if(rest.slices, [&](const Slice& slice) { return owners.contains(slice.owner); });
  return rest;
}

// The size of the smallest set of other deployments' replicas to stop, or 0 when none would do.
size_t fewest_to_stop(const Case& c) {
  std::set<std::string> names;
  for (const Slice& s : c.snapshot.slices) {
    if (!s.owner.empty() && s.deployment != c.claim.name) names.insert(s.owner);
  }
  const std::vector<std::string> owners(names.begin(), names.end());
  size_t best = 0;
  for (uint32_t set = 1; set < (1u << owners.size()); ++set) {
    const auto size = static_cast<size_t>(std::popcount(set));
    if (best != 0 && size >= best) continue;
    std::set<std::string> stopped;
    for (size_t i = 0; i < owners.size(); ++i) {
      if (set >> i & 1) stopped.insert(owners[i]);
    }
    if (most(without(c.snapshot, stopped), c.claim, c.claim.count) == c.claim.count) best = size;
  }
  return best;
}

// ---------------------------------------------------------------- properties

void check_placed(const Case& c, const Decision& d) {
  ASSERT_EQ(d.device_ids.size(), c.claim.count);
  Snapshot s = c.snapshot;
  for (const std::string& id : d.device_ids) {
    const auto device = std::ranges::find(s.devices, id, &Device::id);
    ASSERT_NE(device, s.devices.end());
    ASSERT_TRUE(may_add(s, *device, c.claim)) << "overcommits or breaks a selector of " << id;
    add(s, id, c.claim);
  }
}

void check_counts(const Case& c, const Refusal& r) {
  if (c.snapshot.devices.empty()) {
    EXPECT_EQ(r.reasons, (std::vector<ReasonCount>{{Reason::NoDevices, 0, {}}}));
    return;
  }
  std::set<std::string> named;
  for (const ReasonCount& count : r.reasons) {
    EXPECT_EQ(count.devices, count.device_ids.size());
    named.insert(count.device_ids.begin(), count.device_ids.end());
  }
  EXPECT_EQ(named.size(), c.snapshot.devices.size());
  EXPECT_TRUE(std::ranges::is_sorted(r.reasons, std::greater{}, &ReasonCount::devices));
}

void check_nearest(const Case& c, const NearestMiss& miss) {
  const std::set<std::string> stopped(miss.stop_owners.begin(), miss.stop_owners.end());
  EXPECT_TRUE(miss.stop_is_fewest);
  EXPECT_EQ(stopped.size(), fewest_to_stop(c));
  if (!stopped.empty()) {
    EXPECT_EQ(most(without(c.snapshot, stopped), c.claim, c.claim.count), c.claim.count);
  }
  const bool about_room =
      miss.reason == Reason::InsufficientMemory || miss.reason == Reason::InsufficientCompute;
  MachineClaim here = c.claim;
  here.count = 1;
  here.device_ids = {miss.device_id};
  if (about_room && c.claim.count == 1) {
    here.share.memory_bytes -= miss.lacks_memory_bytes;
    here.share.compute_percent -= miss.lacks_compute_percent;
    // Without memory left to ask for, the device may be one that shrank below what it holds: it takes nothing at all.
    const bool asks = here.share.memory_bytes > 0;
    EXPECT_TRUE(!asks || place(c.snapshot, here).placed()) << "lacks more than it says";
  }
  if (!about_room || !miss.largest_fit) return;
  here.share = *miss.largest_fit;
  EXPECT_TRUE(place(c.snapshot, here).placed());
  ++here.share.memory_bytes;
  EXPECT_FALSE(place(c.snapshot, here).placed());
  here.share = *miss.largest_fit;
  ++here.share.compute_percent;
  EXPECT_FALSE(place(c.snapshot, here).placed());
}

TEST(PlacementProperties, AgreesWithTryingEverything) {
  uint64_t placed = 0, refused = 0, stops = 0;
  for (uint64_t seed = 1; seed <= kCases && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Case c = random_case(seed);
    const Decision d = place(c.snapshot, c.claim);
    const uint32_t fitting = most(c.snapshot, c.claim, c.claim.count);
    ASSERT_EQ(d.placed(), fitting == c.claim.count);
    if (d.placed()) {
      check_placed(c, d);
      ++placed;
      continue;
    }
    ++refused;
    EXPECT_TRUE(d.device_ids.empty());
    EXPECT_EQ(d.refusal->fitting, fitting);
    check_counts(c, *d.refusal);
    ASSERT_EQ(d.refusal->nearest.has_value(), !c.snapshot.devices.empty());
    if (d.refusal->nearest) {
      check_nearest(c, *d.refusal->nearest);
      stops += !d.refusal->nearest->stop_owners.empty();
    }
  }
  // The inputs are worth something: every outcome is frequent.
  EXPECT_GT(placed, kCases / 10);
  EXPECT_GT(refused, kCases / 10);
  EXPECT_GT(stops, kCases / 20);
}

TEST(PlacementProperties, DecisionsAreTheSameWithEveryCompiler) {
  uint64_t digest = 0xcbf29ce484222325;  // FNV-1a
  for (uint64_t seed = 1; seed <= kCases; ++seed) {
    const Case c = random_case(seed);
    const Decision d = place(c.snapshot, c.claim);
    std::string text;
    for (const std::string& id : d.device_ids) text += id + " ";
    if (d.refusal) text += explain(*d.refusal, c.claim);
    for (char byte : text + "\n") digest = (digest ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  }
  EXPECT_EQ(digest, kDecisionDigest);
}

}  // namespace
}  // namespace tweendeck::placement
