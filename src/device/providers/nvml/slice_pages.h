// The limits and usage pages of slices as files: <root>/<slice>/{limits,usage}.
//
// limits belongs to the node (0644); usage is writable by the tenant's user (0666). Their folder is 0700: a
// tenant reaches its own two files through the mounts of its sandbox and nobody else's. Files are replaced by
// rename, and an existing valid page is changed in place, because tenants have it mapped. Blocking; one
// thread at a time per slice.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/types.h"
#include "vgpu/page.h"

namespace tweendeck::device::nvml {

// One read of a usage page, every number bounded by what the page can hold, as its writer is the tenant.
struct UsageReading {
  uint64_t memory_bytes = 0;
  uint64_t memory_peak_bytes = 0;
  uint64_t charged_ns = 0;
  uint64_t throttled_ns = 0;
  uint64_t refused = 0;
  uint64_t paused_ns = 0;
  uint64_t borrowed_ns = 0;
  uint64_t launches = 0;
  std::array<uint64_t, TW_VGPU_KINDS> used_by_kind{};
  std::array<uint64_t, TW_VGPU_KINDS> allocations_by_kind{};
  std::vector<uint32_t> pids;  // that claim a slot; unverified
};

// Who holds a slot: the word of page.h.
using Owner = uint64_t;

class SlicePages {
 public:
  explicit SlicePages(std::string root) : root_(std::move(root)) {}

  std::string limits_path(std::string_view slice_id) const { return folder(slice_id) + "/limits"; }
  std::string usage_path(std::string_view slice_id) const { return folder(slice_id) + "/usage"; }

  // Makes or updates both pages and reads the limits back. Errors: InvalidArgument (id or UUID), DiskFull,
  // IoError, PermissionDenied, LimitsNotEnforced (read back differs). Answers the limits in force.
  Result<tw_vgpu_limit_set> write(const Slice& slice, std::string_view device_uuid) const;
  Status remove(std::string_view slice_id) const;
  Result<std::vector<std::string>> list() const;

  // The limits in force. Errors: NotFound, StateCorrupt.
  Result<tw_vgpu_limit_set> limits(std::string_view slice_id) const;
  Result<UsageReading> usage(std::string_view slice_id) const;

  // Frees the slots of processes that have ended, by their marks, or where they have none by `alive`, and answers
  // those that remain.
  Result<std::vector<Owner>> reclaim(std::string_view slice_id,
                                     const std::function<bool(Owner)>& alive) const;
  // Feedback for the slice's first device; `sequence` and `stamp_ns` are set here.
  Status write_feedback(std::string_view slice_id, const tw_vgpu_feedback& feedback, Nanos now) const;
  Result<tw_vgpu_feedback> feedback(std::string_view slice_id) const;

 private:
  std::string folder(std::string_view slice_id) const { return root_ + "/" + std::string(slice_id); }
  std::string root_;
};

}  // namespace tweendeck::device::nvml
