// Each thread's record: its lease (lease.h), and what is to be settled of it.
//
// A record is made at the thread's first launch and settled when the thread ends. It belongs to its thread alone;
// all of them are in a list, so that leases can be ended from outside.
#pragma once

#include <stdint.h>

#include "vgpu/preload/flights.h"
#include "vgpu/preload/lease.h"
#include "vgpu/trim.h"

namespace tweendeck::vgpu {

struct Record : Lease {
  int device = -1;
  uint64_t granted_ns = 0;
  uint32_t granted_launches = 0;
  uint64_t trim = kFullTrim;  // of the grant
  bool limited = false;       // taken from the bucket
  uint64_t context = 0;       // of the marker: the end of the thread's last flight
  uint64_t serial = 0;
  uint64_t epoch_of_marker = 0;
  uint16_t marker = kNoEvent;
  uint32_t random = 1;
  Record* next = nullptr;  // of all threads' records

  uint64_t left_ns() const { return cost_time_ns(left); }
};

// Made at the first call; null when no memory is left.
Record* record_of_thread();
// Threads that have a record, at least 1.
uint32_t launching_threads();
// Changes with each end_leases().
uint32_t lease_epoch();

// Gives back what is left of the lease. What was spent stays to be settled: by a fence, or as its estimate.
void return_lease(Record& record, uint64_t now_ns);
void settle_unfenced(Record& record, uint64_t now_ns);
void drop_marker(Record& record);

// After fork.
void forget_records();

}  // namespace tweendeck::vgpu
