#include "placement/resize.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "placement/machine_book.h"

namespace tweendeck::placement {

Status check_resize(const Snapshot& snapshot, const std::string& slice_id, const Share& wanted) {
  const auto slice = std::ranges::find(snapshot.slices, slice_id, &Slice::id);
  if (slice == snapshot.slices.end())
    return fail(Reason::NotFound, fmt::format("slice {} does not exist", slice_id));
  const MachineBook book = book_of(snapshot);
  const NodeIndex index = book.cluster.find_node(slice->device_id);
  if (index == kNoNode) {
    return fail(Reason::NotFound,
                fmt::format("the device {} of slice {} is gone", slice->device_id, slice_id),
                "`tweendeck devices` lists what is there");
  }
  const NodeState& node = book.cluster.nodes()[index];
  const auto free_memory = static_cast<uint64_t>(std::max<int64_t>(0, node.memory_free[0]));
  const uint32_t free_compute = node.compute_free[0] / (kWholeCompute / 100);
  const Share& held = slice->share;
  const bool grows = wanted.memory_bytes > held.memory_bytes || wanted.compute_percent > held.compute_percent;
  if (grows && !book.cluster.facts(index).devices[0].healthy) {
    return fail(Reason::DeviceUnhealthy,
                fmt::format("{} reports a fault; nothing grows there", slice->device_id),
                "`tweendeck doctor` has the details");
  }
  if (wanted.memory_bytes > held.memory_bytes && wanted.memory_bytes - held.memory_bytes > free_memory) {
    return fail(Reason::InsufficientMemory,
                fmt::format("slice {} holds {} of {} and wants {}; {} are free there", slice_id,
                            format_bytes(held.memory_bytes), slice->device_id,
                            format_bytes(wanted.memory_bytes), format_bytes(free_memory)),
                "shrink or stop another slice of the device");
  }
  if (wanted.compute_percent > held.compute_percent &&
      wanted.compute_percent - held.compute_percent > free_compute) {
    return fail(Reason::InsufficientCompute,
                fmt::format("slice {} holds {} % of {} and wants {} %; {} % are free there", slice_id,
                            held.compute_percent, slice->device_id, wanted.compute_percent, free_compute),
                "shrink or stop another slice of the device, or raise only the ceiling");
  }
  return {};
}

Status check_holds(const Snapshot& snapshot, const Slice& slice) {
  const MachineBook book = book_of(snapshot);
  const NodeIndex index = book.cluster.find_node(slice.device_id);
  if (index == kNoNode) {
    return fail(
        Reason::DeviceGone, "the device " + slice.device_id + " of slice " + slice.id + " is gone",
        "`tweendeck devices` lists what is there; stop the deployment and serve it again to place it anew");
  }
  const int64_t free = book.cluster.nodes()[index].memory_free[0];
  if (free >= 0) return {};
  const uint64_t memory = book.cluster.facts(index).devices[0].memory_bytes;
  return fail(Reason::DeviceGone,
              fmt::format("{} has {} now, its slices hold {}", slice.device_id, format_bytes(memory),
                          format_bytes(memory + static_cast<uint64_t>(-free))),
              "stop a deployment there");
}

}  // namespace tweendeck::placement
