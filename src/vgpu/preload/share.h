// What the slice may use of a device right now, and charging it.
//
// The node grants a floor and a ceiling, and lends what others leave idle: the share in force is the floor,
// or what is lent as long as the node's word is fresh. Safe from any thread.
#pragma once

#include <stdint.h>

#include "vgpu/page.h"

namespace tweendeck::vgpu {

inline constexpr uint64_t kRunAheadNs = 2'000'000;  // default of tw_vgpu_device_limit.run_ahead_us
inline constexpr uint32_t kLeastPermille = 10;  // a slice without a floor that nobody lends to still moves

struct Share {
  bool limited = false;  // there is a bucket to keep to
  bool paused = false;
  uint32_t permille = TW_VGPU_WHOLE;
  uint32_t floor_permille = TW_VGPU_WHOLE;
  uint64_t run_ahead_ns = kRunAheadNs;
  uint64_t yield_until_ns = 0;  // a higher class is active
};

Share share_of(uint32_t device, uint64_t now_ns);

// Nobody else used the device since then, as far as is known.
bool alone_since(uint32_t device, uint64_t since_ns);

// What other processes of the slice have queued, and when that will be done, by their own word.
uint64_t peers_queued_ns(uint32_t device, uint64_t now_ns);
uint64_t peers_until(uint32_t device);

// How far the bucket may lag the clock: what an idle slice keeps, and what was lost by waiting for other
// tenants.
uint64_t credit_ns(uint32_t device, uint64_t now_ns);

// Takes in what the node measured since, and gives back or charges what that shows. `in_flight_ns`: done
// for this process, maybe, but not settled.
void follow_node(uint32_t device, uint64_t now_ns, const Share& share, uint64_t in_flight_ns);

// What was taken from the bucket and what it should have been. `estimated_ns` is before the trim;
// `waited_ns`: of that time the device ran others' work while ours was ready.
struct Settlement {
  uint64_t taken_ns = 0;
  uint64_t estimated_ns = 0;
  uint64_t waited_ns = 0;
  int64_t refund_ns = 0;  // charged too much before, or too little
  uint64_t age_ns = 0;    // since it was taken: the share of that time is not lost by being charged now
  bool alone = true;
  bool others = false;  // not alone because of other tenants, not only of the slice's own processes
};
void settle_charge(uint32_t device, uint64_t now_ns, const Settlement& settlement);

}  // namespace tweendeck::vgpu
