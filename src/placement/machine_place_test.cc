#include "placement/machine_testing.h"

#include <gtest/gtest.h>

#include "base/units.h"

namespace tweendeck::placement {
namespace {

Device cpu(std::string id, uint64_t memory_bytes) {
  Device d;
  d.id = std::move(id);
  d.provider = "cpu";
  d.vendor = "AMD";
  d.model = "AMD EPYC";
  d.memory_bytes = memory_bytes;
  d.isolation = Isolation::Kernel;
  return d;
}

Slice held(std::string owner, std::string device, uint64_t memory_bytes, uint32_t compute_percent) {
  Slice s;
  s.owner = std::move(owner);
  s.deployment = s.owner.substr(0, s.owner.rfind('-'));
  s.device_id = std::move(device);
  s.share = {memory_bytes, compute_percent, 0};
  return s;
}

MachineClaim claim(uint32_t count, uint64_t memory_bytes, uint32_t compute_percent) {
  MachineClaim c;
  c.name = "new";
  c.count = count;
  c.share = {memory_bytes, compute_percent, 0};
  return c;
}

TEST(Place, SpreadsOverTheEmptiestAndPacksOnTheFullest) {
  Snapshot s{{cpu("cpu0", 4 * kGiB), cpu("cpu1", 4 * kGiB)}, {held("a-1", "cpu0", kGiB, 25)}};
  MachineClaim c = claim(3, kGiB, 20);
  EXPECT_EQ(place(s, c).device_ids, (std::vector<std::string>{"cpu1", "cpu0", "cpu1"}));
  c.spread = Spread::Pack;
  EXPECT_EQ(place(s, c).device_ids, (std::vector<std::string>{"cpu0", "cpu0", "cpu0"}));
}

TEST(Place, SaysWhatIsLackingAndWhoHoldsIt) {
  Snapshot s{{cpu("cpu0", 4 * kGiB)},
             {held("chat-1", "cpu0", kGiB, 10), held("chat-2", "cpu0", 2 * kGiB, 10)}};
  const MachineClaim c = claim(1, 11 * kGiB / 5, 40);
  const Decision d = place(s, c);
  ASSERT_FALSE(d.placed());
  EXPECT_EQ(d.refusal->nearest->stop_owners, (std::vector<std::string>{"chat-2"}));
  EXPECT_EQ(d.refusal->nearest->largest_fit, (Share{kGiB, 80, 0}));
  EXPECT_EQ(
      explain(*d.refusal, c),
      "needs 2.2 GiB and 40 % on 1 device: 1 of 1 device InsufficientMemory (cpu0 lacks 1.2 GiB; stopping "
      "chat-2 would free it)");
}

TEST(Place, ADeviceThatShrankIsFullNotNegative) {
  Snapshot s{{cpu("cpu0", kGiB)}, {held("a-1", "cpu0", 3 * kGiB, 80), held("a-2", "cpu0", 3 * kGiB, 80)}};
  const Decision d = place(s, claim(1, kMiB, 1));
  ASSERT_FALSE(d.placed());
  EXPECT_EQ(d.refusal->nearest->lacks_memory_bytes, kMiB);
  EXPECT_EQ(d.refusal->nearest->largest_fit, std::nullopt);
  EXPECT_EQ(d.refusal->nearest->stop_owners, (std::vector<std::string>{"a-1", "a-2"}));
}

TEST(Place, NoDeviceAndTooManySlices) {
  EXPECT_EQ(explain(*place({}, claim(1, kGiB, 5)).refusal, claim(1, kGiB, 5)),
            "needs 1 GiB and 5 % on 1 device: NoDevices (there is no device at all)");
  Snapshot s{{cpu("cpu0", kGiB)}, {}};
  EXPECT_EQ(place(s, claim(kMaxClaimSlices + 1, 0, 0)).refusal->reasons[0].reason, Reason::LimitExceeded);
  EXPECT_EQ(place(s, claim(kMaxClaimSlices, 1, 0)).device_ids.size(), kMaxClaimSlices);
  EXPECT_EQ(explain(*place(s, claim(1, 0, 0)).refusal, claim(1, 0, 0)),
            "needs 0 B and 0 % on 1 device: InvalidArgument (it asks for neither memory nor compute)");
  EXPECT_TRUE(place(s, claim(0, kGiB, 10)).placed());
}

TEST(Place, PastItsBoundTheStopSetIsStillNecessary) {
  Snapshot s{{cpu("cpu0", 100 * kGiB)}, {}};
  for (int i = 0; i < 90; ++i) s.slices.push_back(held("a-" + std::to_string(i), "cpu0", kGiB, 1));
  const MachineClaim c = claim(1, 40 * kGiB, 1);
  const Decision d = place(s, c);
  ASSERT_FALSE(d.placed());
  const NearestMiss& miss = *d.refusal->nearest;
  EXPECT_FALSE(miss.stop_is_fewest);
  EXPECT_EQ(miss.stop_owners.size(), 30u);
}

}  // namespace
}  // namespace tweendeck::placement
