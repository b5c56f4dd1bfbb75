#include "placement/resize.h"

#include <gtest/gtest.h>

namespace tweendeck::placement {
namespace {

Snapshot two_slices() {
  Snapshot snapshot;
  Device device;
  device.id = "soft0";
  device.memory_bytes = 100;
  snapshot.devices.push_back(device);
  for (const char* id : {"a", "b"}) {
    Slice slice;
    slice.id = id;
    slice.device_id = "soft0";
    slice.share = {.memory_bytes = 40, .compute_percent = 30};
    snapshot.slices.push_back(slice);
  }
  return snapshot;
}

Reason reason_of(const Status& status) {
  return status ? Reason::None : status.error().reason;
}

TEST(Resize, MayTakeWhatIsFreeAndGiveBackAnything) {
  const Snapshot now = two_slices();
  EXPECT_TRUE(check_resize(now, "a", {.memory_bytes = 60, .compute_percent = 70}));
  EXPECT_TRUE(check_resize(now, "a", {.memory_bytes = 1, .compute_percent = 1}));
  EXPECT_EQ(reason_of(check_resize(now, "a", {.memory_bytes = 61, .compute_percent = 30})),
            Reason::InsufficientMemory);
  EXPECT_EQ(reason_of(check_resize(now, "a", {.memory_bytes = 40, .compute_percent = 71})),
            Reason::InsufficientCompute);
  EXPECT_EQ(reason_of(check_resize(now, "c", {})), Reason::NotFound);
}

TEST(Resize, OnAFaultyDeviceOrAnOverfullOneSlicesOnlyShrink) {
  Snapshot now = two_slices();
  now.devices[0].healthy = false;
  EXPECT_EQ(reason_of(check_resize(now, "a", {.memory_bytes = 41, .compute_percent = 30})),
            Reason::DeviceUnhealthy);
  EXPECT_TRUE(check_resize(now, "a", {.memory_bytes = 39, .compute_percent = 30}));
  now.devices[0].healthy = true;
  now.devices[0].memory_bytes = 50;  // it shrank below what it holds
  EXPECT_TRUE(check_resize(now, "a", {.memory_bytes = 20, .compute_percent = 30}));
  EXPECT_EQ(reason_of(check_resize(now, "a", {.memory_bytes = 41, .compute_percent = 30})),
            Reason::InsufficientMemory);
  now.devices.clear();
  EXPECT_EQ(reason_of(check_resize(now, "a", {})), Reason::NotFound);
}

}  // namespace
}  // namespace tweendeck::placement
