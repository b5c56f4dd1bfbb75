#include "placement/resize.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "placement/room.h"

namespace tweendeck::placement {

Status check_resize(const Snapshot& snapshot, const std::string& slice_id, const Share& wanted) {
  const auto slice = std::ranges::find(snapshot.slices, slice_id, &Slice::id);
  if (slice == snapshot.slices.end())
    return fail(Reason::NotFound, fmt::format("slice {} does not exist", slice_id));
  const std::vector<Room> rooms = rooms_for(snapshot, Claim{});
  const auto room =
      std::ranges::find_if(rooms, [&](const Room& each) { return each.device->id == slice->device_id; });
  if (room == rooms.end()) {
    return fail(Reason::NotFound,
                fmt::format("the device {} of slice {} is gone", slice->device_id, slice_id),
                "`tweendeck devices` lists what is there");
  }
  const Share& held = slice->share;
  const bool grows = wanted.memory_bytes > held.memory_bytes || wanted.compute_percent > held.compute_percent;
  if (grows && !room->device->healthy) {
    return fail(Reason::DeviceUnhealthy,
                fmt::format("{} reports a fault; nothing grows there", slice->device_id),
                "`tweendeck doctor` has the details");
  }
  if (wanted.memory_bytes > held.memory_bytes &&
      wanted.memory_bytes - held.memory_bytes > room->free_memory()) {
    return fail(Reason::InsufficientMemory,
                fmt::format("slice {} holds {} of {} and wants {}; {} are free there", slice_id,
                            format_bytes(held.memory_bytes), slice->device_id,
                            format_bytes(wanted.memory_bytes), format_bytes(room->free_memory())),
                "shrink or stop another slice of the device");
  }
  if (wanted.compute_percent > held.compute_percent &&
      wanted.compute_percent - held.compute_percent > room->free_compute()) {
    return fail(
        Reason::InsufficientCompute,
        fmt::format("slice {} holds {} % of {} and wants {} %; {} % are free there", slice_id,
                    held.compute_percent, slice->device_id, wanted.compute_percent, room->free_compute()),
        "shrink or stop another slice of the device, or raise only the ceiling");
  }
  return {};
}

}  // namespace tweendeck::placement
